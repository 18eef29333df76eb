"""Exports telemetry: measurements of a span, from wherever they are kept, into a stream, a file or one file each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from coordinator.errors import ExportError
from coordinator.telemetry.export_files import WholeFiles
from coordinator.telemetry.export_formats import Writer, write_csv, write_lines, write_parquet
from coordinator.telemetry.export_rows import Source, Span, rows
from coordinator.telemetry.measurements import Measurement

Format = Literal["csv", "parquet", "lp"]
WRITERS: Final[dict[Format, Writer]] = {"csv": write_csv, "parquet": write_parquet, "lp": write_lines}


@dataclass(frozen=True, slots=True)
class Exported:
    """How many rows of a measurement went where; `file` is None for a stream."""

    measurement: str
    rows: int
    file: Path | None


def is_one_stream(form: Format, measurements: Sequence[Measurement]) -> bool:
    """Whether all of it fits into one file: a line of line protocol says what it is of, a CSV or Parquet has one."""
    return form == "lp" or len(measurements) == 1


def file_in(directory: Path, form: Format, measurement: Measurement) -> Path:
    """The file of a measurement in a directory; that of line protocol has all."""
    return directory / ("telemetry.lp" if form == "lp" else f"{measurement.name}.{form}")


def export_to_stream(
    source: Source, measurements: Sequence[Measurement], span: Span, form: Format, sink: BinaryIO
) -> tuple[Exported, ...]:
    """Write what is one stream to a file that is open."""
    write = WRITERS[form]
    return tuple(
        Exported(measurement.name, write(sink, measurement, rows(source, measurement, span)), None)
        for measurement in measurements
    )


def export_to_path(
    source: Source, measurements: Sequence[Measurement], span: Span, form: Format, out: Path, *, replace: bool
) -> tuple[Exported, ...]:
    """Write to the file `out` what is one stream, unless it is a directory; else a file for each measurement in it.

    All files are there at the end, or none. ExportError where one may not be written.
    """
    write = WRITERS[form]
    targets = _targets(measurements, form, out)
    exported: list[Exported] = []
    with WholeFiles(replace=replace) as files:
        sinks = {path: files.open(path) for path in dict.fromkeys(path for _, path in targets)}
        for measurement, path in targets:
            count = write(sinks[path], measurement, rows(source, measurement, span))
            exported.append(Exported(measurement.name, count, path))
    return tuple(exported)


def _targets(measurements: Sequence[Measurement], form: Format, out: Path) -> list[tuple[Measurement, Path]]:
    """Which file each measurement goes to."""
    if is_one_stream(form, measurements) and not out.is_dir():
        return [(measurement, out) for measurement in measurements]
    if out.exists() and not out.is_dir():
        raise ExportError(f"{out}: is a file, but there are several to write; give a directory to --out")
    return [(measurement, file_in(out, form, measurement)) for measurement in measurements]
