"""Whether a process does its turns."""

import pytest

from splitrail.standstill import LONGEST_TURN_S, standstill


@pytest.mark.parametrize(("turned_at", "now"), [(None, 1e6), (100.0, 100.0), (100.0, 100.0 + LONGEST_TURN_S)])
def test_what_turns_or_has_not_begun_is_alive(turned_at: float | None, now: float) -> None:
    """A start may wait for a broker for as long as it takes."""
    assert standstill("agent", turned_at, now) is None


def test_what_stands_still_is_said() -> None:
    """With for how long."""
    assert standstill("agent", 100.0, 190.4) == "the agent has stood still for 90 s"
