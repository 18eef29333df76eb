"""Rows of telemetry out of the SQLite store, through the view of each measurement, beside a coordinator that writes."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

from coordinator.errors import StoreError
from coordinator.telemetry.export_rows import Row, Span, columns, kinds
from coordinator.telemetry.measurements import Measurement
from coordinator.telemetry.sqlite_schema import SCHEMA_VERSION

BUSY_TIMEOUT_S = 10.0


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot change the store of today's tables at `path`. StoreError if there is none."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no store here; run the coordinator first, or correct `store`")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    except (sqlite3.Error, OSError) as error:
        raise _unreadable(path, error) from None
    with ExitStack() as undo:
        undo.callback(connection.close)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise _unreadable(path, error) from None
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path}: has telemetry schema {version}, this splitrail reads {SCHEMA_VERSION}: "
                "a coordinator of this version brings an older one up to date when it starts"
            )
        undo.pop_all()
    return connection


class SqliteSource:
    """The views of a store. Each page is a short read of its own, so that the store's log can be tidied up."""

    def __init__(self, path: Path) -> None:
        open_read_only(path).close()
        self._path = path

    @property
    def where(self) -> str:
        """The file."""
        return str(self._path)

    def page(self, measurement: Measurement, span: Span, most: int) -> list[Row]:
        """The first rows within the span. StoreError if the file cannot be read."""
        names = columns(measurement)
        flags = [place for place, kind in enumerate(kinds(measurement)) if kind == "flag"]
        with closing(open_read_only(self._path)) as connection:
            try:
                found = connection.execute(
                    f"SELECT time_ns, {', '.join(names)} FROM v_{measurement.name}"
                    " WHERE time_ns >= ? AND time_ns < ? ORDER BY time_ns LIMIT ?",
                    (span.start_ns, span.stop_ns, most),
                ).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise _unreadable(self._path, error) from None
        if not flags:
            return [Row(row[0], row[1:]) for row in found]
        return [Row(row[0], _with_flags(row[1:], flags)) for row in found]


def _with_flags(cells: tuple[object, ...], flags: list[int]) -> tuple[float | int | str | bool | None, ...]:
    """SQLite has no truth values: 0 and 1 become those where they stand for them."""
    return tuple(
        bool(cell) if place in flags and cell is not None else cell  # type: ignore[misc]  # a row of SQLite is untyped
        for place, cell in enumerate(cells)
    )


def _unreadable(path: Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: cannot be read as a telemetry store: {error}; check `store` and who may read the file")
