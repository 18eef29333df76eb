"""How unsteady a link is: what of its samples' differences is noise of the samples, and what is the link's own moving.

Pure; what is made of it is `edge_agent.links`' concern.
"""

from collections import deque
from typing import Final

_MEMORY: Final = 0.95  # of what earlier samples showed, at each new one
_GUESS_WEIGHT: Final = 5.0  # of the figures assumed at first, in samples
_GUESS_NOISE: Final = 0.05
_GUESS_WALK: Final = 0.15  # per square root of a second; ten measured mobile and fixed links show 0.07 to 0.7
_GUESS_APART_S: Final = (2.0, 4.0)
_MOST_SQUARE: Final = 4.0  # of one difference: an outlier must not drown what twenty samples showed
_LEAST_WALK, _MOST_WALK = 0.02, 1.0
_LEAST_NOISE: Final = 0.02  # probes of a steady line differ by 2 % (p90), measured on shaped links
_MOST_NOISE: Final = 0.5


class Unrest:
    """Learns from samples of ln(Mbit/s). Their noise is independent, the link between them walks at random.

    Then the mean square of the difference between two samples is twice the noise's variance plus the walk's per second
    times the seconds between; seen one and two samples apart, the two can be told from each other.
    """

    def __init__(self) -> None:
        """Nothing has been seen: the first figures are a guess, which counts as a few samples."""
        self._weight = _GUESS_WEIGHT
        self._squares = [_GUESS_WEIGHT * (2 * _GUESS_NOISE**2 + _GUESS_WALK**2 * apart_s) for apart_s in _GUESS_APART_S]
        self._seconds = [_GUESS_WEIGHT * apart_s for apart_s in _GUESS_APART_S]
        self._recent: deque[tuple[float, float]] = deque(maxlen=len(_GUESS_APART_S))

    def sample(self, value: float, at: float) -> None:
        """A sample, in the logarithm, and its time in seconds."""
        if len(self._recent) == len(_GUESS_APART_S):
            self._weight = _MEMORY * self._weight + 1.0
            for steps, (before, before_at) in enumerate(reversed(self._recent)):
                square = min((value - before) ** 2, _MOST_SQUARE)
                self._squares[steps] = _MEMORY * self._squares[steps] + square
                self._seconds[steps] = _MEMORY * self._seconds[steps] + max(0.0, at - before_at)
        self._recent.append((value, at))

    @property
    def walk_per_s(self) -> float:
        """The variance by which the link moves in a second."""
        seconds = self._seconds[1] - self._seconds[0]
        walk = (self._squares[1] - self._squares[0]) / seconds if seconds > 0 else 0.0
        return min(max(walk, _LEAST_WALK**2), _MOST_WALK**2)

    @property
    def noise(self) -> float:
        """The variance of a sample's own noise."""
        noise = (self._squares[0] - self.walk_per_s * self._seconds[0]) / (2 * self._weight)
        return min(max(noise, _LEAST_NOISE**2), _MOST_NOISE**2)
