"""Whether a node has room for more weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.configuration import AgentSettings
from edge_agent.errors import NoRoomError
from edge_agent.room import RESERVE_MB, check_room, free_memory_mb, memory_bound_mb


def test_the_bound_says_what_is_held_already() -> None:
    """So that a user sees why a model that would fit does not."""
    with pytest.raises(
        NoRoomError,
        match=r"^pi cannot hold 60 MB of weights more beside the 50 MB of other segments: its memory_mb is 100$",
    ):
        check_room("pi", 60.0, 50.0, 100.0, 4_000.0)


def test_what_the_machine_has_free_counts_too() -> None:
    """Others may have taken what the settings promise."""
    with pytest.raises(NoRoomError, match=r"^pi has 80 MB of memory free, and 60 MB of weights more need 92 MB: "):
        check_room("pi", 60.0, 0.0, 100.0, 80.0)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5))
def test_what_is_allowed_keeps_both_bounds(needed: float, held: float, bound: float, free: float) -> None:
    """And what needs nothing more is always allowed."""
    fits = needed <= 0 or (held + needed <= bound and needed + RESERVE_MB <= free)
    if fits:
        check_room("pi", needed, held, bound, free)
    else:
        with pytest.raises(NoRoomError):
            check_room("pi", needed, held, bound, free)


def test_the_bound_is_half_the_memory_unless_it_is_set() -> None:
    """As the node announces it."""
    settings = AgentSettings(site="home", node="pi", tier="edge")
    assert memory_bound_mb(settings, 4_000.0) == 2_000.0
    assert memory_bound_mb(AgentSettings(site="home", node="pi", tier="edge", memory_mb=5.0), 4_000.0) == 5.0


def test_the_machine_has_memory_free() -> None:
    """In MB of 10^6 bytes."""
    assert 10.0 < free_memory_mb() < 1e8
