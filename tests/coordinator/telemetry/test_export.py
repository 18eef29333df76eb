"""An export is the telemetry that there is: from either store, in each format, whole or not at all."""

import csv
import io
import math
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_telemetry import AT_S, a_store

from coordinator.configuration import InfluxSettings
from coordinator.errors import ExportError, InfluxQueryError, StoreError
from coordinator.telemetry.export import Format, export_to_path, export_to_stream
from coordinator.telemetry.export_influx import InfluxSource
from coordinator.telemetry.export_rows import PAGE, Row, Span, columns, kinds, rows
from coordinator.telemetry.export_sqlite import SqliteSource
from coordinator.telemetry.influx_answers import Series, Stored
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.measurements import ENERGY, EVENT, INFERENCE, LINK, MEASUREMENTS, Measurement
from coordinator.telemetry.sqlite_file import connect_to_write

ALWAYS = Span(0, 2**62)
FIRST_SECOND = Span(round(AT_S * 1e9), round(AT_S * 1e9) + 1_000_000_000)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_store(tmp_path_factory.mktemp("store") / "telemetry.sqlite")


class ListedSource:
    """Rows at these times, and how they were asked for."""

    where = "a list"

    def __init__(self, times: list[int]) -> None:
        self._rows = [Row(time, ("pi", None, float(number))) for number, time in enumerate(sorted(times))]
        self.asked: list[tuple[Span, int]] = []

    def page(self, measurement: Measurement, span: Span, most: int) -> list[Row]:
        self.asked.append((span, most))
        return [row for row in self._rows if span.start_ns <= row.time_ns < span.stop_ns][:most]


@given(
    st.lists(st.integers(0, 40) | st.integers(0, 10**18)), st.integers(1, 5), st.integers(0, 30), st.integers(0, 10**18)
)
def test_pages_are_the_whole_span(times: list[int], page: int, start_ns: int, length_ns: int) -> None:
    """Each row once, in the order of times, however many there are of one time."""
    source = ListedSource(times)
    span = Span(start_ns, start_ns + length_ns)
    found = list(rows(source, LINK, span, page=page))
    assert [row.time_ns for row in found] == sorted(time for time in times if start_ns <= time < span.stop_ns)
    assert len({row.cells[2] for row in found}) == len(found)
    assert len(source.asked) <= 2 * len(times) + 70, "an empty span of centuries is crossed in a few steps"


def test_no_page_is_larger_than_it_has_to_be() -> None:
    """Memory is bounded by the page, but for rows of one and the same time."""
    source = ListedSource(list(range(100)) + [50] * 20)
    assert len(list(rows(source, LINK, ALWAYS, page=8))) == 120
    assert max(most for _, most in source.asked) == 32


def lines_of(source: SqliteSource | InfluxSource, span: Span = ALWAYS) -> bytes:
    sink = io.BytesIO()
    export_to_stream(source, MEASUREMENTS, span, "lp", sink)
    return sink.getvalue()


def test_line_protocol_goes_into_influxdb_and_comes_out_unchanged(store: Path, influx_settings: InfluxSettings) -> None:
    """Out of SQLite, into a real InfluxDB, and out of that: the same bytes, so the same tags, fields and kinds."""
    lines = lines_of(SqliteSource(store))
    assert lines.count(b"\n") > 100
    with closing(InfluxServer(influx_settings)) as server:
        assert server.write(lines) == Stored()
        assert lines_of(InfluxSource(server)) == lines


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.name)
def test_both_stores_give_the_same_rows(store: Path, influxdb: InfluxSource, measurement: Measurement) -> None:
    """Of each measurement there are some, in pages of any size, of the kinds that are declared."""
    expected = list(rows(SqliteSource(store), measurement, ALWAYS))
    assert expected
    assert list(rows(influxdb, measurement, ALWAYS)) == expected
    assert list(rows(influxdb, measurement, ALWAYS, page=3)) == expected
    assert list(rows(SqliteSource(store), measurement, ALWAYS, page=3)) == expected
    types: dict[str, type] = {"number": float, "count": int, "text": str, "flag": bool}
    for row in expected:
        for kind, cell in zip(kinds(measurement), row.cells, strict=True):
            assert cell is None or type(cell) is types[kind]


@pytest.fixture
def influxdb(store: Path, influx_settings: InfluxSettings) -> Iterator[InfluxSource]:
    """An InfluxDB with what the store has."""
    with closing(InfluxServer(influx_settings)) as server:
        assert server.write(lines_of(SqliteSource(store))) == Stored()
        yield InfluxSource(server)


def test_the_span_has_its_first_moment_and_not_its_last(store: Path, influxdb: InfluxSource) -> None:
    """A meter that is read each second has one reading in a second, ten inferences begin in it."""
    for source in (SqliteSource(store), influxdb):
        assert [len(list(rows(source, each, FIRST_SECOND))) for each in (ENERGY, INFERENCE)] == [1, 10]


def test_what_another_program_wrote_is_not_taken_for_telemetry(influx_settings: InfluxSettings) -> None:
    """A text where a number is declared: the database is not ours alone."""
    with closing(InfluxServer(influx_settings)) as server:
        assert server.write(b'energy,node=pi power_w="much" 1') == Stored()
        with pytest.raises(InfluxQueryError, match="what energy holds there is no telemetry of this version"):
            list(rows(InfluxSource(server), ENERGY, ALWAYS))


@pytest.mark.parametrize(
    "times_ns", [(5, 5, 3), (1, 5, 6), (5, 6, 20), (5, 6, 7, 8)], ids=["unsorted", "before", "after", "too many"]
)
def test_a_server_that_answers_something_else_is_not_listened_to(
    influx_settings: InfluxSettings, monkeypatch: pytest.MonkeyPatch, times_ns: tuple[int, ...]
) -> None:
    """It could keep an export going for ever."""
    with closing(InfluxServer(influx_settings)) as server:
        row = [None] * len(columns(LINK))
        answer = Series(columns=(), values=tuple((time_ns, *row) for time_ns in times_ns))
        monkeypatch.setattr(server, "query", lambda statement, timeout_s: ((answer,),))
        with pytest.raises(InfluxQueryError, match="answers with other points than it was asked for"):
            InfluxSource(server).page(LINK, Span(5, 10), most=3)


def test_a_csv_is_read_by_anybody(store: Path, tmp_path: Path) -> None:
    """A header, times that sort, what is unknown empty, quotes where they are needed."""
    (exported,) = export_to_path(SqliteSource(store), (INFERENCE,), ALWAYS, "csv", tmp_path / "a.csv", replace=False)
    assert (exported.rows, exported.file) == (20, tmp_path / "a.csv")
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.count(b"\r\n") == 21
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == ["time", *columns(INFERENCE)]
    assert lines[0][0] == "2023-11-15T00:00:00.000000001Z"
    cells = dict(zip(header, lines[3], strict=True))
    assert (cells["latency_ms"], cells["emulated"], cells["outcome"]) == ("83.0", "", "failed")
    assert cells["error"] == 'a "text", of two \\ parts'


def test_a_flag_in_a_csv_is_true_or_false(store: Path) -> None:
    """As everybody writes it but Python."""
    sink = io.BytesIO()
    export_to_stream(SqliteSource(store), (EVENT,), ALWAYS, "csv", sink)
    flags = {row["delivered"] for row in csv.DictReader(io.StringIO(sink.getvalue().decode(), newline=""))}
    assert flags == {"", "true"}


def test_a_parquet_file_says_its_types_and_units(store: Path, tmp_path: Path) -> None:
    """Nanoseconds in UTC, numbers, integers, texts, flags; a field's unit is in its metadata."""
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    export_to_path(SqliteSource(store), MEASUREMENTS, ALWAYS, "parquet", tmp_path, replace=False)
    table = parquet.read_table(tmp_path / "energy.parquet")
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert str(table.schema.field("power_w").type) == "double"
    assert table.schema.field("power_w").metadata[b"unit"] == b"W"
    assert table.column("time").cast("int64").to_pylist()[:2] == [round(AT_S * 1e9) + 2, round(AT_S * 1e9) + 10**9 + 4]
    assert table.column("energy_j").to_pylist()[0] == math.pi
    assert str(parquet.read_schema(tmp_path / "event.parquet").field("delivered").type) == "bool"
    assert str(parquet.read_schema(tmp_path / "inference.parquet").field("epoch").type) == "int64"
    expected = {each.name: len(list(rows(SqliteSource(store), each, ALWAYS))) for each in MEASUREMENTS}
    assert {each.stem: parquet.read_table(each).num_rows for each in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_of_nothing_has_its_columns(store: Path, tmp_path: Path, form: Format) -> None:
    """So that a program that reads it need not ask first."""
    span = Span(0, 1)
    export_to_path(SqliteSource(store), (ENERGY,), span, form, tmp_path / "file", replace=False)
    if form == "csv":
        assert (tmp_path / "file").read_text() == ",".join(("time", *columns(ENERGY))) + "\n"
    else:
        parquet: Any = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(tmp_path / "file").column_names == ["time", *columns(ENERGY)]


def test_all_lines_are_in_one_file(store: Path, tmp_path: Path) -> None:
    """A line says what it is of; a directory gets the file telemetry.lp."""
    source = SqliteSource(store)
    export_to_path(source, MEASUREMENTS, ALWAYS, "lp", tmp_path / "all.lp", replace=False)
    export_to_path(source, MEASUREMENTS, ALWAYS, "lp", tmp_path, replace=False)
    assert (tmp_path / "all.lp").read_bytes() == (tmp_path / "telemetry.lp").read_bytes() == lines_of(source)


def test_nothing_is_replaced_unless_asked(store: Path, tmp_path: Path) -> None:
    """Not even by the others of a directory: all are written, or none."""
    source = SqliteSource(store)
    mine = tmp_path / "inference.csv"
    mine.write_text("mine")
    with pytest.raises(ExportError, match=r"inference.csv: is there already; give another --out, or --force"):
        export_to_path(source, MEASUREMENTS, ALWAYS, "csv", tmp_path, replace=False)
    assert list(tmp_path.iterdir()) == [mine]
    export_to_path(source, MEASUREMENTS, ALWAYS, "csv", tmp_path, replace=True)
    assert mine.read_text().startswith("time,")
    assert len(list(tmp_path.iterdir())) == len(MEASUREMENTS)


class FailingSource(SqliteSource):
    """Fails at the last measurement."""

    def page(self, measurement: Measurement, span: Span, most: int) -> list[Row]:
        if measurement is MEASUREMENTS[-1]:
            raise StoreError("the disk is gone")
        return super().page(measurement, span, most)


def test_what_fails_leaves_nothing(store: Path, tmp_path: Path) -> None:
    """A file that is there is whole, and what was there before stays."""
    mine = tmp_path / "energy.csv"
    mine.write_text("mine")
    with pytest.raises(StoreError):
        export_to_path(FailingSource(store), MEASUREMENTS, ALWAYS, "csv", tmp_path, replace=True)
    assert (list(tmp_path.iterdir()), mine.read_text()) == ([mine], "mine")


def test_a_destination_that_cannot_be_is_said(store: Path, tmp_path: Path) -> None:
    """In one sentence, with the file."""
    directory = tmp_path / "not-there" / "out.csv"
    (tmp_path / "not-there").write_text("a file")
    with pytest.raises(ExportError, match=r"out.csv: cannot be written: (File exists|Not a directory)"):
        export_to_path(SqliteSource(store), (ENERGY,), ALWAYS, "csv", directory, replace=False)
    with pytest.raises(ExportError, match="is a file, but there are several to write"):
        export_to_path(SqliteSource(store), MEASUREMENTS, ALWAYS, "csv", tmp_path / "not-there", replace=False)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExportError, match="pipe: is no file; give the name of one, or - for standard output"):
        export_to_path(SqliteSource(store), (ENERGY,), ALWAYS, "csv", tmp_path / "pipe", replace=True)


def test_an_export_runs_beside_a_coordinator(tmp_path: Path) -> None:
    """Whoever writes is not held up: not even by a reader that stops in the middle."""
    path = a_store(tmp_path / "telemetry.sqlite")
    with closing(connect_to_write(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        reading = rows(SqliteSource(path), INFERENCE, ALWAYS, page=5)
        next(reading)
        writer.execute("DELETE FROM energy")
        writer.execute("COMMIT")
        (busy, log, moved) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, log, moved) == (0, 0, 0), "the log can be tidied up while the reader waits"
        assert len(list(reading)) == 19


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    """A file that is not there, that is something else, or of another version."""
    with pytest.raises(StoreError, match="there is no store here"):
        SqliteSource(tmp_path / "none.sqlite")
    other = tmp_path / "other"
    other.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreError, match="cannot be read as a telemetry store: file is not a database"):
        SqliteSource(other)
    old = tmp_path / "old.sqlite"
    with closing(connect_to_write(old)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="has telemetry schema 2, this splitrail reads 4"):
        SqliteSource(old)


def test_a_page_is_what_influxdb_answers_at_once() -> None:
    """InfluxDB before 1.2 cut every answer at 10,000 rows."""
    assert PAGE < 10_000
