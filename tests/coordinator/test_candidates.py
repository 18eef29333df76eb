"""Which nodes of a large site a deployment is planned with."""

from collections.abc import Iterable

from made_site import OPS, birth_message, declared, link_message, plan_message, profile_message, received

from broker.messages import NodeProfile
from coordinator.candidates import MOST_CANDIDATES, PASSED_OVER, candidates, is_large, with_none_but
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.site import EMPTY, State
from coordinator.state import Event, Received, apply_all

CROWD = [f"n{number:03d}" for number in range(3 * MOST_CANDIDATES)]


def profiled(name: str) -> NodeProfile:
    """The profile of a quick node."""
    return profile_message(name, [1.0] * OPS)


def site(others: Iterable[tuple[str, float]], *more: Event) -> State:
    """The origin `pi` and others, each with the bandwidth of its links to and from the origin."""
    events: list[Event] = [declared(), *received(birth_message("pi"), profile_message("pi"))]
    for name, mbps in others:
        events += received(birth_message(name), profiled(name))
        events += received(link_message("pi", name, mbps), link_message(name, "pi", mbps))
    return apply_all([*events, *more], EMPTY)


def chosen(state: State) -> frozenset[str]:
    """Who its only deployment is planned with."""
    return candidates(state.deployments["photos"], state, 0.0)


def test_of_a_small_site_everybody_is_planned_with() -> None:
    """The choice is for sites that would take the planner seconds."""
    assert not is_large(site((name, 10.0) for name in CROWD[: MOST_CANDIDATES - 1]))
    assert is_large(site((name, 10.0) for name in CROWD))


def test_those_that_are_reached_quickest_are_chosen_among_like_nodes() -> None:
    """The origin is one of them, and so many of the others as there is room for."""
    state = site((name, 10.0 + number) for number, name in enumerate(CROWD))
    assert chosen(state) == {"pi", *CROWD[-(MOST_CANDIDATES - 1) :]}


def test_a_node_without_profile_or_without_a_way_back_is_not_chosen() -> None:
    """It could not take part."""
    others = [(name, 10.0) for name in CROWD]
    more = received(
        birth_message("unprofiled"),
        link_message("pi", "unprofiled", 1_000.0),
        link_message("unprofiled", "pi", 1_000.0),
        birth_message("mute"),
        profiled("mute"),
        link_message("pi", "mute", 1_000.0),
    )
    assert chosen(site(others, *more)).isdisjoint({"unprofiled", "mute"})


def test_a_node_behind_a_relay_brings_the_relay() -> None:
    """Without it nothing would reach the node."""
    others = [(name, 1.0) for name in CROWD]
    more = received(
        *(birth_message(name) for name in ("door", "cellar")),
        profiled("cellar"),
        *(link_message(*pair, 1_000.0) for pair in (("pi", "door"), ("door", "cellar"))),
        *(link_message(*pair, 1_000.0) for pair in (("cellar", "door"), ("door", "pi"))),
    )
    assert {"door", "cellar"} <= chosen(site(others, *more))


def test_the_nodes_of_the_plan_in_force_are_always_chosen() -> None:
    """Whether it can stay has to be known, however little they promise."""
    others = [("slow", 0.01), *((name, 10.0) for name in CROWD)]
    state = site(others, *received(plan_message(1, ("slow", 0, 4))))
    assert "slow" in chosen(state)


def test_some_of_every_tier_are_chosen() -> None:
    """Strategies that want a fog node find one, though a crowd of others promises more."""
    more = received(
        birth_message("laptop"),
        profiled("laptop"),
        link_message("pi", "laptop", 0.1),
        link_message("laptop", "pi", 0.1),
    )
    assert "laptop" in chosen(site(((name, 10.0) for name in CROWD), *more))


def test_a_site_without_the_others_has_only_the_links_between_those_that_are_left() -> None:
    """So that all that follows costs what they do."""
    state = site([("a", 1.0), ("b", 1.0)])
    near = with_none_but({"pi", "a", "gone"}, state)
    assert near.nodes.keys() == {"pi", "a"}
    assert near.links.keys() == {("pi", "a"), ("a", "pi")}


def test_a_large_site_gets_its_plan_and_says_of_the_others_that_they_are_passed_over() -> None:
    """In the report of why they have no part."""
    state = site((name, 10.0 + number) for number, name in enumerate(CROWD))
    instructions = decide(state, 10.0, PlanningSettings())
    assert isinstance(instructions[0], PublishPlan)
    evaluated = instructions[1]
    assert not isinstance(evaluated, PublishPlan)
    assert evaluated.evaluation.left_out[CROWD[0]] == PASSED_OVER
    assert CROWD[-1] not in evaluated.evaluation.left_out


def test_what_happens_to_a_node_that_is_passed_over_makes_nothing_due() -> None:
    """A thousand links that are measured once a second would have plans weighed all the time."""
    settings = PlanningSettings()
    state = site((name, 10.0 + number) for number, name in enumerate(CROWD))
    for instruction in decide(state, 10.0, settings):
        event = Received(instruction.plan, 10.0) if isinstance(instruction, PublishPlan) else instruction
        state = apply_all([event], state)
    first, last = CROWD[0], CROWD[-1]
    assert decide(apply_all(received(link_message("pi", first, 5.0), at=10.5), state), 10.5, settings) == []
    assert decide(apply_all(received(link_message("pi", last, 5.0), at=10.5), state), 10.5, settings) != []
    assert decide(state, 10.0 + settings.interval_s, settings) != []
