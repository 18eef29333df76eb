"""What docs/telemetry.md tells to ask is answered, by the file and by a real InfluxDB."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from made_site import birth_message
from msgspec.structs import replace
from telemetry_store_contract import reading
from test_points import REPORT

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import TelemetryStore

PAGE = (Path(__file__).parents[3] / "docs" / "telemetry.md").read_text(encoding="utf-8")


def questions(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", PAGE, flags=re.DOTALL)


def record(store: TelemetryStore) -> None:
    now = time.time()
    for message in (replace(REPORT, at=now), reading(1, 4.0, at=now), replace(birth_message("pi"), at=now)):
        store.record(message, now)
    store.flush()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "telemetry.sqlite"
    with closing(SqliteTelemetryStore(path, retention_s=3_600.0)) as store:
        record(store)
    return path


@pytest.mark.parametrize("question", questions("sql"))
def test_the_file_answers(file: Path, question: str) -> None:
    """Every query of the page has a row without a null."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        answer = connection.execute(question).fetchall()
    assert [row for row in answer if None not in row]


@pytest.fixture
def server(influx_settings: InfluxSettings, tmp_path: Path) -> Iterator[InfluxServer]:
    with closing(
        InfluxTelemetryStore(tmp_path / "t.sqlite", influx_settings, coordinator="hub", retention_s=3_600.0)
    ) as store:
        record(store)
    with closing(InfluxServer(influx_settings)) as asked:
        yield asked


def test_an_influxdb_answers(server: InfluxServer) -> None:
    """As above."""
    assert len(questions("influxql")) >= 4
    for question in questions("influxql"):
        (answer,) = server.query(question)
        assert [row for series in answer for row in series.values if None not in row], question
