"""Turns hardware counters that wrap or begin anew into joules that never fall. Reading them is the meters'."""

from collections.abc import Sequence


class CounterSum:
    """The sum of what several counters rose by; pure, for it is told the time.

    Where one counter tells nothing of an interval, the sum tells nothing of it either: it stands still meanwhile, and
    `uncounted_s` grows.
    """

    def __init__(
        self,
        first: Sequence[int],
        ranges: Sequence[int | None],
        *,
        at_s: float,
        longest_s: float | None = None,
    ) -> None:
        """Begin with the counters at `first`; a range is what a wrap takes away, None where that is not known.

        `longest_s` is the time within which no counter can wrap twice; None where none wraps.
        """
        self._last = tuple(first)
        self._ranges = tuple(ranges)
        self._last_s = at_s
        self._longest_s = longest_s
        self.total = 0
        self.uncounted_s = 0.0

    def advance(self, counters: Sequence[int], at_s: float) -> int:
        """The sum of the rises up to now, in the counters' own unit."""
        passed_s = max(at_s - self._last_s, 0.0)
        rises = [_rise(*each) for each in zip(self._last, counters, self._ranges, strict=True)]
        known = [rise for rise in rises if rise is not None]
        self._last, self._last_s = tuple(counters), max(at_s, self._last_s)
        if len(known) < len(rises) or (self._longest_s is not None and passed_s > self._longest_s):
            self.uncounted_s += passed_s
        else:
            self.total += sum(known)
        return self.total


def _rise(last: int, now: int, wrap: int | None) -> int | None:
    """What a counter rose by, wrapping at most once; None if that cannot be told."""
    if now >= last:
        return now - last
    if wrap is None or last > wrap or now < 0:
        return None
    return now - last + wrap
