"""Two coordinators hear the same site and keep it in one InfluxDB: every point is there once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from made_site import birth_message, link_message, load_message, miss_message, offline, profile_message
from msgspec.structs import replace
from telemetry_store_contract import mark, reading, refusal
from test_points import MACHINE, REPORT, plan_with_predictions

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.store import Storable

NOW = 1_700_000_000.0
TOLD: tuple[Storable, ...] = (
    *(replace(reading(n, 4.0, at=NOW + n), mark=mark(n)) for n in range(1, 20)),
    replace(MACHINE, at=NOW, mark=mark(20)),
    replace(load_message("pi", 0.5), at=NOW + 1.0, mark=mark(21)),
    replace(link_message("pi", "pc"), at=NOW, mark=mark(22)),
    replace(REPORT, at=NOW, mark=mark(23)),
    replace(miss_message("pc"), at=NOW, mark=mark(24)),
    replace(plan_with_predictions(), created_at=NOW),
    replace(birth_message("pi"), at=NOW),
    replace(profile_message("pi"), at=NOW),
)
"""What bears a time of its own."""


@pytest.fixture
def stores(tmp_path: Path, influx_settings: InfluxSettings) -> Iterator[tuple[InfluxTelemetryStore, ...]]:
    with ExitStack() as opened:
        yield tuple(
            opened.enter_context(
                closing(
                    InfluxTelemetryStore(
                        tmp_path / f"{name}.sqlite", influx_settings, coordinator=name, retention_s=1e9
                    )
                )
            )
            for name in ("one", "other")
        )


def counts(server: InfluxServer) -> Counter[str]:
    """How many points each measurement has."""
    (answer,) = server.query("SELECT * FROM /.*/")
    return Counter({series.name: len(series.values) for series in answer})


@pytest.mark.usefixtures("nothing_left")
def test_what_two_coordinators_hear_is_stored_once(
    stores: tuple[InfluxTelemetryStore, ...], influx_settings: InfluxSettings
) -> None:
    """Whenever it reaches each of them; of what has no time of its own, each tells in its own name."""
    for delay_s, store in zip((0.1, 9.0), stores, strict=True):
        for message in TOLD:
            store.record(message, NOW + delay_s)
        for message in (offline("pi"), refusal()):
            store.record(message, NOW + 100.0 + delay_s)
        store.flush()
    expected = Counter(sample.measurement for message in TOLD for sample in samples_of(message, NOW, coordinator="one"))
    with closing(InfluxServer(influx_settings)) as server:
        assert counts(server) == expected + Counter(event=4)
