"""A node's clock tells when something was, and decides nothing: it may jump by an hour at any moment.

How far it is off is shown and told.
"""

import msgspec
import pytest
from decisions import carry_out, photos
from hypothesis import given, settings
from hypothesis import strategies as st
from made_site import (
    birth_message,
    declared,
    folded,
    inference_message,
    link_message,
    load_message,
    miss_message,
    received,
    whole_site,
)

from broker.messages import EnergyReading, MachineReading, Plan, SpoolMark
from coordinator.clocks import ClockBelief, ahead_s, clock_news, with_clock_reading, words_of
from coordinator.site import State
from coordinator.state import Event, Received
from coordinator.status_report import status_report
from coordinator.telemetry.store import ClockSkew, InferenceSummary

NO_INFERENCES = {"photos": InferenceSummary(0, 0, None, None, None, None, None, None)}
HISTORY = [
    declared(),
    *whole_site(),
    *received(load_message("pc", 0.3), link_message("pi", "pc", 40.0, at=1.0), at=1.0),
    *received(inference_message(("pi", 0, 1, 44.0), ("pc", 1, 4, 21.0)), at=2.0),
    *received(link_message("pi", "pc", 4.0, at=6.0), link_message("laptop", "pc", 80.0, at=6.5), at=7.0),
    *received(load_message("pc", 0.0), link_message("pi", "pc", 90.0, at=20.0), at=21.0),
    *received(miss_message(epoch=2), link_message("pi", "laptop", 20.0, at=30.0), at=31.0),
    *received(load_message("pc", 0.1), link_message("pc", "pi", 95.0, at=40.0), at=41.0),
]


def jumped(event: Event, by_s: float) -> Event:
    """The event as its node would have told it with another clock."""
    if isinstance(event, Received) and hasattr(event.message, "at"):
        message = msgspec.structs.replace(event.message, at=event.message.at + by_s)
        return Received(message, event.at, event.retained)
    return event


def lived(history: list[Event], *, retained: bool) -> tuple[State, list[Plan]]:
    state, plans = folded(history[:1]), []
    for event in history[1:]:
        assert isinstance(event, Received)
        state = folded([Received(event.message, event.at, retained)], state)
        state, made = carry_out(state, event.at)
        plans += made
    return state, plans


@settings(deadline=None)
@given(st.integers(0, len(HISTORY)), st.sampled_from([-3_600.0, 3_600.0]), st.booleans())
def test_a_clock_that_jumps_changes_no_plan(moment: int, by_s: float, retained: bool) -> None:
    """Live or kept by the broker, what a message says is the same whenever its node thinks that it is."""
    state, plans = lived(HISTORY, retained=retained)
    other = [*HISTORY[:moment], *(jumped(event, by_s) for event in HISTORY[moment:])]
    jumped_state, jumped_plans = lived(other, retained=retained)
    assert jumped_plans == plans
    assert photos(jumped_state).evaluation == photos(state).evaluation
    beliefs = {pair: (link.belief, link.arrived_at) for pair, link in state.links.items()}
    assert {pair: (link.belief, link.arrived_at) for pair, link in jumped_state.links.items()} == beliefs
    assert jumped_state.loads == state.loads


# --- how far a clock is off: only shown and told

BEGIN = 1_000_000.0


def energy(ahead_s: float, at: float, *, age_s: float = 0.0, node: str = "pi") -> Received:
    """A reading that was made `age_s` before it was sent, came at `at`, and tells a clock that is `ahead_s` ahead."""
    reading = EnergyReading(
        node=node,
        session="s1",
        sequence=0,
        at=at - age_s + ahead_s,
        energy_j=1.0,
        power_w=1.0,
        interval_s=1.0,
        meter="modelled",
        source="modelled",
        scope="board",
        mark=SpoolMark(session="s1", sequence=1, oldest=1, age_s=age_s),
    )
    return Received(reading, at)


def clock_of(state: State, node: str = "pi") -> ClockBelief | None:
    return state.nodes[node].clock


def site_with(*events: Event) -> State:
    return folded([declared(), *whole_site(at=BEGIN), *events])


def news(before: State, after: State) -> list[tuple[str, float]]:
    skews = clock_news(
        {name: node.clock for name, node in before.nodes.items()},
        {name: node.clock for name, node in after.nodes.items()},
    )
    return [(skew.node, round(skew.skew_s, 3)) for skew in skews]


def test_the_skew_is_known_after_ten_seconds() -> None:
    """By when the node says that it read, its reading's arrival and how old it was when it was sent."""
    state = site_with(energy(3.5, BEGIN, age_s=2.0), energy(3.5, BEGIN + 9.0))
    clock = clock_of(state)
    assert clock is not None
    assert clock.skew_s is None
    clock = clock_of(folded([energy(3.5, BEGIN + 10.0)], state))
    assert clock is not None
    assert clock.skew_s == pytest.approx(3.5)
    assert clock_of(state, "laptop") is None


def test_what_was_held_up_makes_no_clock_late() -> None:
    """The reading that came quickest counts: the network can only make a clock look behind."""
    late = [energy(-delay_s, BEGIN + 2.0) for delay_s in (9.0, 5.0, 1.5)]
    clock = clock_of(site_with(energy(0.0, BEGIN), *late, energy(-0.02, BEGIN + 6.0), energy(0.0, BEGIN + 10.0)))
    assert clock is not None
    assert clock.skew_s == pytest.approx(0.0)
    assert clock.told_s is None


@given(
    st.floats(-1e5, 1e5),
    st.lists(st.floats(0.0, 30.0), min_size=1, max_size=8),
    st.lists(st.floats(0.1, 4.0), min_size=8, max_size=8),
)
def test_delays_never_make_a_clock_look_ahead(skew_s: float, delays_s: list[float], gaps_s: list[float]) -> None:
    """Whatever is late, and by how much, what is believed is never more than the truth."""
    belief, at = None, BEGIN
    for delay_s, gap_s in zip(delays_s, gaps_s, strict=False):
        at += gap_s
        belief = with_clock_reading(belief, skew_s - delay_s, at)
    assert belief is not None
    assert belief.skew_s is None or skew_s - 30.0 <= belief.skew_s <= skew_s


def test_a_wrong_clock_is_told_once_and_its_recovery_once() -> None:
    """Also that it is wrong by clearly more than was told; small changes are no news."""
    before, told = site_with(), []
    for step in range(120):
        skew_s = 0.9 if step < 20 else 4.0 if step < 60 else 4.3 if step < 80 else 9.0 if step < 100 else 0.1
        after = folded([energy(skew_s, BEGIN + step)], before)
        told += news(before, after)
        before = after
    assert told == [("pi", 4.0), ("pi", 9.0), ("pi", 0.1)]


def test_a_clock_near_the_bound_is_not_told_over_and_over() -> None:
    """Wrong above one second, right again below half of one."""
    before, told = site_with(), []
    for step in range(200):
        after = folded([energy(1.1 if step // 10 % 2 else 0.8, BEGIN + step)], before)
        told += news(before, after)
        before = after
    assert told == [("pi", 1.1)]


def test_a_restart_of_the_node_tells_nothing_anew() -> None:
    """Its clock is the same one."""
    before = site_with(*(energy(4.0, BEGIN + step) for step in range(12)))
    after = folded([*received(birth_message("pi", "s2"), at=BEGIN + 12.0), energy(4.0, BEGIN + 13.0)], before)
    assert news(before, after) == []
    assert clock_of(after) == clock_of(before)


@pytest.mark.parametrize(
    "event",
    [
        Received(msgspec.structs.replace(energy(4.0, BEGIN).message, mark=None), BEGIN),
        Received(energy(4.0, BEGIN).message, BEGIN, retained=True),
        energy(4.0, BEGIN, node="stranger"),
        Received(inference_message(("pi", 0, 4, 10.0)), BEGIN),
    ],
)
def test_what_says_nothing_of_a_clock_is_left_out(event: Event) -> None:
    """What was not spooled, what the broker had kept, who is unknown, and what is timed by its begin."""
    assert all(node.clock is None for node in site_with(event).nodes.values())


def test_a_jump_of_our_own_clock_ends_the_window() -> None:
    """Back in time no window would ever be over."""
    clock = clock_of(site_with(energy(0.0, BEGIN), energy(3_600.0, BEGIN - 3_600.0)))
    assert clock is not None
    assert clock.began_at == BEGIN - 3_600.0


def test_no_clock_is_too_wrong_to_be_told() -> None:
    """A node may say any finite number."""
    belief = with_clock_reading(None, 1e300, BEGIN)
    reading = energy(1e300, BEGIN).message
    assert isinstance(reading, EnergyReading)
    assert ahead_s(reading, BEGIN) == 2.0**33
    assert "ahead of this coordinator's" in words_of(ClockSkew("pi", belief.most_s))


def test_words_say_which_way_and_what_helps() -> None:
    """For the log of a coordinator."""
    assert words_of(ClockSkew("pi", -62.0)) == (
        "the clock of pi is 62 s behind this coordinator's: set it by NTP (`timedatectl set-ntp true`)"
    )
    assert words_of(ClockSkew("pi", 0.125)) == (
        "the clock of pi is 0.125 s ahead of this coordinator's, which is right enough again"
    )


# --- the state of a node's machine


def test_the_newest_state_of_a_machine_is_kept_for_its_session() -> None:
    """A reading of an earlier run, or of a stranger, is not."""
    machine = MachineReading(
        node="pi",
        session="s1",
        at=BEGIN,
        cpu=0.5,
        memory_used_mb=1.0,
        memory_total_mb=2.0,
        agent_memory_mb=0.5,
        temperature_c=81.0,
        throttled=("soft temperature limit",),
    )
    state = site_with(*received(machine, msgspec.structs.replace(machine, node="stranger"), at=BEGIN))
    assert state.nodes["pi"].machine == machine
    report = status_report("lab", state, now=BEGIN, power=(), inferences=NO_INFERENCES, lost_telemetry=0)
    pi = next(node for node in report.nodes if node.name == "pi")
    assert (pi.temperature_c, pi.throttled) == (81.0, ("soft temperature limit",))
    reborn = folded(received(birth_message("pi", "s2"), machine, at=BEGIN + 1.0), state)
    assert reborn.nodes["pi"].machine is None
