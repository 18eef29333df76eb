"""How much of a node's processor others take, over time: what a testbed emulates as CPU contention."""

import math
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contention:
    """A step function: from `seconds[i]` on the load is `load[i]` (0 to below 1), until the next step.

    With a period it starts anew after each; without one the last load stays.
    """

    seconds: tuple[float, ...]
    load: tuple[float, ...]
    period_s: float = math.inf

    def load_at(self, time_s: float) -> float:
        """The load `time_s` seconds after the start; before it, the first."""
        phase_s = math.fmod(max(0.0, time_s), self.period_s)
        return self.load[max(0, bisect_right(self.seconds, phase_s) - 1)]


UNDISTURBED = Contention((0.0,), (0.0,))


def fog_contention(duration_s: float) -> Contention:
    """What the experiment does to its fog node: others come twice, in the second and fourth fifth of the time.

    They take 60 % of the processor the first time and 80 % the second, so that a plan has to leave and to return.
    """
    loads = (0.0, 0.6, 0.0, 0.8, 0.0)
    return Contention(tuple(fifth * duration_s / len(loads) for fifth in range(len(loads))), loads)
