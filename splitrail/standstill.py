"""Whether a process does its turns, for whoever starts it again when it does not; part of the floor."""

from typing import Final

LONGEST_TURN_S: Final = 60.0
"""A turn takes a fraction of a second, and some seconds where a machine is overloaded or a search is long."""


def standstill(what: str, turned_at: float | None, now: float) -> str | None:
    """Why `what` has to be started again, in one sentence; None while it turns, or before its first turn.

    `turned_at`, the begin of its newest turn, and `now` are in s of one monotonic clock.
    """
    if turned_at is None or now - turned_at <= LONGEST_TURN_S:
        return None
    return f"the {what} has stood still for {now - turned_at:.0f} s"
