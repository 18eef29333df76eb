"""Which nodes the origin leaves alone since a stage of theirs was missed, until they are heard from again.

Pure: times come as arguments. The coordinator hears of each miss too, and plans without the node for longer.
"""

from dataclasses import dataclass
from typing import Final

FIRST_HOLD_S: Final = 1.0
LONGEST_HOLD_S: Final = 30.0
NODES_KEPT: Final = 256


@dataclass(slots=True)
class _Suspicion:
    misses: int
    until_s: float
    holds: bool


class Suspects:
    """A node that missed is avoided until it is heard from, and for 1 s, 2 s, 4 s ... at least, by its misses in a row.

    Answering a ping is not going on with tensors, hence the time; a request that it answered ends the row.
    """

    def __init__(self) -> None:
        self._suspicions: dict[str, _Suspicion] = {}

    def missed(self, node: str, at_s: float) -> None:
        """A stage of the node has been missed; misses while it is avoided already are of the same fault."""
        known = self._suspicions.pop(node, _Suspicion(0, 0.0, holds=False))
        if not known.holds:
            known.misses += 1
            known.until_s = at_s + min(FIRST_HOLD_S * 2.0 ** (known.misses - 1), LONGEST_HOLD_S)
            known.holds = True
        if len(self._suspicions) >= NODES_KEPT:
            del self._suspicions[next(iter(self._suspicions))]
        self._suspicions[node] = known

    def heard(self, node: str, at_s: float) -> None:
        """A sign of life has come from the node."""
        known = self._suspicions.get(node)
        if known is not None and known.holds and at_s >= known.until_s:
            known.holds = False

    def answered(self, node: str) -> None:
        """The node has done its part of a request: nothing is held against it any more."""
        self._suspicions.pop(node, None)

    @property
    def avoided(self) -> frozenset[str]:
        """The nodes that no request should go to."""
        return frozenset(node for node, known in self._suspicions.items() if known.holds)
