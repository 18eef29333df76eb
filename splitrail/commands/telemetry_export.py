"""`splitrail telemetry export`: telemetry of a while as CSV, Parquet or line protocol."""

import argparse
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, get_args

import msgspec

from coordinator.configuration import CoordinatorSettings
from coordinator.errors import ExportError, TimeError
from coordinator.telemetry.dead_letters import waiting_points
from coordinator.telemetry.durations import moment_ns, rfc_3339
from coordinator.telemetry.export import Exported, Format, export_to_path, export_to_stream, file_in, is_one_stream
from coordinator.telemetry.export_influx import InfluxSource
from coordinator.telemetry.export_rows import Row, Source, Span
from coordinator.telemetry.export_sqlite import SqliteSource
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.measurements import MEASUREMENTS, Measurement
from splitrail.commands.needed_package import package_needed
from splitrail.settings import load_settings
from splitrail.terminal import printable

EXAMPLE = "splitrail telemetry export --since 7d --format parquet --measurement energy --measurement inference"
STREAM: Final = Path("-")
DIRECTORY: Final = Path("telemetry-export")

_BY_NAME = {measurement.name: measurement for measurement in MEASUREMENTS}


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints of an export; times in UTC, the second is not included."""

    source: str
    since: str
    until: str
    format: Format
    rows: int
    measurements: tuple[Exported, ...]
    waiting: int
    """Points that are still on their way to InfluxDB, and so are not in it."""


class _Printable:
    """A source whose texts, which come from elsewhere, cannot steer the terminal that they are shown in."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.where = source.where

    def page(self, measurement: Measurement, span: Span, most: int) -> list[Row]:
        """As of the source."""
        return [
            Row(time_ns, tuple(printable(cell) if isinstance(cell, str) else cell for cell in cells))
            for time_ns, cells in self._source.page(measurement, span, most)
        ]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--since", required=True, metavar="TIME", help="from when on: so long ago (90s, 15m, 1h, 7d), or an ISO time"
    )
    parser.add_argument("--until", metavar="TIME", help="up to when, likewise (now)")
    parser.add_argument("--format", required=True, choices=get_args(Format), help="lp is InfluxDB's line protocol")
    parser.add_argument(
        "--measurement", action="append", choices=_BY_NAME, metavar="NAME", help="only this one; may be repeated (all)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="a file, a directory, or - for standard output; a csv or parquet file has one measurement, lp has all "
        f"(- for lp and for one csv, else the directory {DIRECTORY})",
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Export; 0 once all files are whole."""
    now = time.time()
    span = _span(arguments.since, arguments.until, now)
    chosen = dict.fromkeys(arguments.measurement or _BY_NAME)
    measurements = tuple(_BY_NAME[name] for name in chosen)
    form: Format = arguments.format
    out = _destination(form, measurements, arguments.out, prints_counts=arguments.json)
    settings = load_settings(arguments.config, CoordinatorSettings)
    with ExitStack() as opened:
        source: Source
        waiting = 0
        if settings.influxdb is None:
            source = SqliteSource(settings.store)
        else:
            source = InfluxSource(opened.enter_context(closing(InfluxServer(settings.influxdb))))
            waiting = waiting_points(settings.store) if settings.store.is_file() else 0
        with package_needed(f"--format {form}", "experiments"):
            if out == STREAM:
                shown = _Printable(source) if sys.stdout.isatty() else source
                exported = export_to_stream(shown, measurements, span, form, sys.stdout.buffer)
                sys.stdout.flush()
            else:
                exported = export_to_path(source, measurements, span, form, out, replace=arguments.force)
    report = ExportReport(
        source=source.where,
        since=rfc_3339(span.start_ns),
        until=rfc_3339(span.stop_ns),
        format=form,
        rows=sum(each.rows for each in exported),
        measurements=exported,
        waiting=waiting,
    )
    _say(report, as_json=arguments.json)
    return 0


def _span(since: str, until: str | None, now: float) -> Span:
    start_ns, stop_ns = moment_ns(since, now), round(now * 1e6) * 1_000
    if until is not None:
        stop_ns = moment_ns(until, now)
    if start_ns >= stop_ns:
        raise TimeError(
            f"--since {since} is not before --until {until or 'now'}: {rfc_3339(start_ns)} and {rfc_3339(stop_ns)}"
        )
    return Span(start_ns, stop_ns)


def _destination(form: Format, measurements: tuple[Measurement, ...], out: Path | None, *, prints_counts: bool) -> Path:
    """Where it goes; ExportError where it cannot go there."""
    can_stream = is_one_stream(form, measurements) and form != "parquet"
    if out is None:
        if can_stream and not prints_counts:
            return STREAM
        return file_in(DIRECTORY, form, measurements[0]) if is_one_stream(form, measurements) else DIRECTORY
    if out == STREAM and not can_stream:
        raise ExportError(
            "--out -: Parquet is written to a file; give one"
            if form == "parquet"
            else "--out -: a csv has one measurement; choose it with --measurement, or give a directory to --out"
        )
    if out == STREAM and prints_counts:
        raise ExportError("--out -: --json prints there too; give a file or a directory to --out")
    return out


def _say(report: ExportReport, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(report, enc_hook=str), indent=2).decode())
        return
    width = max(len(each.measurement) for each in report.measurements)
    for each in report.measurements:
        where = f"  {each.file}" if each.file is not None else ""
        print(f"{each.measurement:{width}}  {each.rows:>10,}{where}", file=sys.stderr)
    print(f"{report.rows:,} rows from {report.source}, {report.since} to {report.until}", file=sys.stderr)
    if report.waiting:
        print(f"{report.waiting:,} points are still on their way to InfluxDB: they are not in it", file=sys.stderr)
