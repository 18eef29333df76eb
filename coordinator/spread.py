"""How the spreads of times add up to the spread of a plan's latency, and which latency is kept at a risk.

Assumed: all times are independent, a bandwidth's spread counts to first order, and the latency, their sum, is normal.
"""

import math
from statistics import NormalDist

from coordinator.problem import Link, Node, Problem

_STANDARD_NORMAL = NormalDist()


def deviations(risk: float | None) -> float:
    """How many standard deviations above the mean the quantile `risk` lies, 0 or more; 0 where risk is None."""
    return 0.0 if risk is None else _STANDARD_NORMAL.inv_cdf(risk)


def quantile_ms(mean_ms: float, variance_ms2: float, risk: float | None) -> float:
    """The quantile `risk` of a latency of that mean and variance; the mean itself where risk is None."""
    return mean_ms + deviations(risk) * math.sqrt(variance_ms2)


def compute_variance_ms2(node: Node, start: int, stop: int) -> float:
    """The variance of the time that ops `start`..`stop`-1 take on a node: load stretches each op's deviation too."""
    return sum(std * std for std in node.op_ms_std[start:stop]) * node.stretch**2


def link_variances(link: Link, ms_per_byte: float) -> tuple[float, float]:
    """The variance of a transfer over a link: a fixed part in ms^2, and one per square of the bytes sent.

    The time of b bits at a bandwidth m is b/m, whose deviation is to first order b/m * std(m)/m.
    """
    return (link.rtt_ms_std / 2) ** 2, (ms_per_byte * link.mbps_std / link.mbps) ** 2


def spread_counts(problem: Problem) -> bool:
    """Whether the problem counts a quantile of the latency that differs from its mean."""
    return deviations(problem.risk) > 0.0 and (
        any(link.rtt_ms_std or link.mbps_std for link in problem.links)
        or any(any(node.op_ms_std) for node in problem.nodes)
    )


def at_risk(problem: Problem) -> str:
    """What a sentence adds to a latency that is a quantile; nothing for the mean."""
    return "" if problem.risk is None else f" at the {problem.risk:g} quantile"
