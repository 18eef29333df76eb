"""What a burst of events makes of a site's state: the same as its events one by one."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st
from made_site import birth_message, declared, folded, link_message, offline, plan_message, profile_message, received

from coordinator.site import EMPTY
from coordinator.snapshot import snapshot_of
from coordinator.state import Connected, Event, Restored, apply, apply_all

NAMES = st.sampled_from(["pi", "pc", "laptop"])
MESSAGES = st.one_of(
    st.builds(birth_message, NAMES, st.sampled_from(["s", "t"])),
    st.builds(offline, NAMES, st.sampled_from(["s", "t"])),
    st.builds(profile_message, NAMES),
    st.builds(link_message, NAMES, NAMES, st.floats(1.0, 100.0)),
    st.builds(plan_message, st.integers(1, 5), st.just(("pi", 0, 4))),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    MESSAGES.map(lambda message: received(message)[0]),
    st.builds(Connected, st.floats(0.0, 100.0)),
    st.just(Restored(snapshot_of(folded([declared(), *received(birth_message("pi"), profile_message("pi"))])))),
)


@given(st.lists(EVENTS, max_size=20))
def test_a_burst_leaves_what_its_events_leave_one_by_one(events: list[Event]) -> None:
    """Whatever the events and their order are."""
    start = apply(declared(), EMPTY)
    assert apply_all(events, start) == reduce(lambda state, event: apply(event, state), events, start)


@given(st.lists(EVENTS, max_size=10), st.lists(EVENTS, max_size=10))
def test_a_state_never_changes_once_it_is_there(before: list[Event], after: list[Event]) -> None:
    """A burst that follows, and what was remembered of the state, leave it as it was."""
    state = apply_all(before, apply(declared(), EMPTY))
    words = repr(state)
    apply_all([*after, Restored(snapshot_of(state)), *after], state)
    assert repr(state) == words


def test_what_changes_nothing_copies_nothing() -> None:
    """The mappings that no event concerns stay the same values, so that whoever compares them is quick."""
    state = folded([declared(), *received(birth_message("pi"), birth_message("pc"), profile_message("pi"))])
    after = apply_all(received(link_message("pi", "pc", 5.0)), state)
    assert after.profiles is state.profiles
    assert after.links is not state.links
