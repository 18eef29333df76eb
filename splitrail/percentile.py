"""The one definition of a percentile, for the status, the demo and the experiment alike; imports none of ours."""

from collections.abc import Iterable


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The value that `percent` % (0 to 100) of the values do not exceed; None of no values.

    Interpolated linearly between the two ranks beside it, as numpy's `percentile` does by default.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    position = percent / 100 * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    between = position - below
    # Weighing both ends never leaves their range, whatever the rounding.
    return min(max(ordered[below] * (1.0 - between) + ordered[above] * between, ordered[below]), ordered[above])
