"""A mean and how sure it is: Student's interval over repetitions or over traces; pure."""

import math
import statistics
from collections.abc import Sequence

import msgspec
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of `n` values; the true one lies within `half_width` of it with a confidence of 95 %, by Student's t.

    `half_width` is None of one value, which says nothing of its spread. The values are taken as independent and normal.
    """

    mean: float
    half_width: float | None
    n: int

    @property
    def is_above_zero(self) -> bool:
        """Whether the mean is above 0 by more than its interval; never of one value."""
        return self.half_width is not None and self.mean > self.half_width


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean of the values with its interval; None of no values."""
    count = len(values)
    if count == 0:
        return None
    half_width = None
    if count > 1:
        quantile = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2))
        half_width = quantile * statistics.stdev(values) / math.sqrt(count)
    return Estimate(mean=statistics.fmean(values), half_width=half_width, n=count)
