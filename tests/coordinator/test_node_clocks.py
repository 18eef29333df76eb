"""A node's clock tells when something was, and decides nothing: it may jump by an hour at any moment."""

import msgspec
from decisions import carry_out, photos
from hypothesis import given, settings
from hypothesis import strategies as st
from made_site import (
    declared,
    folded,
    inference_message,
    link_message,
    load_message,
    miss_message,
    received,
    whole_site,
)

from broker.messages import Plan
from coordinator.site import State
from coordinator.state import Event, Received

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
