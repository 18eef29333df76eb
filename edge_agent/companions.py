"""The links of one node, watched together: a radio or an uplink that they share lets them rise and fall as one.

How far one moves with another is learned, so that a sample of one tells of the others until they are sampled again.
"""

from collections.abc import Collection
from typing import Final

from edge_agent.links import Move
from edge_agent.probes import LinkSettings, LinkWatch

_MEMORY: Final = 0.95  # of the moves seen before, at each sample
_GUESS: Final = 0.7  # of a link's move that others share, before any was seen: most nodes have one radio, or one uplink
_GUESS_WEIGHT: Final = 0.2  # as much as one move by a factor of 1.6
_MOST_SHARE: Final = 1.1


class SharedMoves:
    """How far one link moves when another one does, in the logarithms of their bandwidths."""

    def __init__(self) -> None:
        """No move has been seen."""
        self._products, self._squares = _GUESS * _GUESS_WEIGHT, _GUESS_WEIGHT
        self._other_moved = 0.0

    @property
    def share(self) -> float:
        """The expected move of this link for a move of the other by 1."""
        return min(max(self._products / self._squares, 0.0), _MOST_SHARE)

    def other_moved(self, by: float) -> float:
        """The other was found to have moved unexpectedly; how far this one has presumably gone along."""
        self._other_moved += by
        return self.share * by

    def sampled(self, moved: float) -> None:
        """How far this link was found to have moved since its sample before."""
        if self._other_moved:
            self._products = _MEMORY * self._products + moved * self._other_moved
            self._squares = _MEMORY * self._squares + self._other_moved**2
            self._other_moved = 0.0


class WatchedLinks:
    """The watches of all links of a node, by the name of their far end."""

    def __init__(self, settings: LinkSettings, *, pacing: float | None = None) -> None:
        """No link is known yet; tensors are held to the share `pacing` of each, or to nothing."""
        self._settings, self._pacing = settings, pacing
        self._unpaced: Collection[str] = ()
        self._watches: dict[str, LinkWatch] = {}
        self._shared: dict[tuple[str, str], SharedMoves] = {}

    def known(self, dst: str) -> LinkWatch | None:
        """The watch of the link to `dst`, if there is one."""
        return self._watches.get(dst)

    def of(self, dst: str) -> LinkWatch:
        """The watch of the link to `dst`, from now on."""
        if dst not in self._watches:
            self._watches[dst] = LinkWatch(
                self._settings,
                lambda move, at: self._moved(dst, move, at),
                pacing=None if dst in self._unpaced else self._pacing,
            )
        return self._watches[dst]

    def keep_only(self, peers: Collection[str], *, unpaced: Collection[str] = ()) -> None:
        """Forget the links to all others; tensors to those that are met anew are not held to any pace if `unpaced`."""
        self._unpaced = unpaced
        self._watches = {dst: watch for dst, watch in self._watches.items() if dst in peers}
        self._shared = {pair: moves for pair, moves in self._shared.items() if set(pair) <= set(peers)}

    def _moved(self, dst: str, move: Move, at: float) -> None:
        for other, watch in self._watches.items():
            if other != dst:
                if move.since_sample is not None:
                    self._moves(dst, other).sampled(move.since_sample)
                watch.go_along(self._moves(other, dst).other_moved(move.unexpected), at)

    def _moves(self, dst: str, other: str) -> SharedMoves:
        return self._shared.setdefault((dst, other), SharedMoves())
