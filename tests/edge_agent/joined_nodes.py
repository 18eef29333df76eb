"""Nodes whose pipelines and origins are joined by direct calls in place of the tensor transport."""

from dataclasses import dataclass, field
from queue import Queue
from typing import Any, cast

import numpy as np

from broker.messages import Plan, PowerModel, StageMiss
from edge_agent.errors import SendError
from edge_agent.executor import Executor
from edge_agent.origin import Origin
from edge_agent.pipeline import Pipeline
from edge_agent.request import Finished
from edge_agent.request_book import Limits
from edge_agent.routes import plan_digest
from edge_agent.transport import Sendable
from edge_agent.wire import FailureMessage, Route, TensorsMessage
from models.image_form import ImageForm
from models.runtime import Segment, TensorSpec

INPUT = (np.zeros(3, np.float32),)


class FakeSegment:
    """What the executor needs of a segment beside its run."""

    def kept(self, arrays: Any) -> Any:
        """They were not lent."""
        return arrays

    def lend_inputs(self) -> None:
        """It has no memory of its own."""

    def release_outputs(self) -> None:
        """They are copies."""


@dataclass
class CountingSegment(FakeSegment):
    """Adds the number of its ops, so that a chain's result tells which ops ran."""

    ops: int
    inputs = (TensorSpec("cut", (3,), "float32", (3,)),)

    def run_in_place(self, arrays: Any) -> list[Any]:
        """Add one for each op."""
        return [array + self.ops for array in arrays]


class BrokenSegment(FakeSegment):
    """A segment whose runtime fails."""

    def run_in_place(self, arrays: Any) -> list[Any]:
        """Fail as a runtime does."""
        raise RuntimeError("out of arena")


@dataclass
class Node:
    """One node of the test's site."""

    name: str
    site: "Site"
    executor: Executor = field(default_factory=Executor)
    plans: list[Plan] = field(default_factory=list)
    segments: dict[tuple[int, int], Any] = field(default_factory=dict)
    fallbacks: set[tuple[int, int]] = field(default_factory=set)
    """What the origin may finish requests with; what its plans name is there anyway."""
    misses: list[StageMiss] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.origin = Origin(
            self.name,
            plans=self,
            begin=lambda plan, message, _: self.pipeline.begin(plan, message, may_compute=False),
            compute=self.executor,
            segment_of=lambda _, start, stop: self.segment(start, stop) if (start, stop) in self.fallbacks else None,
            power=lambda: {"pi": PowerModel(idle_w=2.0, busy_w=6.0)},
            limits=self.site.limits,
            missed=self.misses.append,
            ask=self.asked.append,
            is_loading=lambda node: node in self.site.loading,
            round_trip_ms=lambda _: 1.0,
            emulated=lambda: self.site.emulated,
        )
        self.pipeline = Pipeline(
            self.name,
            self.executor,
            self.origin,
            plan_of=self.plan_of,
            segment_of=lambda _, start, stop, ends: self.segment(start, stop),
            form_of=lambda _: self.site.form,
            send=lambda peer, message: self.site.send(self.name, peer, message),
            may_stay=lambda: False,
        )

    def active(self, _: str) -> Plan | None:
        """The plan that came last."""
        return self.plans[-1] if self.plans else None

    def ready_plans(self, _: str) -> tuple[Plan, ...]:
        """All of them."""
        return tuple(reversed(self.plans))

    def plan_of(self, where: Route) -> Plan | None:
        """The plan of a message."""
        known = [plan for plan in self.plans if (plan.epoch, plan_digest(plan)) == (where.epoch, where.plan)]
        return known[0] if known else None

    def segment(self, start: int, stop: int) -> Segment:
        """Every segment is there, and counts."""
        return cast(Segment, self.segments.get((start, stop), CountingSegment(stop - start)))


class Site:
    """A few nodes that reach each other by direct calls, each hop reported to the origin as a sender would."""

    def __init__(self, *names: str, timeout_s: float = 30.0, longest_wait_s: float = 10.0) -> None:
        self.limits = Limits(timeout_s, longest_wait_s)
        self.loading: set[str] = set()
        self.emulated: set[str] = set()
        self.form: ImageForm | None = None
        """How the model takes an image, where it does."""
        self.nodes = {name: Node(name, self) for name in names}
        self.lost: set[str] = set()
        """Nodes that get nothing."""
        self.held: list[tuple[str, str, Sendable]] | None = None
        """What is kept back while this is a list, to be handed over by `release`."""

    def send(self, src: str, dst: str, message: Sendable) -> None:
        """Hand a message over, unless it is lost or the peer is unknown."""
        if dst not in self.nodes:
            raise SendError(dst, "no such peer is connected")
        if dst in self.lost:
            return
        if self.held is not None:
            self.held.append((src, dst, message))
        elif isinstance(message, FailureMessage):
            self.nodes[dst].pipeline.pass_failure(message, src)
        elif isinstance(message, TensorsMessage):
            size = sum(tensor.nbytes for tensor in message.tensors)
            self.nodes["pi"].origin.transferred(message.route, src, size, 1.0)
            self.nodes[dst].pipeline.arrive(message, src)

    def release(self) -> None:
        """Hand over what was kept back, in order."""
        held, self.held = self.held or [], None
        for src, dst, message in held:
            self.send(src, dst, message)

    def adopt(self, plan: Plan) -> None:
        """Make a plan known, and active, everywhere."""
        for node in self.nodes.values():
            node.plans.append(plan)

    def begin(self) -> "Queue[Finished]":
        """One request at the Pi; its end will be in the queue."""
        ended: Queue[Finished] = Queue()
        self.nodes["pi"].origin.submit("photos", INPUT, ended.put)
        return ended

    def ask(self) -> Finished:
        """One request at the Pi, to its end."""
        return self.begin().get(timeout=10)

    def close(self) -> None:
        """End the executors."""
        for node in self.nodes.values():
            node.executor.close()
