"""The figures of a chaos experiment, as they are written to results.json."""

import msgspec

from testbed.chaos.census import Holdings
from testbed.chaos.checks import Check


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the results; times are in seconds."""


class Requests(_Figures, frozen=True, kw_only=True):
    """What became of the requests that were sent while a fault lasted and until the site had recovered."""

    sent: int
    answered: int
    fallback: int
    """Those of the answered that the origin finished by itself."""
    failed: int
    reasons: dict[str, int]
    """Why requests failed, each reason with how often; figures in it are shown as `N`."""
    slowest_s: float | None
    """The longest that an answered one took."""


class Recovery(_Figures, frozen=True, kw_only=True):
    """How soon the site served again; None where it did not."""

    first_answer_s: float | None
    """From the fault to the first answer to a request that was sent after it."""
    first_whole_s: float | None
    """The same for the first answer that came by a whole plan, without the origin's fallback."""
    longest_gap_s: float | None
    """The longest time without an answer, from the fault on, whenever the requests were sent."""
    converged_s: float | None
    """From the end of the fault until everything was as it should be."""
    telemetry_s: float | None
    """From the end of the load until all telemetry was stored."""
    released_s: float | None
    """From then until no process held more than before the first fault."""


class Trial(_Figures, frozen=True, kw_only=True):
    """One fault, once."""

    fault: str
    round: int
    words: str
    emulated: str
    """What of the fault is not real; "" where all of it is."""
    after_s: float
    """From the first request to the fault."""
    held_s: float
    """From the fault to its end."""
    requests: Requests
    recovery: Recovery
    plans: int
    """How many plans were published during the trial."""
    misses: int
    """How many stages were missed, by the origin's word."""
    dropped: int
    """Pieces of telemetry that the agents counted as dropped."""
    checks: tuple[Check, ...]
    holdings: dict[str, Holdings]
    """What each process held afterwards."""

    @property
    def passed(self) -> bool:
        """Whether all that must hold does."""
        return all(check.passed for check in self.checks)


class Conditions(_Figures, frozen=True, kw_only=True):
    """Under which conditions the trials ran."""

    model: str
    secured: bool
    seed: int
    rate_per_s: float
    spool_disk: str
    emulated: str


class Results(_Figures, frozen=True, kw_only=True):
    """A whole experiment."""

    version: str
    conditions: Conditions
    trials: tuple[Trial, ...]
