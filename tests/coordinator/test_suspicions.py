"""Who did not do its part in time is planned around at once, for longer each time, and taken back when healthy."""

from itertools import pairwise

import msgspec
import pytest
from decisions import after, carry_out, photos, settled, stages
from hypothesis import given, settings
from hypothesis import strategies as st
from made_site import (
    birth_message,
    declared,
    folded,
    link_message,
    load_message,
    miss_message,
    offline,
    received,
    whole_site,
)

from broker.messages import EnergyReading, StageMiss
from coordinator import plan_events
from coordinator.configuration import PlanningSettings
from coordinator.site import State
from coordinator.state import Received, apply
from coordinator.suspicions import FIRST_PATIENCE_S, FORGOTTEN_S, LONGEST_PATIENCE_S, SILENT_S, Suspicion, after_miss

PROMPT = PlanningSettings(join_s=0.0, confidence=0.0, switch_cost=0.0, least_dwell_s=0.0)


def energy(node: str) -> EnergyReading:
    return EnergyReading(
        node=node,
        session="s1",
        sequence=1,
        at=0.0,
        energy_j=1.0,
        power_w=1.0,
        interval_s=1.0,
        meter="model",
        source="modelled",
        scope="board",
    )


def split() -> State:
    """A site whose plan runs on the pi and the pc, and whose laptop is nearly as good."""
    state = settled()
    plan = photos(state).plan
    assert plan is not None
    assert stages(plan) == [("pi", 0, 1), ("pc", 1, 4)]
    return state


def test_a_plan_that_is_to_stay_outlasts_what_is_slow() -> None:
    """A link that has become slow moves no static plan; a node of which nothing is heard any more does."""
    state, plans = carry_out(folded([declared("static"), *whole_site()]), 10.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("pc", 1, 4)]]
    for at in (11.0, 13.0, 15.0, 17.0):
        state = after(state, miss_message(delivered=False), energy("pc"), link_message("pi", "pc", 3.0), at=at)
        state, plans = carry_out(state, at)
        assert plans == []
    state = after(state, miss_message(), at=20.0)
    state, plans = carry_out(state, 17.0 + SILENT_S - 0.1)
    assert plans == []
    state, plans = carry_out(state, 17.0 + SILENT_S)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]


def test_a_node_that_failed_is_not_said_to_be_late() -> None:
    """It answered that it cannot go on, so nobody waited for it."""
    failed = msgspec.structs.replace(miss_message(), waited_ms=35.0, allowed_ms=0.0)
    _, plans = carry_out(after(split(), failed, at=5.0), 5.0)
    assert plans[0].reason == "pc failed in its part of a request of pi, whose log says why"


def test_a_silent_node_is_planned_around_at_once() -> None:
    """The plan says who waited for whom, and for how long."""
    _, plans = carry_out(after(split(), miss_message(), at=5.0), 5.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]
    assert plans[0].reason == "pi waited 310 ms for pc, 120 ms allowed"


def test_a_node_that_did_not_even_take_the_tensors_is_left_out_with_its_link() -> None:
    """Which of them it is shows later: the node counts again once it is heard, the link once it is measured."""
    state = after(split(), miss_message(delivered=False), at=5.0)
    state, plans = carry_out(state, 5.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]
    assert plans[0].reason == "pi waited 310 ms for pc to take tensors from pi, 120 ms allowed"
    state, plans = carry_out(after(state, energy("pc"), at=8.0), 8.0, PROMPT)
    assert all(("pi", "pc") not in pairwise(stage.node for stage in plan.stages) for plan in plans)
    assert weighed_links(state) == {("pi", "pc")}
    state, plans = carry_out(after(state, link_message("pi", "pc"), at=9.0), 9.0, PROMPT)
    assert weighed_links(state) == set()


def weighed_links(state: State) -> set[tuple[str, str]]:
    evaluation = photos(state).evaluation
    assert evaluation is not None
    return set(evaluation.circumstances.suspect_links)


def test_a_suspect_is_taken_back_when_its_patience_is_over_and_it_was_heard() -> None:
    """Neither alone is enough: a stopped node says nothing, and a slow one still speaks."""
    state, _ = carry_out(after(split(), miss_message(), at=5.0), 5.0)
    silent, plans = carry_out(state, 5.0 + 10 * FIRST_PATIENCE_S, PROMPT)
    assert plans == []
    early, plans = carry_out(after(state, load_message("pc", 0.0), at=6.0), 6.0, PROMPT)
    assert plans == []
    for heard in (energy("pc"), load_message("pc", 0.0), link_message("pc", "pi"), link_message("laptop", "pc")):
        _, plans = carry_out(after(silent, heard, at=26.0), 26.0, PROMPT)
        assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("pc", 1, 4)]], heard
        assert plans[0].reason.startswith("pc is heard again")
    _, plans = carry_out(early, 5.0 + FIRST_PATIENCE_S, PROMPT)
    assert len(plans) == 1


def test_what_the_broker_had_kept_is_no_sign_of_life() -> None:
    """After a reconnect the last words of a stopped node come once more."""
    state, _ = carry_out(after(split(), miss_message(), at=5.0), 5.0)
    kept = [Received(message, 30.0, retained=True) for message in (load_message("pc", 0.0), link_message("pc", "pi"))]
    _, plans = carry_out(folded([*kept], state), 30.0, PROMPT)
    assert plans == []


def test_patience_grows_with_each_relapse_and_not_with_each_miss() -> None:
    """Ten requests that miss together are one fault; a suspect that fails again is left out for twice as long."""
    suspicion = after_miss(None, miss_message(epoch=1), 0.0, -1.0)
    for number in range(10):
        suspicion = after_miss(suspicion, miss_message(epoch=1), 0.1 * number, -1.0)
    assert (suspicion.count, suspicion.at) == (1, pytest.approx(0.9))
    patience_s, at = [suspicion.patience_s], suspicion.at
    for epoch in range(2, 9):
        at += suspicion.patience_s + 1.0
        assert suspicion.is_over(heard_at=at, now=at)
        suspicion = after_miss(suspicion, miss_message(epoch=epoch), at, at)
        patience_s.append(suspicion.patience_s)
    assert patience_s == [2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PATIENCE_S, LONGEST_PATIENCE_S, LONGEST_PATIENCE_S]


def test_requests_that_began_before_a_suspect_was_taken_back_do_not_count() -> None:
    """Their misses come late; those of a plan made since then do count."""
    before = Suspicion("why", at=0.0, count=1, epoch=4)
    assert after_miss(before, miss_message(epoch=4), 3.0, heard_at=2.5) == before
    assert after_miss(before, miss_message(epoch=5), 3.0, heard_at=2.5).count == 2


def test_who_has_done_well_for_long_starts_anew() -> None:
    """A miss a day does not add up."""
    before = Suspicion("why", at=0.0, count=6, epoch=4)
    assert after_miss(before, miss_message(epoch=9), FORGOTTEN_S + 1.0, heard_at=100.0).count == 1


def test_a_rebirth_forgets() -> None:
    """What a node did in an earlier life is not held against it; nor against its links."""
    state = after(split(), miss_message(), miss_message(delivered=False), at=5.0)
    assert photos(state).suspect_nodes
    state = after(state, offline("pc"), birth_message("pc", "s2"), at=6.0)
    assert not photos(state).suspect_nodes
    assert not photos(state).suspect_links


def test_without_a_plan_that_avoids_the_suspect_the_plan_stays() -> None:
    """Where the deadline cannot be kept without it, the origin goes on as it can, and the status says why."""
    state, plans = carry_out(folded([declared(deadline_ms=80.0), *whole_site()]), 0.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("pc", 1, 4)]]
    state = after(state, miss_message("laptop"), miss_message("pc"), at=5.0)
    for number in range(20):
        state, plans = carry_out(state, 5.0 + number)
        assert plans == []
    evaluation = photos(state).evaluation
    assert evaluation is not None
    assert (evaluation.obstacle or "").startswith("pi waited 310 ms for pc, 120 ms allowed; ")


@pytest.mark.parametrize(
    "told",
    [
        miss_message(node="laptop"),
        miss_message(deployment="other"),
        miss_message(suspect="nobody"),
        miss_message(suspect="pi"),
        miss_message(suspect="pi", src="nobody", delivered=False),
    ],
    ids=["not the origin", "no such deployment", "no such node", "itself", "no such link"],
)
def test_a_miss_that_nobody_may_tell_changes_nothing(told: StageMiss) -> None:
    """Only the origin speaks, on its own deployment, and of others than itself."""
    state = split()
    assert after(state, told, at=5.0).deployments == state.deployments


def test_the_origins_own_link_may_be_suspect() -> None:
    """A result that does not come back doubts the way, not the origin."""
    state = after(split(), miss_message(suspect="pi", src="pc", delivered=False), at=5.0)
    assert list(photos(state).suspect_links) == [("pc", "pi")]
    assert not photos(state).suspect_nodes
    state, plans = carry_out(state, 5.0)
    assert len(plans) == 1
    assert ("pc", "pi") not in pairwise(plans[0].way_back)


def test_suspects_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin that accuses everybody fills a list of its own, and no more."""
    monkeypatch.setattr(plan_events, "MAX_SUSPECTS", 1)
    state = after(split(), miss_message("pc"), miss_message("laptop"), at=5.0)
    assert list(photos(state).suspect_nodes) == ["pc"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["miss", "heard", "pass"]), st.floats(0.0, 100.0)), max_size=60))
def test_nobody_who_is_heard_is_left_out_for_ever(steps: list[tuple[str, float]]) -> None:
    """However it has failed, a suspect that speaks is taken back after the longest patience at most."""
    state, now = split(), 1.0
    for what, seconds in steps:
        now += seconds
        if what == "miss":
            state = apply(Received(msgspec.structs.replace(miss_message(), epoch=photos(state).epoch), now), state)
        elif what == "heard":
            state = after(state, energy("pc"), at=now)
    now += LONGEST_PATIENCE_S
    state = after(state, energy("pc"), at=now)
    for suspicion in photos(state).suspect_nodes.values():
        assert suspicion.is_over(state.nodes["pc"].spoke_at, now)
    state, _ = carry_out(state, now, PROMPT)
    evaluation = photos(state).evaluation
    assert evaluation is not None
    assert evaluation.circumstances.suspects == {}


def test_a_suspicion_never_outlives_its_reason_for_a_clock_that_was_set_back() -> None:
    """The coordinator's clock may jump; nobody is left out until it has caught up."""
    assert Suspicion("why", at=1_000.0, count=3, epoch=1).is_over(heard_at=-1.0, now=10.0)


def test_received_misses_of_others_do_not_count_as_inferences() -> None:
    """Traffic is counted by reports alone."""
    state = folded(received(miss_message(), at=1.0), split())
    assert photos(state).traffic.inferences == 0
