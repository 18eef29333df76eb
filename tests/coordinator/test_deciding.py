"""When plans change, and when they do not: decided without a clock, a broker or a network."""

from dataclasses import replace

import made_site
import msgspec
import pytest
from decisions import SETTINGS, SETTLED, after, carry_out, photos, settled, stages, weighed
from made_site import birth_message, declared, folded, link_message, offline, profile_message, ready_message, received

from broker.messages import PROTOCOL_VERSION, ProfileFailure
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.membership import REBIRTH_GRACE_S, presumed_dead
from coordinator.state import Connected


def test_nothing_is_planned_before_the_origin_has_profiled_the_model() -> None:
    """Without the origin's profile there is no plan; the obstacle says what is missing."""
    events = [declared(), *received(birth_message("pi"), birth_message("pc"), profile_message("pc"))]
    state, plans = carry_out(folded(events), 0.0)
    assert plans == []
    assert weighed(state).obstacle == "waiting for pi, the origin: it has not profiled net yet"


def test_the_obstacle_says_why_the_origin_cannot_profile_the_model() -> None:
    """Its own words, until its profile comes or it starts anew."""
    failure = ProfileFailure(node="pi", model=made_site.SHA256, reason="the runtime has no op FlexErf")
    state = folded([declared(), *received(birth_message("pi"), failure)])
    told, _ = carry_out(state, 0.0)
    assert weighed(told).obstacle == (
        "waiting for pi, the origin: it cannot profile net: the runtime has no op FlexErf"
    )
    anew, _ = carry_out(after(state, birth_message("pi", "s2"), at=1.0), 1.0)
    assert weighed(anew).obstacle == "waiting for pi, the origin: it has not profiled net yet"
    assert after(state, profile_message("pi"), at=1.0).unprofiled == {}


def test_the_origin_alone_is_planned_at_once_and_improved_as_others_come() -> None:
    """The first plan does not wait for nodes that are still profiling; it is replaced when they are there."""
    births = received(*(birth_message(node) for node in made_site.TIERS), profile_message("pi"))
    state, plans = carry_out(folded([declared(), *births]), 0.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 4)]]
    assert plans[0].reason == "first plan"
    assert weighed(state).left_out == {
        "laptop": "it has not profiled net yet",
        "pc": "it has not profiled net yet",
    }
    state = after(state, profile_message("pc"), link_message("pi", "pc"), link_message("pc", "pi"), at=1.0)
    state, plans = carry_out(state, 1.0)
    assert plans == []
    assert weighed(state).left_out["pc"] == "it has joined only just: what is measured of it may still change"
    state, plans = carry_out(state, 3.0)
    assert [(plan.epoch, stages(plan)) for plan in plans] == [(2, [("pi", 0, 1), ("pc", 1, 4)])]
    assert "better than plan 1 by the model" in plans[0].reason


def test_nothing_is_due_before_the_interval_unless_something_changed() -> None:
    """Between two re-evaluations nothing is decided at all; after the interval the plan is weighed and stays."""
    state = settled()
    assert decide(state, 4.9, SETTINGS) == []
    instructions = decide(state, 5.0, SETTINGS)
    assert len(instructions) == 1
    assert not isinstance(instructions[0], PublishPlan)


def test_a_clock_that_was_set_back_does_not_put_planning_off() -> None:
    """An evaluation that lies in the future counts as long ago."""
    assert decide(settled(), -3_600.0, SETTINGS) != []


@pytest.mark.parametrize(("hysteresis", "moves"), [(0.9, False), (0.01, True)])
def test_a_better_plan_is_published_only_beyond_the_hysteresis(hysteresis: float, moves: bool) -> None:
    """A gain below the hysteresis leaves the plan as it is, one above it does not."""
    state = settled(mbps=1.0)
    assert photos(state).plan is not None
    assert stages(photos(state).plan) == [("pi", 0, 4)]
    settings = PlanningSettings(hysteresis=hysteresis)
    state, plans = carry_out(after(state, link_message("pi", "pc"), link_message("pc", "pi"), at=1.0), 1.0, settings)
    assert bool(plans) is moves
    # Whether it moved or not, the change has been weighed.
    assert decide(state, 1.1, settings) == []


def test_a_links_clear_change_moves_the_plan_at_once() -> None:
    """A link that drops is acted on before the interval has passed, and the reason names it."""
    state = after(settled(), link_message("pi", "pc", 0.5), link_message("pi", "laptop", 0.5), at=1.0)
    state, plans = carry_out(state, 1.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 4)]]
    assert plans[0].epoch == 2
    assert "fell from 100 to 0.5 Mbit/s" in plans[0].reason


def test_a_link_that_goes_through_the_broker_moves_the_plan_at_once() -> None:
    """What is told of it is believed, however far it is from the link that was; and so when it is direct again."""
    slow = [msgspec.structs.replace(link_message("pi", dst, 0.5), way="mqtt") for dst in ("pc", "laptop")]
    state, plans = carry_out(after(settled(), *slow, at=1.0), 1.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 4)]]
    assert "goes through the broker: 0.5 Mbit/s" in plans[0].reason
    state, plans = carry_out(after(state, link_message("pi", "pc"), link_message("pi", "laptop"), at=2.0), 2.0)
    assert "is direct again: 100 Mbit/s" in plans[0].reason


@pytest.mark.parametrize(
    ("mbps", "rtt_ms", "due"), [(81.0, 2.0, False), (79.0, 2.0, True), (100.0, 3.9, False), (100.0, 4.1, True)]
)
def test_a_small_change_of_a_link_waits_for_the_interval(mbps: float, rtt_ms: float, due: bool) -> None:
    """Only more than a fifth of the bandwidth, or of the round trip and 2 ms, counts as a clear change."""
    state = after(settled(), link_message("pi", "pc", mbps, rtt_ms=rtt_ms), at=1.0)
    assert bool(decide(state, 1.0, SETTINGS)) is due


def test_many_small_changes_add_up() -> None:
    """A link is compared with what the last evaluation reckoned with, not with its previous reading."""
    state = settled()
    for at, mbps in enumerate((95.0, 90.0, 85.0), start=1):
        state = after(state, link_message("pi", "pc", mbps), at=at * 0.1)
        assert decide(state, at * 0.1, SETTINGS) == []
    assert decide(after(state, link_message("pi", "pc", 79.0), at=0.5), 0.5, SETTINGS) != []


def test_the_death_of_a_planned_node_forces_a_new_plan() -> None:
    """A plan that names a dead node is replaced at once, whatever the hysteresis."""
    settings = PlanningSettings(hysteresis=0.99)
    _, plans = carry_out(after(settled(), offline("pc"), at=1.0), 1.0, settings)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]
    assert plans[0].reason == "pc is offline"
    assert plans[0].epoch == 2


def test_a_node_of_another_version_is_never_planned() -> None:
    """A node that comes back with another protocol leaves the plan, and is listed with the reason."""
    state = after(settled(), birth_message("pc", "s2", protocol=PROTOCOL_VERSION + 1), at=1.0)
    state, plans = carry_out(state, 1.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]
    assert "upgrade splitrail" in plans[0].reason
    assert "upgrade splitrail" in weighed(state).left_out["pc"]


def test_a_node_that_cannot_take_its_part_is_left_out_until_it_is_born_again() -> None:
    """A refusal is acted on at once; the node's next birth ends it."""
    state = after(settled(), ready_message("pc", 1, ready=False, reason="disk full"), at=1.0)
    state, plans = carry_out(state, 1.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]
    assert plans[0].reason == "pc could not take its part: disk full"
    assert weighed(state).left_out["pc"] == "disk full"
    assert carry_out(state, 30.0)[1] == []
    state, _ = carry_out(after(state, birth_message("pc", "s2"), at=31.0), 31.0)
    state, plans = carry_out(state, 33.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("pc", 1, 4)]]


def test_a_refusal_ends_after_a_while() -> None:
    """A node that refused is tried again once `refusal_s` has passed."""
    state, _ = carry_out(after(settled(), ready_message("pc", 1, ready=False), at=1.0), 1.0)
    state, plans = carry_out(state, 61.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("pc", 1, 4)]]
    assert plans[0].reason.startswith("pc is tried again")


def test_a_node_that_refuses_again_and_again_is_left_out_for_longer_each_time() -> None:
    """A node that can never take its part does not make the plan swing every minute."""
    state, now = settled(), 1.0
    for wait_s in (60.0, 120.0, 240.0):
        plan = photos(state).plan
        assert plan is not None
        assert ("pc", 1, 4) in stages(plan)
        state, _ = carry_out(after(state, ready_message("pc", plan.epoch, ready=False), at=now), now)
        assert carry_out(state, now + wait_s - 1.0)[1] == []
        now += wait_s
        state, plans = carry_out(state, now)
        assert len(plans) == 1


def test_the_only_node_that_could_is_tried_again_under_a_new_epoch() -> None:
    """Where nobody else can take over, the plan is published anew once the refusal has ended."""
    state, _ = carry_out(folded([declared("cloud-only"), *made_site.whole_site()]), SETTLED)
    state, plans = carry_out(after(state, ready_message("pc", 1, ready=False, reason="disk full"), at=SETTLED), SETTLED)
    assert plans == []
    assert (weighed(state).obstacle or "").startswith("pc could not take its part: disk full; ")
    state, plans = carry_out(state, SETTLED + 61.0)
    assert [(plan.epoch, stages(plan), plan.reason) for plan in plans] == [(2, [("pc", 0, 4)], "pc is tried again")]
    assert carry_out(after(state, ready_message("pc", 2), at=SETTLED + 62.0), SETTLED + 62.0)[1] == []


def test_nodes_that_a_forgetful_broker_does_not_bring_back_are_presumed_dead() -> None:
    """After a reconnect every living agent is born again; who is not within the grace counts as gone."""
    state = folded([Connected(0.0), *made_site.whole_site(at=1.0), Connected(50.0)])
    state = after(state, birth_message("pi"), at=51.0)
    assert presumed_dead(state, 51.0 + REBIRTH_GRACE_S / 2) == []
    deaths = presumed_dead(state, 51.0 + REBIRTH_GRACE_S)
    assert [death.node for death in deaths] == ["laptop", "pc"]
    state = after(state, *deaths, at=150.0)
    assert [node.name for node in state.nodes.values() if node.online] == ["pi"]
    assert presumed_dead(state, 1e9) == []


def test_without_the_origin_the_plan_stays_and_the_obstacle_is_told() -> None:
    """Nothing can be planned without the origin; its plan waits for it to come back."""
    state, plans = carry_out(after(settled(), offline("pi"), at=1.0), 1.0)
    assert plans == []
    assert weighed(state).obstacle == "waiting for pi, the origin: it is offline"
    state, plans = carry_out(after(state, birth_message("pi", "s2"), at=2.0), 2.0)
    assert plans == []
    assert weighed(state).obstacle is None


def test_a_restart_continues_the_epochs_and_leaves_a_good_plan_alone() -> None:
    """With the retained plan read first, an unchanged site gets no new plan, and a changed one the next epoch."""
    retained = made_site.plan_message(41, ("pi", 0, 1), ("pc", 1, 4))
    state = folded([declared(epoch=41), *received(retained), *made_site.whole_site()])
    state, plans = carry_out(state, 0.0)
    assert plans == []
    _, plans = carry_out(after(state, offline("pc"), at=1.0), 1.0)
    assert [plan.epoch for plan in plans] == [42]


def test_a_retained_plan_that_does_not_fit_the_model_is_replaced() -> None:
    """A plan whose stages do not cover the model cannot be scored and gives way at once."""
    state = folded([declared(), *received(made_site.plan_message(3, ("pi", 0, 2))), *made_site.whole_site()])
    _, plans = carry_out(state, 0.0)
    assert [(plan.epoch, stages(plan)) for plan in plans] == [(4, [("pi", 0, 1), ("pc", 1, 4)])]


def test_a_plan_that_breaks_its_deadline_gives_way() -> None:
    """The deadline is a bound: a plan that misses it by the newest estimates is replaced."""
    state, _ = carry_out(folded([declared(deadline_ms=170.0), *made_site.whole_site()]), 0.0)
    state = after(state, link_message("pi", "pc", 5.0), link_message("pi", "laptop", 5.0), at=1.0)
    _, plans = carry_out(state, 1.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 4)]]


def test_an_infeasible_problem_is_told() -> None:
    """Where no plan keeps the bounds there is none, and the state holds the sentence for the status."""
    state, plans = carry_out(folded([declared(deadline_ms=1.0), *made_site.whole_site()]), 0.0)
    assert plans == []
    assert "deadline_ms" in (weighed(state).obstacle or "")


def test_a_static_plan_waits_until_the_site_has_settled_and_then_stays() -> None:
    """The launch plan is made of everything that is there, and no link moves it."""
    state = folded([declared("static"), *made_site.whole_site(at=10.0)])
    state, plans = carry_out(state, 10.0)
    assert plans == []
    state, plans = carry_out(state, 15.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("pc", 1, 4)]]
    state = after(state, link_message("pi", "pc", 0.1), link_message("pc", "pi", 0.1), at=16.0)
    state, plans = carry_out(state, 16.0)
    assert plans == []
    # What it would cost now is known all the same.
    assert (prediction := weighed(state).prediction) is not None
    assert prediction.latency_ms > 8_000.0
    _, plans = carry_out(after(state, offline("pc"), at=17.0), 17.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]


@pytest.mark.parametrize("strategy", ["fog-only", "cloud-only"])
def test_a_plan_that_stays_is_not_made_of_first_estimates(strategy: made_site.StrategyName) -> None:
    """Its route hangs on links, whose first estimates may be wild."""
    state, plans = carry_out(folded([declared(strategy), *made_site.whole_site()]), 1.0)
    assert plans == []
    assert weighed(state).obstacle == f"the {strategy} plan waits until nothing new has come for 5 s"


def test_a_static_plan_does_not_wait_for_ever_for_a_profile() -> None:
    """A node that never profiles the model holds the launch plan up for ten times the settling time at most."""
    events = received(birth_message("pi"), birth_message("pc"), profile_message("pi"))
    state, plans = carry_out(folded([declared("static"), *events]), 0.0)
    state, plans = carry_out(state, 49.0)
    assert plans == []
    assert weighed(state).obstacle == "the static plan waits for the profile of pc"
    assert len(carry_out(state, 55.0)[1]) == 1


@pytest.mark.parametrize(("strategy", "node"), [("origin-only", "pi"), ("fog-only", "laptop"), ("cloud-only", "pc")])
def test_a_fixed_strategy_keeps_to_its_node(strategy: made_site.StrategyName, node: str) -> None:
    """Whatever the links do, the plan of a fixed strategy stays."""
    state, plans = carry_out(folded([declared(strategy), *made_site.whole_site()]), SETTLED)
    assert [stages(plan) for plan in plans] == [[(node, 0, 4)]]
    state = after(state, link_message("pi", node if node != "pi" else "pc", 0.1), at=SETTLED)
    assert carry_out(state, SETTLED)[1] == []


def test_a_fixed_strategy_says_why_it_has_no_plan() -> None:
    """When its only node dies there is no new plan, and the obstacle says so."""
    state, _ = carry_out(folded([declared("cloud-only"), *made_site.whole_site()]), SETTLED)
    state, plans = carry_out(after(state, offline("pc"), at=SETTLED), SETTLED)
    assert plans == []
    assert (weighed(state).obstacle or "").startswith("pc is offline; ")


def test_deployments_are_decided_one_by_one() -> None:
    """Two deployments of one model get a plan each, with epochs of their own."""
    other = declared("origin-only", epoch=7)
    other = replace(other, deployment=replace(other.deployment, name="local"))
    _, plans = carry_out(folded([declared(), other, *made_site.whole_site()]), 0.0)
    assert {(plan.deployment, plan.epoch) for plan in plans} == {("photos", 1), ("local", 8)}


def test_a_hostile_node_keeps_nobody_from_planning() -> None:
    """Figures that no machine has leave out the node that sent them, and it alone."""
    events = [declared(), *made_site.whole_site(), *received(profile_message("pc", (1e300,) * 4))]
    state, plans = carry_out(folded(events), 0.0)
    assert [stages(plan) for plan in plans] == [[("pi", 0, 1), ("laptop", 1, 4)]]
    events = [declared(), *made_site.whole_site(), *received(profile_message("pc", (1.0,) * 3))]
    state, plans = carry_out(folded(events), 0.0)
    assert weighed(state).left_out == {"pc": "its profile has 3 ops, net has 4"}
