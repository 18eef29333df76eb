"""What messages are in the telemetry schema: every sample keeps to the declaration, and every declaration is used."""

import pytest
from hypothesis import given
from made_site import birth_message, link_message, load_message, miss_message, offline, plan_message, profile_message
from messages_to_fuzz import examples
from msgspec.structs import replace
from schema_samples import COORDINATOR, STORABLES, any_message, assert_as_declared, recording_times

from broker.messages import (
    ComputeEnergy,
    EnergyReading,
    InferenceReport,
    MachineReading,
    NodeStatus,
    PlanReady,
    Prediction,
    ProfileFailure,
    SpoolMark,
    StageEnergy,
    StagePrediction,
    StageReport,
    TransferReport,
)
from coordinator.telemetry.measurements import MEASUREMENTS
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.samples import LONGEST_TAG, Sample, Value
from coordinator.telemetry.store import ClockSkew, Storable

STAGE_ENERGY = StageEnergy(
    energy_j=0.5, energy_j_std=0.1, method="integrated", source="measured", scope="package", meter="rapl"
)
REPORT = InferenceReport(
    deployment="photos",
    epoch=3,
    request_id="r1",
    origin="pi",
    at=1_000.0,
    latency_ms=80.0,
    stages=(
        StageReport(node="pi", start=0, stop=1, compute_ms=40.0, wait_ms=1.0, energy=STAGE_ENERGY),
        StageReport(node="laptop", start=1, stop=1, compute_ms=0.0, wait_ms=0.0),
        StageReport(node="pc", start=1, stop=4, compute_ms=15.0, wait_ms=2.0),
    ),
    transfers=(
        TransferReport(src="pi", dst="laptop", size_bytes=100, transfer_ms=5.0),
        TransferReport(src="laptop", dst="pc", size_bytes=100, transfer_ms=6.0),
    ),
    origin_energy_j=0.2,
    total_energy_j=0.3,
    model="net",
    compute_energy=ComputeEnergy(energy_j=0.4, energy_j_std=0.05, source="mixed", scope="package"),
    mark=SpoolMark(session="s1", sequence=7, oldest=1, age_s=0.0),
)
READING = EnergyReading(
    node="pi",
    session="s1",
    sequence=0,
    at=1_000.0,
    energy_j=12.0,
    power_w=3.0,
    interval_s=2.0,
    meter="rapl",
    source="measured",
    scope="package",
    resolution_j=0.001,
)
MACHINE = MachineReading(
    node="pi",
    session="s1",
    at=1_000.5,
    cpu=0.25,
    memory_used_mb=100.0,
    memory_total_mb=400.0,
    agent_memory_mb=50.0,
    temperature_c=61.0,
    throttled=("under-voltage", "throttled"),
)


def samples(message: Storable, recorded_at: float = 1_000.0) -> tuple[Sample, ...]:
    return samples_of(message, recorded_at, coordinator=COORDINATOR)


def fields(sample: Sample) -> dict[str, Value]:
    return dict(sample.fields)


@given(any_message, recording_times)
def test_every_sample_keeps_to_the_schema(message: Storable, recorded_at: float) -> None:
    """Whatever valid message comes; one whose counts exceed 64 bits is refused whole."""
    try:
        made = samples(message, recorded_at)
    except OverflowError:
        return
    for sample in made:
        assert_as_declared(sample)
    assert len({(sample.measurement, sample.tags, sample.time_ns) for sample in made}) == len(made), (
        "none hides another"
    )


def test_every_tag_and_field_comes_from_some_message() -> None:
    """Nothing is declared that nobody writes."""
    offered: list[Storable] = [each for kind in STORABLES for each in examples(kind)]
    offered += [MACHINE, REPORT, emulated_birth(), ready(is_ready=False), plan_with_predictions()]
    written = {
        (sample.measurement, name)
        for message in offered
        for sample in samples(message)
        for name, _ in (*sample.tags, *sample.fields)
    }
    declared = {(each.name, part.name) for each in MEASUREMENTS for part in (*each.tags, *each.fields)}
    assert written == declared


def emulated_birth() -> NodeStatus:
    birth = birth_message("pi")
    assert birth.announcement is not None
    return replace(birth, announcement=replace(birth.announcement, emulated="a Raspberry Pi 4"))


def ready(*, is_ready: bool, reason: str = "no room") -> PlanReady:
    return PlanReady(deployment="photos", epoch=2, node="pc", ready=is_ready, reason=reason)


def plan_with_predictions() -> Storable:
    plan = plan_message(2, ("pi", 0, 1), ("laptop", 1, 1), ("pc", 1, 4))
    stage = StagePrediction(transfer_ms=3.0, transfer_std_ms=1.0, compute_ms=20.0, compute_std_ms=1.0)
    prediction = Prediction(
        latency_ms=100.0, origin_energy_j=1.0, total_energy_j=2.0, objective=1.0, latency_std_ms=4.0, stages=(stage,)
    )
    return replace(plan, prediction=prediction)


def test_a_reading_of_a_meter() -> None:
    """The counter, and what it rose by, which may be summed."""
    assert samples(READING) == (
        Sample(
            "energy",
            (("node", "pi"), ("meter", "rapl"), ("source", "measured"), ("scope", "package")),
            (
                ("energy_j", 12.0),
                ("used_j", 6.0),
                ("power_w", 3.0),
                ("interval_s", 2.0),
                ("resolution_j", 0.001),
            ),
            1_000_000_000_000,
        ),
    )
    (emulated,) = samples(replace(READING, emulated=True, resolution_j=0.0))
    assert ("emulated", "yes") in emulated.tags
    assert "resolution_j" not in fields(emulated), "one without a step has none"


def test_the_state_of_a_machine() -> None:
    """What is not known is left out; what holds the processor back is counted and named; the clock is compared."""
    (sample,) = samples(MACHINE)
    assert fields(sample)["throttled"] == 2
    assert fields(sample)["throttled_by"] == "under-voltage,throttled"
    assert fields(sample)["skew_s"] == 0.5
    (free,) = samples(replace(MACHINE, throttled=()))
    assert fields(free)["throttled"] == 0
    assert "throttled_by" not in fields(free)
    (unknown,) = samples(replace(MACHINE, throttled=None, temperature_c=None))
    assert not {"throttled", "throttled_by", "temperature_c"} & set(fields(unknown))


def test_the_load_of_a_node() -> None:
    """It is a state of the node too, at a time of its own."""
    (sample,) = samples(load_message("pi", 0.5))
    assert (sample.measurement, fields(sample)) == ("node", {"load": 0.5, "load_std": 0.0})


def test_an_inference_with_its_stages_and_hops() -> None:
    """One point for the whole, one for each stage and hop, all at the time when it began."""
    whole, *parts = samples(REPORT, 1_000.08)
    assert dict(whole.tags) == {
        "deployment": "photos",
        "origin": "pi",
        "model": "net",
        "route": "pi>pc",
        "outcome": "answered",
        "energy_source": "modelled",
        "energy_scope": "board",
        "compute_energy_source": "mixed",
        "compute_energy_scope": "package",
    }
    assert (fields(whole)["stages"], fields(whole)["sent_bytes"]) == (2, 200)
    assert [(part.measurement, dict(part.tags)["position"]) for part in parts] == [
        ("stage", "000"),
        ("stage", "001"),
        ("stage", "002"),
        ("transfer", "000"),
        ("transfer", "001"),
    ]
    assert dict(parts[0].tags)["energy_method"] == "integrated"
    assert "energy_j" not in fields(parts[2]), "its node does not say"
    assert {sample.time_ns for sample in (whole, *parts)} == {1_000_000_000_007}


@pytest.mark.parametrize(
    ("error", "fallback", "outcome"),
    [(None, None, "answered"), (None, "pc is gone", "rescued"), ("no", None, "failed"), ("no", "pc is gone", "failed")],
)
def test_how_an_inference_ended(error: str | None, fallback: str | None, outcome: str) -> None:
    """Answered as planned, finished by the origin alone, or failed."""
    assert ("outcome", outcome) in samples(replace(REPORT, error=error, fallback=fallback))[0].tags


def test_a_long_route_is_not_named() -> None:
    """A tag of every order of many nodes would be a series of its own each."""
    stages = tuple(StageReport(node=f"n{i}", start=i, stop=i + 1, compute_ms=1.0, wait_ms=0.0) for i in range(9))
    assert ("route", "many") in samples(replace(REPORT, stages=stages))[0].tags
    assert not [text for name, text in samples(replace(REPORT, stages=()))[0].tags if name == "route"]


def test_a_plan_and_its_stages() -> None:
    """The split in words; a stage's prediction where the plan has one."""
    plan, *stages = samples(plan_with_predictions(), 0.0)
    assert fields(plan)["split"] == "pi 0-0, laptop relays, pc 1-3"
    assert fields(plan)["modelled_latency_ms_std"] == 4.0
    assert [dict(stage.tags)["node"] for stage in stages] == ["pi", "laptop", "pc"]
    assert fields(stages[0])["modelled_compute_ms"] == 20.0
    assert "modelled_compute_ms" not in fields(stages[1])


def test_what_travels_packed() -> None:
    """The codec of what a stage takes in, in words too; and what packing took of a stage's compute."""
    plan = plan_with_predictions()
    packed = tuple(replace(stage, codec="int8") for stage in plan.stages[1:])
    whole, *stages = samples(replace(plan, stages=(plan.stages[0], *packed)), 0.0)
    assert fields(whole)["split"] == "pi 0-0, laptop relays, pc 1-3 (int8)"
    assert [fields(stage)["codec"] for stage in stages] == ["raw", "int8", "int8"]
    slow = tuple(replace(stage, codec_ms=3.0) for stage in REPORT.stages)
    assert [fields(part).get("codec_ms") for part in samples(replace(REPORT, stages=slow))[1:4]] == [3.0, 3.0, 3.0]


def test_how_many_were_computed_together() -> None:
    """A stage's figures are a request's share of a run, so the size of that is told with them."""
    batched = tuple(replace(stage, batch=4) for stage in REPORT.stages)
    assert [fields(part).get("batch") for part in samples(replace(REPORT, stages=batched))[1:4]] == [4, 4, 4]
    assert [fields(part).get("batch") for part in samples(REPORT)[1:4]] == [1, 1, 1]


def test_a_profile() -> None:
    """By node and the beginning of the model's content."""
    (sample,) = samples(profile_message("pi"))
    assert dict(sample.tags) == {"node": "pi", "model": "a" * 12}
    assert (fields(sample)["ops"], fields(sample)["unsplit_ms"]) == (4, 160.0)


@pytest.mark.parametrize(
    ("message", "kind", "node", "reporter", "text"),
    [
        (birth_message("pi"), "birth", "pi", "pi", "came: edge, splitrail 0.3"),
        (replace(birth_message("pi"), announcement=None), "birth", "pi", "pi", "came"),
        (offline("pi"), "death", "pi", "hub", "went"),
        (miss_message("pc"), "miss", "pc", "pi", "silent with the tensors of pi: finished at the origin"),
        (miss_message("pc", delivered=False), "miss", "pc", "pi", "took no tensors of pi: finished at the origin"),
        (ready(is_ready=False), "refusal", "pc", "pc", "no room"),
        (ready(is_ready=False, reason=""), "refusal", "pc", "pc", "it gave no reason"),
        (
            ProfileFailure(node="pi", model="b" * 64, reason="no memory"),
            "unprofiled",
            "pi",
            "pi",
            f"model {'b' * 12}: no memory",
        ),
        (ClockSkew("pi", -2.5), "clock", "pi", "hub", "its clock is 2.5 s behind"),
        (ClockSkew("pi", 2.5), "clock", "pi", "hub", "its clock is 2.5 s ahead"),
        (ClockSkew("pi", 3_599.9), "clock", "pi", "hub", "its clock is 3600 s ahead"),
    ],
)
def test_what_happened(message: Storable, kind: str, node: str, reporter: str, text: str) -> None:
    """Whom it is about, who noticed it, and what it was."""
    (event,) = samples(message)
    assert (event.measurement, dict(event.tags)["kind"], dict(event.tags)["node"]) == ("event", kind, node)
    assert (dict(event.tags)["reporter"], fields(event)["text"]) == (reporter, text)


def test_a_node_that_is_ready_is_no_event() -> None:
    """What is as it should be is in the plan."""
    assert samples(ready(is_ready=True)) == ()


def test_a_free_text_as_a_tag_is_short_and_harmless() -> None:
    """A hostile meter's name makes no second line and no second tag."""
    (sample,) = samples(replace(READING, meter="a\\\n" + "x" * 500))
    (name,) = (text for tag, text in sample.tags if tag == "meter")
    assert name == "a__" + "x" * (LONGEST_TAG - 3)


def test_a_count_beyond_64_bits_is_refused() -> None:
    """No database takes it."""
    with pytest.raises(OverflowError):
        samples(replace(REPORT, epoch=2**63))


def test_a_link_is_its_two_ends_and_how_it_was_estimated() -> None:
    """Probes and transfers are series of their own."""
    (sample,) = samples(link_message("pi", "pc"))
    assert sample.tags == (("src", "pi"), ("dst", "pc"), ("method", "probe"), ("way", "direct"))
