"""The coordinator's mind: whatever valid messages come, in any order and at any time, it stays bounded and calm."""

from collections.abc import Iterator
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from made_site import OPS, SHA256, declared, folded, whole_site
from messages_to_fuzz import messages

from broker.finite import first_non_finite
from broker.messages import (
    InferenceReport,
    LinkReading,
    NodeLoad,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    ProfileFailure,
    StageMiss,
)
from broker.topics import PLAN
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.membership import presumed_dead
from coordinator.problem import Objective
from coordinator.state import Connected, Event, Received, apply
from coordinator.status_report import status_report
from coordinator.telemetry.summarising import NOTHING

KINDS = (
    NodeStatus,
    NodeProfile,
    ProfileFailure,
    LinkReading,
    NodeLoad,
    InferenceReport,
    PlanReady,
    Plan,
    StageMiss,
)
MOST_EVENTS = 12
PLANNING = PlanningSettings(most_labels=200, interval_s=0.1, least_dwell_s=0.0, join_s=0.0, settle_s=0.0, reap_every=2)
TIMES = st.one_of(st.sampled_from((0.0, 1.0, 5.0, 3600.0, -3600.0, 1.7e9)), st.floats(-1e10, 1e10))
STRATEGIES = ("exact", "static", "reap", "neurosurgeon", "dads", "origin-only", "fog-only", "cloud-only")


profiles = messages(NodeProfile)
fitting_profiles = st.tuples(profiles, st.lists(st.floats(0.0, 1e308), min_size=OPS, max_size=OPS).map(tuple)).map(
    lambda drawn: msgspec.structs.replace(drawn[0], model=SHA256, op_ms=drawn[1], op_ms_std=drawn[1])
)
any_message = st.one_of(*(messages(kind) for kind in KINDS), fitting_profiles)
events = st.lists(
    st.one_of(st.tuples(any_message, TIMES).map(lambda drawn: Received(*drawn)), TIMES.map(Connected)),
    max_size=MOST_EVENTS,
)
weights = st.sampled_from((0.0, 0.3, 1.0))
objectives = st.builds(Objective, latency=st.just(1.0), origin_energy=weights, total_energy=weights, throughput=weights)


@given(events, st.sampled_from(STRATEGIES), objectives, TIMES, st.booleans())
def live(happened: list[Event], strategy: str, objective: Objective, now: float, known: bool) -> None:
    """Fold the events and decide after each, as the service does."""
    declaration = declared(strategy)
    declaration = replace(declaration, deployment=replace(declaration.deployment, objective=objective))
    state = folded([declaration, *(whole_site() if known else [])])
    for event in happened:
        state = apply(event, state)
        for death in presumed_dead(state, now):
            state = apply(Received(death, now), state)
        for instruction in decide(state, now, PLANNING):
            if isinstance(instruction, PublishPlan):
                # What it publishes must be sendable, and valid for those who hear it.
                assert first_non_finite(instruction.plan) is None
                assert PLAN.decode("plan", PLAN.encode(instruction.plan)).stages == instruction.plan.stages
                state = apply(Received(instruction.plan, now), state)
            else:
                state = apply(instruction, state)
        # The next weighing sees the clock move on.
        now += 1.0
    report = status_report("site", state, now=now, power=(), inferences={"photos": NOTHING}, lost_telemetry=0)
    assert first_non_finite(report) is None
    assert len(state.nodes) <= 256
    msgspec.json.decode(msgspec.json.encode(report), type=type(report))


def run(data: bytes) -> None:
    """One story, drawn from the bytes."""
    live.hypothesis.fuzz_one_input(data)


def seeds() -> Iterator[bytes]:
    """Hypothesis draws from any bytes."""
    yield from (bytes(range(256)) * 4, bytes(2_000), b"\xff" * 500)
