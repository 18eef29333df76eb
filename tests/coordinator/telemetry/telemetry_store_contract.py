"""What every telemetry store keeps to; a test module derives from it and offers a `store` fixture."""

import pytest
from made_site import birth_message, link_message, offline, plan_message, profile_message

from broker.messages import (
    EnergyReading,
    InferenceReport,
    MachineReading,
    NodeLoad,
    PlanReady,
    ProfileFailure,
    SpoolMark,
    StageMiss,
    StageReport,
    TransferReport,
)
from coordinator.telemetry.store import (
    ClockSkew,
    InferenceSummary,
    PowerSummary,
    Storable,
    StoredUpTo,
    TelemetryStore,
)


def mark(sequence: int, *, oldest: int = 1, session: str = "s1", age_s: float = 0.0) -> SpoolMark:
    return SpoolMark(session=session, sequence=sequence, oldest=oldest, age_s=age_s)


def load() -> NodeLoad:
    return NodeLoad(node="pi", session="s1", at=1.0, load=0.25, load_std=0.1)


def miss() -> StageMiss:
    return StageMiss(
        node="pi",
        deployment="photos",
        epoch=1,
        at=1.0,
        src="pi",
        suspect="pc",
        delivered=True,
        waited_ms=120.0,
        allowed_ms=80.0,
        outcome="finished at the origin",
    )


def machine() -> MachineReading:
    return MachineReading(
        node="pi",
        session="s1",
        at=1.0,
        cpu=0.5,
        memory_used_mb=1_000.0,
        memory_total_mb=4_000.0,
        agent_memory_mb=90.0,
        temperature_c=55.0,
        throttled=("under-voltage",),
    )


def refusal() -> PlanReady:
    return PlanReady(deployment="photos", epoch=1, node="pc", ready=False, reason="no room")


def reading(
    sequence: int,
    power_w: float,
    *,
    node: str = "pi",
    meter: str = "model",
    at: float = 10.0,
    marked: SpoolMark | None = None,
) -> EnergyReading:
    return EnergyReading(
        node=node,
        session="s1",
        sequence=sequence,
        at=at,
        energy_j=10.0 * sequence,
        power_w=power_w,
        interval_s=1.0,
        meter=meter,
        source="modelled" if meter == "model" else "measured",
        scope="board" if meter == "model" else "package",
        mark=marked,
    )


def inference(
    request_id: str, latency_ms: float, *, error: str | None = None, deployment: str = "photos", at: float = 10.0
) -> InferenceReport:
    return InferenceReport(
        deployment=deployment,
        epoch=1,
        request_id=request_id,
        origin="pi",
        at=at,
        latency_ms=latency_ms,
        stages=(StageReport(node="pi", start=0, stop=4, compute_ms=latency_ms, wait_ms=0.0),),
        transfers=(TransferReport(src="pi", dst="pc", size_bytes=9, transfer_ms=1.0),),
        origin_energy_j=latency_ms / 100.0,
        total_energy_j=latency_ms / 50.0,
        error=error,
    )


class TelemetryStoreContract:
    """The behaviour that the coordinator relies on, whatever keeps the telemetry."""

    def test_an_empty_store_has_nothing_to_say(self, store: TelemetryStore) -> None:
        """Before anything is recorded the summaries are empty, not wrong."""
        nothing = InferenceSummary(
            count=0,
            errors=0,
            latency_p50_ms=None,
            latency_p95_ms=None,
            origin_energy_j=None,
            total_energy_j=None,
            energy_source=None,
            energy_scope=None,
        )
        assert store.summarise_inferences("photos", 0.0) == nothing
        assert store.summarise_power(0.0) == ()
        assert store.last_epoch("photos") == 0
        assert store.report().lost == 0
        assert store.report().obstacle is None

    def test_inferences_are_summarised(self, store: TelemetryStore) -> None:
        """Percentiles and means are over what succeeded; failures are counted."""
        for number in range(101):
            store.record(inference(f"r{number}", float(number), at=10.0 + number / 1e3), 10.0)
        store.record(inference("bad", 9_999.0, error="pc did not answer", at=11.0), 10.0)
        store.flush()
        summary = store.summarise_inferences("photos", 10.0)
        assert (summary.count, summary.errors) == (102, 1)
        assert summary.latency_p50_ms == pytest.approx(50.0)
        assert summary.latency_p95_ms == pytest.approx(95.0)
        assert summary.origin_energy_j == pytest.approx(0.5)
        assert summary.total_energy_j == pytest.approx(1.0)
        assert (summary.energy_source, summary.energy_scope) == ("modelled", "board")

    def test_a_summary_is_of_one_deployment_and_one_while(self, store: TelemetryStore) -> None:
        """What arrived before, or belongs to another deployment, does not count."""
        store.record(inference("old", 1.0, at=9.9), 9.9)
        store.record(inference("other", 2.0, deployment="other"), 10.0)
        store.record(inference("new", 3.0), 10.0)
        store.flush()
        assert store.summarise_inferences("photos", 10.0).latency_p50_ms == 3.0
        assert store.summarise_inferences("photos", 10.0).count == 1

    def test_a_message_that_comes_twice_counts_once(self, store: TelemetryStore) -> None:
        """At-least-once delivery repeats messages; the store does not."""
        for _ in range(2):
            store.record(inference("r", 1.0), 10.0)
            store.record(reading(1, 4.0), 10.0)
        store.record(reading(2, 6.0, at=11.0), 11.0)
        store.flush()
        assert store.summarise_inferences("photos", 0.0).count == 1
        assert [power.power_w for power in store.summarise_power(0.0)] == [5.0]

    def test_power_is_summarised_by_meter_with_source_and_scope(self, store: TelemetryStore) -> None:
        """Figures of different meters are never mixed; the counter is the newest."""
        store.record(reading(1, 2.0), 10.0)
        store.record(reading(2, 4.0, at=11.0), 11.0)
        store.record(reading(1, 30.0, node="pc", at=11.0), 11.0)
        store.record(reading(2, 25.0, node="pc", meter="rapl", at=12.0), 12.0)
        store.flush()
        assert store.summarise_power(10.0) == (
            PowerSummary("pc", 30.0, 10.0, "model", "modelled", "board", 11.0),
            PowerSummary("pc", 25.0, 20.0, "rapl", "measured", "package", 12.0),
            PowerSummary("pi", 3.0, 20.0, "model", "modelled", "board", 11.0),
        )
        assert [power.node for power in store.summarise_power(12.0)] == ["pc"]

    def test_meters_of_one_scope_have_an_order(self, store: TelemetryStore) -> None:
        """By name, whatever comes first."""
        for meter in ("plug", "battery", "hwmon"):
            store.record(reading(1, 4.0, meter=meter), 10.0)
        store.flush()
        assert [power.meter for power in store.summarise_power(0.0)] == ["battery", "hwmon", "plug"]

    def test_the_last_epoch_is_remembered(self, store: TelemetryStore) -> None:
        """The numbering of plans can go on where it ended."""
        for epoch in (1, 3, 2):
            store.record(plan_message(epoch, ("pi", 0, 4)), 1.0)
        store.flush()
        assert store.last_epoch("photos") == 3
        assert store.last_epoch("other") == 0

    def test_every_kind_of_telemetry_is_taken(self, store: TelemetryStore) -> None:
        """Links, loads, machines, misses, profiles and what happened are kept too."""
        messages: list[Storable] = [
            link_message("pi", "pc"),
            load(),
            machine(),
            miss(),
            birth_message("pi"),
            offline("pi"),
            profile_message("pi"),
            refusal(),
            ProfileFailure(node="pc", model="b" * 64, reason="no memory"),
            ClockSkew("pi", 2.0),
        ]
        for message in messages:
            store.record(message, 1.0)
        store.flush()
        assert store.report().lost == 0

    def test_what_is_stored_is_confirmed(self, store: TelemetryStore) -> None:
        """For each run of a node up to where nothing is missing; what has no mark needs no confirmation."""
        confirmed: list[StoredUpTo] = []
        store.on_stored(confirmed.extend)
        for sequence in (1, 2, 4):
            store.record(reading(sequence, 4.0, marked=mark(sequence)), 10.0)
        store.record(reading(1, 4.0, node="pc", marked=mark(1, session="other")), 10.0)
        store.record(reading(5, 4.0), 10.0)
        store.flush()
        assert sorted(confirmed, key=lambda each: each.node) == [
            StoredUpTo("pc", "other", 1),
            StoredUpTo("pi", "s1", 2),
        ]
        store.record(reading(3, 4.0, marked=mark(3)), 10.0)
        store.flush()
        assert confirmed[-1] == StoredUpTo("pi", "s1", 4)

    def test_what_comes_again_is_confirmed_again(self, store: TelemetryStore) -> None:
        """The confirmation may have been lost; the message is not stored twice."""
        confirmed: list[StoredUpTo] = []
        store.on_stored(confirmed.extend)
        for power_w in (4.0, 8.0):
            store.record(reading(1, power_w, marked=mark(1)), 10.0)
            store.flush()
        assert confirmed == [StoredUpTo("pi", "s1", 1)] * 2
        assert [power.power_w for power in store.summarise_power(0.0)] == [4.0]

    def test_what_waited_in_a_spool_counts_as_of_its_recording(self, store: TelemetryStore) -> None:
        """An hour's backlog that comes at once is not the last minute's."""
        store.record(reading(1, 2.0, marked=mark(1, age_s=3_600.0)), 10_000.0)
        store.record(reading(2, 4.0, marked=mark(2)), 10_000.0)
        store.flush()
        assert [power.power_w for power in store.summarise_power(9_940.0)] == [4.0]
        assert [power.power_w for power in store.summarise_power(6_000.0)] == [3.0]
