"""Which of many points no other beats in every figure: the plain question that a Pareto front asks again and again."""

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

ROUNDING = 1e-12
"""Relative: figures that differ by less are equal, as sums in another order are."""
_BLOCK = 256
_RIVALS_AT_ONCE = 2048


def non_dominated(points: Points) -> Rows:
    """The rows of an (n, figures) array that no other row equals or undercuts in every figure; of equals one.

    They come in rising order of the first figure, then of the second, and so on. Smaller is better.
    """
    order = np.lexsort(points.T[::-1])
    # In this order a row can be beaten only by one before it, but for rounding in its first figure.
    kept = order[_unbeaten_by_earlier(points[order], first=1)]
    kept = kept[::-1]
    return kept[_unbeaten_by_earlier(points[kept], first=0)][::-1]


def beaten_by(points: Points, rivals: Points, *, first: int = 0, rounding: float = ROUNDING) -> npt.NDArray[np.bool_]:
    """For each row and each rival, whether the rival is as good in every figure from `first` on: (points, rivals)."""
    bounds = points + rounding * np.abs(points)
    beaten = np.ones((len(bounds), len(rivals)), dtype=np.bool_)
    for figure in range(first, bounds.shape[1]):
        beaten &= rivals[None, :, figure] <= bounds[:, None, figure]
    return beaten


def _unbeaten_by_earlier(points: Points, *, first: int) -> Rows:
    """The positions of the rows that no kept row before them beats in the figures from `first` on."""
    found: list[Rows] = []
    kept = np.empty((0, points.shape[1]))
    for start in range(0, len(points), _BLOCK):
        alive = np.arange(start, min(start + _BLOCK, len(points)))
        for rival in range(0, len(kept), _RIVALS_AT_ONCE):
            rivals = kept[rival : rival + _RIVALS_AT_ONCE]
            alive = alive[~beaten_by(points[alive], rivals, first=first).any(axis=1)]
        among = beaten_by(points[alive], points[alive], first=first) & np.tri(len(alive), k=-1, dtype=np.bool_)
        # Whoever a beaten row beats, its own rival beats too; so all of a block can be judged at once.
        alive = alive[~among.any(axis=1)]
        found.append(alive)
        kept = np.concatenate([kept, points[alive]])
    return np.concatenate(found) if found else np.empty(0, dtype=np.intp)
