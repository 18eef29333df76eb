"""The affine int8 code of a tensor, from what its values were: their whole range, or all but the rarest.

Which of the two is taken is measured by `models.evaluation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.codec_figures import Scale

RARE: Final = 0.0001
"""The share of the values that a clipped range leaves out at either end: with ten times as much MobileNetV2 changes
more answers than with none, at every cut that was tried."""
SAMPLES_KEPT: Final = 100_000
"""Of each array, enough for that share."""
LEAST_SCALE: Final = 1e-30
_CODES: Final = 255
_LEAST_CODE: Final = -128


@dataclass(slots=True)
class ValueRange:
    """What the values of one tensor were over several runs."""

    least: float = 0.0
    most: float = 0.0
    _samples: list[NDArray[Any]] = field(default_factory=list)

    def add(self, array: NDArray[Any]) -> None:
        """One run's array."""
        values = array.reshape(-1)
        self.least = min(self.least, float(values.min()))
        self.most = max(self.most, float(values.max()))
        self._samples.append(values[:: max(1, values.size // SAMPLES_KEPT)].copy())

    @property
    def whole(self) -> Scale:
        """The code that reaches from the least value to the greatest."""
        return scale_of(self.least, self.most)

    @property
    def clipped(self) -> Scale:
        """The code that leaves out the rarest values at either end, and so has smaller steps."""
        least, most = np.quantile(np.concatenate(self._samples), [RARE, 1.0 - RARE])
        return scale_of(float(least), float(most))


def scale_of(least: float, most: float) -> Scale:
    """The code for values between these; zero, which a ReLU gives most, is among them and has a code of its own."""
    least, most = min(least, 0.0), max(most, 0.0)
    scale = max((most - least) / _CODES, LEAST_SCALE)
    zero_point = round(_LEAST_CODE - least / scale)
    return Scale(scale=float(np.float32(scale)), zero_point=min(127, max(_LEAST_CODE, zero_point)))


def ranges_of(runs: Sequence[Sequence[NDArray[Any]]]) -> tuple[ValueRange, ...]:
    """The range of each float32 tensor of a cut, in the cut's order, over several runs."""
    floats = [[array for array in run if array.dtype == np.float32] for run in runs]
    ranges = tuple(ValueRange() for _ in floats[0])
    for run in floats:
        for known, array in zip(ranges, run, strict=True):
            known.add(array)
    return ranges
