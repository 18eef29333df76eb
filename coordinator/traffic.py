"""The requests of a deployment, counted as their reports come in: how many, how often, and how long they took.

Pure: times come as arguments, in s on the coordinator's clock.
"""

import math
from dataclasses import dataclass, replace

from coordinator.reap import WARM_UP

FADING_S = 10.0
"""The rate is a mean over the past that fades by 1/e in this time."""
YOUNGEST_S = 1.0
"""The past is never taken for shorter: a single report says nothing of a rate."""
HIGHEST_RATE = 1_000.0
"""Reports that were kept while the coordinator was away come all at once; that is no rate."""


@dataclass(frozen=True, slots=True)
class Window:
    """The inferences since the strategy `reap` last looked for a better split."""

    inferences: int = 0
    timed: int = 0
    """Those that succeeded after the first WARM_UP, which do not count."""
    total_ms: float = 0.0

    @property
    def mean_ms(self) -> float | None:
        """Their mean latency; None where there is none."""
        return self.total_ms / self.timed if self.timed else None

    def counted(self, latency_ms: float | None) -> "Window":
        """After one more inference; `latency_ms` is None where it failed."""
        if latency_ms is None or self.inferences < WARM_UP:
            return replace(self, inferences=self.inferences + 1)
        return Window(self.inferences + 1, self.timed + 1, self.total_ms + latency_ms)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What has been counted so far, failures included."""

    inferences: int = 0
    window: Window = Window()
    level: float = 0.0
    """Reports per second in the fading past, at the time of the newest."""
    since: float = 0.0
    at: float = 0.0

    def counted(self, latency_ms: float | None, at: float) -> "Traffic":
        """After one more report; `latency_ms` is None where the inference failed."""
        return Traffic(
            inferences=self.inferences + 1,
            window=self.window.counted(latency_ms),
            level=self.level * self._faded(at) + 1.0 / FADING_S,
            since=self.since if self.inferences else at,
            at=at,
        )

    def requests_per_s(self, now: float) -> float:
        """How many requests come per second of late; 0 before the first."""
        if not self.inferences:
            return 0.0
        share = -math.expm1(-max(YOUNGEST_S, now - self.since) / FADING_S)
        return min(self.level * self._faded(now) / share, HIGHEST_RATE)

    def _faded(self, now: float) -> float:
        # A clock that was set back must not make the past count for more.
        return math.exp(-max(0.0, now - self.at) / FADING_S)
