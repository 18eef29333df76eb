"""What is exported: the rows of a measurement in the order of their times, read in pages, so that memory is bounded.

Where they come from is a Source's, what they become is `coordinator.telemetry.export_formats`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from coordinator.telemetry.measurements import FieldKind, Measurement

PAGE: Final = 5_000
"""Rows: 2 MB of the widest. InfluxDB 1 cut answers at 10,000 rows for years (its `max-row-limit`)."""

Cell = float | int | str | bool | None


class Row(NamedTuple):
    """One point: its time in ns since 1970; its tags, then its fields, as declared, None where not known."""

    time_ns: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """From the first moment up to, not including, the second; ns since 1970."""

    start_ns: int
    stop_ns: int


class Source(Protocol):
    """Where telemetry is kept."""

    @property
    def where(self) -> str:
        """The file, or the server and its database."""

    def page(self, measurement: Measurement, span: Span, most: int) -> list[Row]:
        """The first rows within the span, so many at most, in the order of their times."""


def rows(source: Source, measurement: Measurement, span: Span, *, page: int = PAGE) -> Iterator[Row]:
    """All rows within the span, by time, those of one time in an order that does not depend on the source.

    What is stored meanwhile may be in it or not. No page is held longer than it takes to read, however slowly the rows
    are taken: a store that is being read cannot tidy up.
    """
    start_ns, width_ns, most = span.start_ns, span.stop_ns - span.start_ns, page
    while start_ns < span.stop_ns:
        # A source may look at all that the span has to find the first rows: so not much more is asked for than fits.
        stop_ns = min(start_ns + width_ns, span.stop_ns)
        found = source.page(measurement, Span(start_ns, stop_ns), most)
        if len(found) < most:
            yield from sorted(found, key=_order)
            start_ns, width_ns, most = stop_ns, width_ns * (2 if len(found) > most // 4 else 16), page
            continue
        # The rows of the last time may go on: they belong to the next page.
        last_ns = found[-1].time_ns
        whole = [row for row in found if row.time_ns < last_ns]
        if whole:
            yield from sorted(whole, key=_order)
            start_ns, width_ns, most = last_ns, last_ns - start_ns, page
        else:
            most *= 2


def columns(measurement: Measurement) -> tuple[str, ...]:
    """The names of a row's cells."""
    return (*(tag.name for tag in measurement.tags), *(field.name for field in measurement.fields))


def kinds(measurement: Measurement) -> tuple[FieldKind, ...]:
    """What a row's cells hold; a tag is a text."""
    texts: list[FieldKind] = ["text" for _ in measurement.tags]
    return (*texts, *(field.kind for field in measurement.fields))


def _order(row: Row) -> tuple[int, str]:
    return row.time_ns, repr(row.cells)
