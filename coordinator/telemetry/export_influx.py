"""Rows of telemetry out of an InfluxDB, by InfluxQL, which every family of it answers."""

import itertools
from typing import Final

from coordinator.errors import InfluxQueryError
from coordinator.telemetry.export_rows import Cell, Row, Span, columns, kinds
from coordinator.telemetry.influx_answers import Scalar
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.measurements import FieldKind, Measurement

PAGE_TIMEOUT_S: Final = 60.0
"""A page takes milliseconds; a Raspberry Pi that compacts, or reads a cold shard, may take much longer."""


class InfluxSource:
    """The measurements of an InfluxDB's database, as its default policy keeps them."""

    def __init__(self, server: InfluxServer) -> None:
        self._server = server

    @property
    def where(self) -> str:
        """The server and its database."""
        return f"{self._server.endpoint} database {self._server.database}"

    def page(self, measurement: Measurement, span: Span, most: int) -> list[Row]:
        """The first rows within the span. InfluxError if the server does not give them."""
        names = ", ".join(f'"{name}"' for name in columns(measurement))
        (answer,) = self._server.query(
            f'SELECT {names} FROM "{measurement.name}" WHERE time >= {span.start_ns} AND time < {span.stop_ns}'
            f" ORDER BY time LIMIT {most}",
            timeout_s=PAGE_TIMEOUT_S,
        )
        found = [self._row(measurement, values) for series in answer for values in series.values]
        times = [span.start_ns, *(row.time_ns for row in found), span.stop_ns - 1]
        if len(found) > most or any(earlier > later for earlier, later in itertools.pairwise(times)):
            # Whoever pages through it would never come to its end.
            raise InfluxQueryError(self._server.endpoint, "answers with other points than it was asked for")
        return found

    def _row(self, measurement: Measurement, values: tuple[Scalar, ...]) -> Row:
        try:
            time_ns, *cells = (_cell(*pair) for pair in zip(("count", *kinds(measurement)), values, strict=True))
        except (TypeError, ValueError, OverflowError):
            time_ns, cells = None, []
        if not isinstance(time_ns, int):
            raise InfluxQueryError(
                self._server.endpoint,
                f"what {measurement.name} holds there is no telemetry of this version: another program writes to it",
            )
        return Row(time_ns, tuple(cells))


def _cell(kind: FieldKind, scalar: Scalar) -> Cell:
    """A value as what its column holds: JSON writes 2.0 as 2, and says a tag that a point has not as ''."""
    match kind, scalar:
        case _, None | "":
            return None
        case "flag", bool():
            return scalar
        case _, bool():
            raise TypeError
        case "number", int() | float():
            return float(scalar)
        case "count", int():
            return scalar
        case "text", str():
            return scalar
        case _:
            raise TypeError
