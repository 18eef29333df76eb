"""The load that a plan puts on the nodes it runs on, and a problem under the load of others' plans.

Which plans a fleet takes is decided in fleet_search; a node of one name is one machine, whatever deployments name it.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from coordinator.cost import Stage
from coordinator.errors import ProblemError
from coordinator.field_checks import MAX_NUMBER
from coordinator.packing import ends_ms, packing_of
from coordinator.problem import Packing, Problem

MS_PER_S = 1000
FULL = 1.0 - 1e-9
"""The load from which on a node is overloaded; short of 1 by more than rounding, so that waiting stays finite."""


@dataclass(frozen=True, slots=True)
class Member:
    """A deployment of a fleet: its problem, each node's `load` without the fleet, and how often it is asked."""

    name: str
    problem: Problem
    requests_per_s: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.requests_per_s <= MAX_NUMBER:
            raise ProblemError(
                f"requests_per_s of {self.name!r} is {self.requests_per_s:g}, it must be 0 to {MAX_NUMBER:g}"
            )


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has: its load without the fleet, and the MB that it holds, None without a bound."""

    load: float
    memory_mb: float | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tensors of `size` bytes before encoding, carried over a path of nodes from their maker to their reader."""

    path: tuple[str, ...]
    size: float
    packing: Packing

    @property
    def sent_bytes(self) -> float:
        """What goes over each link of the path."""
        return self.size * self.packing.ratio


def transfers(problem: Problem, stages: Sequence[Stage]) -> Iterator[Transfer]:
    """What a plan carries between its stages, relays being part of the path; without the way back.

    PlanError where a codec is not allowed.
    """
    codecs = {codec.name: codec for codec in problem.codecs}
    path, codec = [problem.origin], None
    for stage in stages:
        if stage.node != path[-1]:
            path.append(stage.node)
            codec = stage.codec
        if stage.start < stage.stop:
            if len(path) > 1 and codec is not None:
                packing = packing_of(codecs[codec], stage.start)
                yield Transfer(tuple(path), problem.model.cut_bytes[stage.start], packing)
            path, codec = [stage.node], None


def compute_ms(problem: Problem, stages: Sequence[Stage]) -> dict[str, float]:
    """The ms of compute that one inference takes of each node, encoding and decoding included, before any stretch."""
    nodes = {node.name: node for node in problem.nodes}
    taken = dict.fromkeys(nodes, 0.0)
    for stage in stages:
        taken[stage.node] += math.fsum(nodes[stage.node].op_ms[stage.start : stage.stop])
    for transfer in transfers(problem, stages):
        src, dst = transfer.path[0], transfer.path[-1]
        encode_ms, decode_ms = ends_ms(transfer.packing, transfer.size, nodes[src], nodes[dst])
        taken[src] += encode_ms
        taken[dst] += decode_ms
    return taken


def utilisation(problem: Problem, stages: Sequence[Stage], requests_per_s: float) -> dict[str, float]:
    """The share of each node's time that a plan takes at a rate of requests; 1 or more is too much."""
    return {name: ms * requests_per_s / MS_PER_S for name, ms in compute_ms(problem, stages).items()}


def under_loads(problem: Problem, others: Mapping[str, float]) -> Problem:
    """The problem with the utilisation of others' plans added to its nodes' load, short of 1.

    A node shares its processor among what it runs: what it works on alone for x ms takes x/(1-load) ms when the rest of
    the work keeps it busy for that share of the time (M/G/1 processor sharing: Kleinrock, Queueing Systems II, 4.4).
    """
    nodes = tuple(
        msgspec.structs.replace(node, load=max(node.load, min(node.load + others[node.name], FULL)))
        if others.get(node.name)
        else node
        for node in problem.nodes
    )
    # A copy is not checked again, number by number: all but the loads is as it was, and those are within bounds.
    loaded = copy.copy(problem)
    msgspec.structs.force_setattr(loaded, "nodes", nodes)
    return loaded


def machines_of(members: Sequence[Member]) -> dict[str, Capacity]:
    """The machines of a fleet by name, in the order of their first mention. ProblemError if deployments contradict."""
    found: dict[str, Capacity] = {}
    owner: dict[str, Member] = {}
    for member in members:
        for node in member.problem.nodes:
            capacity = Capacity(node.load, node.memory_mb)
            known = found.setdefault(node.name, capacity)
            first = owner.setdefault(node.name, member)
            if known != capacity:
                field = "load" if known.load != node.load else "memory_mb"
                there, here = (_told(getattr(each, field)) for each in (known, capacity))
                raise ProblemError(
                    f"node {node.name!r} has the {field} {there} in deployment {first.name!r} and {here} in "
                    f"{member.name!r}, but it is one machine"
                )
    return found


def _told(figure: float | None) -> str:
    return "null" if figure is None else f"{figure:.15g}"
