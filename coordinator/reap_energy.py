"""The energy model of Deng et al. 2026 (arXiv 2605.09623), so that figures can be given under it beside our own.

What it counts was read in its public code: AlfredsLapkovskis/EdgeCloudAIPartitioning, adaptive-framework, at b7b55f8.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from coordinator.prices import MS_PER_S
from coordinator.problem import Node, Problem

ORIGIN_W = 12.0  # PiPowerMeter.POWER_W in its split_infer.py: a constant for a Raspberry Pi 5, not measured


@dataclass(frozen=True, slots=True)
class ReapEnergy:
    """Modelled energy of one inference: of the origin's board, and of all nodes, each only while it computes."""

    origin_j: float
    total_j: float


def reap_energy_j(origin: str, compute_ms: Mapping[str, float], busy_w: Mapping[str, float]) -> ReapEnergy:
    """The modelled energy of an inference for which each node computed `compute_ms`; by node name, in ms and W.

    The origin draws ORIGIN_W while it computes, and nothing while it waits, sends or receives. Every other node draws
    all of its `busy_w` while it computes: the published code reads the laptop's package and the PC's graphics card, and
    takes no idle power off. What `busy_w` says of the origin does not count.
    """
    joules = {name: (ORIGIN_W if name == origin else busy_w[name]) * ms / MS_PER_S for name, ms in compute_ms.items()}
    return ReapEnergy(joules.get(origin, 0.0), math.fsum(joules.values()))


def with_reap_energy(problem: Problem) -> Problem:
    """The problem with power figures such that the cost model's energies are those of `reap_energy_j`."""

    def only_while_computing(node: Node) -> Node:
        busy_w = ORIGIN_W if node.name == problem.origin else node.busy_w
        return msgspec.structs.replace(node, busy_w=busy_w, idle_w=0.0, tx_j_per_mb=0.0, rx_j_per_mb=0.0)

    return msgspec.structs.replace(problem, nodes=tuple(map(only_while_computing, problem.nodes)))
