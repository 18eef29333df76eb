"""How long a request would wait at its origin, from what those before it took: overload is answered early.

Pure: times come as arguments. Who refuses, and in which words, is `edge_agent.origin`'s part.
"""

from dataclasses import dataclass
from typing import Final

LEARNING: Final = 0.2  # the weight of a new answer; a handful of answers tells of a new plan
DEPLOYMENTS_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a deployment's requests are answered while there are any."""

    service_s: float = 0.0
    answered_s: float = 0.0
    """When the last answer came; 0 before the first."""


def after_answer(pace: Pace, started_s: float, now_s: float, busiest_s: float | None = None) -> Pace:
    """The pace after a request that began at `started_s` has been answered; its busiest node or link took `busiest_s`.

    A pipeline's requests count by the time between their answers, not by their latency. One that came when the one
    before it had been answered tells of no such time: others could have followed it as fast as its busiest part works.
    """
    is_alone = started_s >= pace.answered_s
    took_s = busiest_s if is_alone and busiest_s is not None else max(0.0, now_s - max(started_s, pace.answered_s))
    service_s = took_s if pace.answered_s == 0.0 else pace.service_s + LEARNING * (took_s - pace.service_s)
    return Pace(service_s, now_s)


class Paces:
    """The pace of each deployment; the one that was answered longest ago is forgotten first."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def answered(self, deployment: str, started_s: float, now_s: float, busiest_s: float | None = None) -> None:
        """A request of the deployment has been answered, as `after_answer` has it."""
        pace = after_answer(self._paces.pop(deployment, Pace()), started_s, now_s, busiest_s)
        if len(self._paces) >= DEPLOYMENTS_KEPT:
            del self._paces[next(iter(self._paces))]
        self._paces[deployment] = pace

    def wait_s(self, deployment: str, before: int) -> float:
        """How long a request waits for `before` others to be answered; 0 before the first answer."""
        return before * self._paces.get(deployment, Pace()).service_s
