"""How a meter compares with the model over spans that are long enough for the meter: the ratio that scales the model.

Pure; a fold over pairs of readings.
"""

import statistics
from dataclasses import dataclass, replace
from typing import Final

SPANS_KEPT: Final = 8
LEAST_SPANS: Final = 3
LEAST_PERIODS: Final = 2
LEAST_STEPS: Final = 20  # so that the counter's step is 2 % of a span's rise (20 * sqrt(6) steps to one spread)
MOST_AGE_S: Final = 600.0
MOST_AGE_PERIODS: Final = 8


@dataclass(frozen=True, slots=True)
class Both:
    """The counters of a meter and of the model at one moment; `uncounted_s` are the seconds that the meter missed."""

    at_s: float
    measured_j: float
    modelled_j: float
    uncounted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """What both rose by in `duration_s` seconds."""

    duration_s: float
    measured_j: float
    modelled_j: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Meter over model: its mean, its spread from span to span, and the model's mean power in those spans."""

    mean: float
    std: float
    modelled_w: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The last spans, the oldest first; the one that is under way began at `since`."""

    since: Both | None = None
    spans: tuple[Span, ...] = ()
    ended_s: float = 0.0

    def then(self, now: Both, *, resolution_j: float, period_s: float) -> "Comparison":
        """After another look at both counters of a meter with this step and period."""
        since = self.since
        if since is None or now.uncounted_s != since.uncounted_s or now.measured_j < since.measured_j:
            return replace(self, since=now)
        span = Span(now.at_s - since.at_s, now.measured_j - since.measured_j, now.modelled_j - since.modelled_j)
        if span.duration_s < LEAST_PERIODS * period_s or span.measured_j < LEAST_STEPS * resolution_j:
            return self
        if span.measured_j <= 0.0 or span.modelled_j <= 0.0:
            return self
        return Comparison(now, (*self.spans, span)[-SPANS_KEPT:], now.at_s)

    def ratio(self, now_s: float, *, period_s: float) -> Ratio | None:
        """Meter over model; None of less than LEAST_SPANS spans, or where the last of them ended too long ago."""
        if len(self.spans) < LEAST_SPANS or now_s - self.ended_s > max(MOST_AGE_S, MOST_AGE_PERIODS * period_s):
            return None
        modelled_j = sum(span.modelled_j for span in self.spans)
        return Ratio(
            mean=sum(span.measured_j for span in self.spans) / modelled_j,
            std=statistics.stdev(span.measured_j / span.modelled_j for span in self.spans),
            modelled_w=modelled_j / sum(span.duration_s for span in self.spans),
        )
