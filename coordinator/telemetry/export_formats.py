"""Rows of telemetry as CSV, as line protocol and as Parquet, streamed into a file that is open."""

import csv
import importlib
import io
import itertools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Final

from coordinator.telemetry.durations import rfc_3339
from coordinator.telemetry.export_rows import Row, columns, kinds
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.measurements import FieldKind, Measurement
from coordinator.telemetry.samples import Sample
from splitrail import __version__

ROWS_OF_A_GROUP: Final = 50_000
"""Of Parquet: what is held until it is written, some 20 MB of the widest measurement."""

Writer = Callable[[BinaryIO, Measurement, Iterable[Row]], int]
"""Writes the rows of a measurement to a file that is open, and returns how many they were."""


def write_csv(sink: BinaryIO, measurement: Measurement, rows: Iterable[Row]) -> int:
    """RFC 4180 in UTF-8: a header, a line for each row. Times are RFC 3339; what is not known is empty."""
    text = io.TextIOWrapper(sink, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(("time", *columns(measurement)))
    flags = [place for place, kind in enumerate(kinds(measurement)) if kind == "flag"]
    count = 0
    for row in rows:
        cells: list[object] = [rfc_3339(row.time_ns), *row.cells]
        for place in flags:
            flag = row.cells[place]
            cells[place + 1] = None if flag is None else "true" if flag else "false"
        writer.writerow(cells)
        count += 1
    text.detach()
    return count


def write_lines(sink: BinaryIO, measurement: Measurement, rows: Iterable[Row]) -> int:
    """InfluxDB's line protocol, one line each, with times in ns."""
    tags = tuple(tag.name for tag in measurement.tags)
    fields = tuple(field.name for field in measurement.fields)
    count = 0
    for time_ns, cells in rows:
        sample = Sample(
            measurement.name,
            tuple([(name, str(cell)) for name, cell in zip(tags, cells, strict=False) if cell is not None]),
            tuple([(name, cell) for name, cell in zip(fields, cells[len(tags) :], strict=True) if cell is not None]),
            time_ns,
        )
        sink.write(line_of(sample) + b"\n")
        count += 1
    return count


def write_parquet(sink: BinaryIO, measurement: Measurement, rows: Iterable[Row]) -> int:
    """Parquet with typed columns; `time` is timestamp[ns, UTC]; each field's metadata has `unit` and `summary`."""
    # Untyped, and not everybody's: the extra `experiments` brings it.
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    types: dict[FieldKind, Any] = {
        "number": arrow.float64(),
        "count": arrow.int64(),
        "text": arrow.string(),
        "flag": arrow.bool_(),
    }
    schema = arrow.schema(
        [
            arrow.field(
                "time", arrow.timestamp("ns", tz="UTC"), nullable=False, metadata={"summary": measurement.time}
            ),
            *(arrow.field(tag.name, arrow.string(), metadata={"summary": tag.summary}) for tag in measurement.tags),
            *(
                arrow.field(each.name, types[each.kind], metadata={"unit": each.unit, "summary": each.summary})
                for each in measurement.fields
            ),
        ],
        metadata={"measurement": measurement.name, "summary": measurement.summary, "splitrail": __version__},
    )
    remaining = iter(rows)
    count = 0
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        while group := list(itertools.islice(remaining, ROWS_OF_A_GROUP)):
            held = zip(*((row.time_ns, *row.cells) for row in group), strict=True)
            arrays = [arrow.array(column, type=each.type) for column, each in zip(held, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(group)
    return count
