"""Problems as the published strategies see them: no choice of codec, tensors travel as they are."""

import msgspec

from coordinator.errors import PlanInfeasibleError
from coordinator.problem import Problem


def sending_raw(problem: Problem, strategy: str) -> Problem:
    """The problem with the one codec that changes nothing. PlanInfeasibleError, naming `strategy`, if it has none."""
    for codec in problem.codecs:
        if codec.is_free:
            return msgspec.structs.replace(problem, codecs=(codec,))
    raise PlanInfeasibleError(
        "codecs", f"{strategy} sends tensors as they are: list the codec 'raw' too, or choose another strategy"
    )
