"""Turns watts, sampled now and then, into joules. Reading the sensors is the meters'."""

_MOST_W = 20_000.0  # more than any machine that computes draws: such a sample is garbage


class PowerIntegral:
    """The integral of power over monotonic time by the trapezoid rule; pure, for it is told the time.

    Between two samples further apart than `longest_gap_s` nothing is known: such a gap adds no joules, and its
    seconds are added to `uncounted_s` instead.
    """

    def __init__(self, longest_gap_s: float) -> None:
        """Begin with the first sample; until then there is no energy and no time."""
        self._longest_gap_s = longest_gap_s
        self._last: tuple[float, float] | None = None
        self.energy_j = 0.0
        self.uncounted_s = 0.0

    def add(self, at_s: float, power_w: float) -> float:
        """The joules so far, with a sample more; one that is not later than the last takes its place.

        ValueError if `power_w` is not from 0 to 20,000 W; the sample is left out then.
        """
        if not 0.0 <= power_w <= _MOST_W:  # NaN fails this too
            raise ValueError(f"{power_w:g} W is no power that a machine draws")
        if self._last is not None:
            last_s, last_w = self._last
            passed_s = max(at_s - last_s, 0.0)
            at_s = max(at_s, last_s)
            if passed_s > self._longest_gap_s:
                self.uncounted_s += passed_s
            else:
                self.energy_j += (last_w + power_w) / 2 * passed_s
        self._last = (at_s, power_w)
        return self.energy_j
