"""The way of a request through a plan, as a pure function: which node does what at which hop."""

import functools
import itertools
import zlib
from dataclasses import dataclass

import msgspec

from broker.messages import CodecName, Plan, TensorScale

PLANS_KEPT = 256  # every message asks about its plan: answers are kept, by the plan's hash, which it keeps itself


@dataclass(frozen=True, slots=True)
class Hop:
    """Ops `start`..`stop`-1 on `node`; where they are none, the node hands on what it was sent."""

    node: str
    start: int
    stop: int
    codec: CodecName = "raw"
    """How the tensors are packed that it takes in."""
    scales: tuple[TensorScale, ...] = ()

    @property
    def relays(self) -> bool:
        """Whether nothing is computed here."""
        return self.start == self.stop


@functools.lru_cache(maxsize=PLANS_KEPT)
def route(plan: Plan) -> tuple[Hop, ...]:
    """Every hop of a request, from the origin to the origin.

    Hop 0 is on the origin, where the inputs arise (relaying if its first op runs elsewhere), and the last
    hop is the origin's again. A message between two hops carries the number of the one that it goes to. What goes
    through relays is packed for the stage that reads it; the result is raw.
    """
    hops: list[Hop] = []
    packed: tuple[CodecName, tuple[TensorScale, ...]] = ("raw", ())
    for stage in reversed(plan.stages):
        if stage.start < stage.stop:
            packed = (stage.codec, stage.scales)
        hops.insert(0, Hop(stage.node, stage.start, stage.stop, *packed))
    if hops[0].node != plan.origin:
        hops.insert(0, Hop(plan.origin, 0, 0, *packed))
    ops = hops[-1].stop
    hops += [Hop(node, ops, ops) for node in plan.way_back[1:]]
    return tuple(hops)


def computing_segments(plan: Plan, node: str) -> tuple[tuple[int, int], ...]:
    """The segments [start, stop) that `node` must have loaded for the plan."""
    return tuple((hop.start, hop.stop) for hop in route(plan) if hop.node == node and not hop.relays)


@functools.lru_cache(maxsize=PLANS_KEPT)
def named_nodes(plan: Plan) -> frozenset[str]:
    """Every node that a request of this plan passes through."""
    return frozenset(hop.node for hop in route(plan))


@functools.lru_cache(maxsize=PLANS_KEPT)
def crossings(plan: Plan) -> int:
    """How many times a request goes from one node to another."""
    return sum(here.node != there.node for here, there in itertools.pairwise(route(plan)))


@functools.lru_cache(maxsize=PLANS_KEPT)
def leading_stop(plan: Plan) -> int:
    """The op before which the origin hands on for the first time: what it has computed by itself ends there."""
    stop = 0
    for hop in route(plan):
        if hop.node != plan.origin:
            break
        stop = hop.stop
    return stop


def ops_of(plan: Plan) -> int:
    """How many ops the plan's stages cover."""
    return plan.stages[-1].stop


@functools.lru_cache(maxsize=PLANS_KEPT)
def plan_digest(plan: Plan) -> int:
    """A 32-bit digest of what a plan does, whoever says it: tensors carry it beside the epoch."""
    told = (plan.model.sha256, plan.origin, plan.stages, plan.way_back)
    return zlib.crc32(msgspec.json.encode(told))
