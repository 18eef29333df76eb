"""Pipelines and origins of several nodes, joined by direct calls in place of the tensor transport."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Queue
from typing import Any, cast

import numpy as np
import pytest
from plans import plan_of

from broker.messages import Plan, PowerModel
from edge_agent.errors import SendError
from edge_agent.executor import Executor
from edge_agent.origin import Finished, Origin
from edge_agent.pipeline import Pipeline
from edge_agent.transport import Sendable
from edge_agent.wire import FailureMessage, Route, StageRecord, TensorsMessage
from models.runtime import Segment

INPUT = (np.zeros(3, np.float32),)


@dataclass
class CountingSegment:
    """Adds the number of its ops, so that a chain's result tells which ops ran."""

    ops: int

    def run(self, arrays: Any) -> list[Any]:
        """Add one for each op."""
        return [array + self.ops for array in arrays]


class BrokenSegment:
    """A segment whose runtime fails."""

    def run(self, arrays: Any) -> list[Any]:
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

    def __post_init__(self) -> None:
        self.origin = Origin(
            self.name,
            active=lambda _: self.plans[-1] if self.plans else None,
            begin=lambda plan, message: self.pipeline.carry(plan, message),  # noqa: PLW0108  # made below
            power=lambda: {"pi": PowerModel(idle_w=2.0, busy_w=6.0)},
            timeout_s=self.site.timeout_s,
        )
        self.pipeline = Pipeline(
            self.name,
            self.executor,
            self.origin,
            plan_of=lambda _, epoch: next((plan for plan in self.plans if plan.epoch == epoch), None),
            segment_of=lambda _, start, stop: cast(
                Segment, self.segments.get((start, stop), CountingSegment(stop - start))
            ),
            send=lambda peer, message: self.site.send(self.name, peer, message),
        )


class Site:
    """A few nodes that reach each other by direct calls, each hop reported to the origin as a sender would."""

    def __init__(self, *names: str, timeout_s: float = 30.0) -> None:
        self.timeout_s = timeout_s
        self.nodes = {name: Node(name, self) for name in names}
        self.lost: set[str] = set()

    def send(self, src: str, dst: str, message: Sendable) -> None:
        """Hand a message over, unless it is lost or the peer is unknown."""
        if dst not in self.nodes:
            raise SendError(dst, "no such peer is connected")
        if dst in self.lost:
            return
        if isinstance(message, FailureMessage):
            self.nodes[dst].pipeline.pass_failure(message)
        elif isinstance(message, TensorsMessage):
            size = sum(tensor.nbytes for tensor in message.tensors)
            self.nodes["pi"].origin.transferred(message.route, src, size, 1.0)
            self.nodes[dst].pipeline.arrive(message, src)

    def adopt(self, plan: Plan) -> None:
        """Make a plan known, and active, everywhere."""
        for node in self.nodes.values():
            node.plans.append(plan)

    def ask(self) -> Finished:
        """One request at the Pi, to its end."""
        ended: Queue[Finished] = Queue()
        self.nodes["pi"].origin.submit("photos", INPUT, ended.put)
        return ended.get(timeout=10)

    def close(self) -> None:
        """End the executors."""
        for node in self.nodes.values():
            node.executor.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """A Pi, a laptop and a PC."""
    site = Site("pi", "laptop", "pc")
    yield site
    site.close()


THREE_STAGES = (("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10))


def test_a_request_runs_every_op_once_over_three_nodes(site: Site) -> None:
    """The result comes back through a relay, and the report names each stage and each hop."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "laptop", "pi")))
    ended = site.ask()
    assert ended.outputs is not None
    assert ended.outputs[0].tolist() == [10.0] * 3
    assert [(stage.node, stage.start, stage.stop) for stage in ended.report.stages] == list(THREE_STAGES)
    assert [(hop.src, hop.dst) for hop in ended.report.transfers] == [
        ("pi", "laptop"),
        ("laptop", "pc"),
        ("pc", "laptop"),
        ("laptop", "pi"),
    ]
    assert ended.report.error is None
    assert ended.report.energy_source == "modelled"
    assert ended.report.origin_energy_j == pytest.approx(sum_of_origin(ended), rel=1e-6)


def sum_of_origin(ended: Finished) -> float:
    """The origin's share as the per-node account has it."""
    [pi] = [energy for energy in ended.report.node_energy if energy.node == "pi"]
    return pi.compute_j + pi.waiting_j + pi.radio_j


def test_a_node_may_hold_two_segments_that_follow_each_other(site: Site) -> None:
    """Between them nothing is sent."""
    site.adopt(plan_of(("pi", 0, 3), ("pi", 3, 10)))
    ended = site.ask()
    assert ended.outputs is not None
    assert ended.outputs[0].tolist() == [10.0] * 3
    assert ended.report.transfers == ()


def test_without_a_plan_a_request_fails_at_once(site: Site) -> None:
    """The client is told where to look."""
    assert "no plan of photos is ready" in str(site.ask().report.error)


def test_a_segment_that_fails_is_an_error_that_names_its_node(site: Site) -> None:
    """The runtime's own words reach the client."""
    site.nodes["laptop"].segments[3, 7] = BrokenSegment()
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    assert site.ask().report.error == "laptop: RuntimeError: out of arena"


def test_a_peer_that_is_not_connected_is_an_error_that_names_it(site: Site) -> None:
    """A plan may name a node that has just gone."""
    site.adopt(plan_of(("pi", 0, 3), ("gone", 3, 10), way_back=("gone", "pi")))
    assert "cannot send to gone" in str(site.ask().report.error)


def test_a_request_under_a_replaced_plan_is_tried_again_under_the_new_one(site: Site) -> None:
    """A node that has dropped the old epoch costs time, not the request."""
    old = plan_of(*THREE_STAGES, way_back=("pc", "pi"), epoch=1)
    new = plan_of(("pi", 0, 10), epoch=2)
    pi, laptop = site.nodes["pi"], site.nodes["laptop"]
    laptop.plans.append(new)
    pi.plans.append(old)
    ended: Queue[Finished] = Queue()
    message_was_sent = pi.pipeline.carry

    def carry_late(plan: Plan, message: TensorsMessage) -> None:
        if new not in pi.plans:
            pi.plans.append(new)
        message_was_sent(plan, message)

    pi.pipeline.carry = carry_late  # type: ignore[method-assign]  # the plan changes while the request is under way
    pi.origin.submit("photos", INPUT, ended.put)
    report = ended.get(timeout=10).report
    assert (report.error, report.epoch) == (None, 2)


def test_a_failure_reaches_its_request_even_when_the_origin_has_dropped_the_plan_too(site: Site) -> None:
    """Plans may change several times while one slow request is under way; it is tried again, not forgotten."""
    old, new = plan_of(*THREE_STAGES, way_back=("pc", "pi"), epoch=1), plan_of(("pi", 0, 10), epoch=9)
    pi = site.nodes["pi"]
    pi.plans.append(old)
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi.origin.submit("photos", INPUT, ended.put)
    [identity] = pi.origin._requests
    pi.plans = [new]
    pi.pipeline.pass_failure(FailureMessage(Route("photos", 1, identity, 1), "laptop does not know epoch 1"))
    report = ended.get(timeout=10).report
    assert (report.error, report.epoch) == (None, 9)


def test_a_request_whose_plan_lost_a_node_is_tried_again_when_the_next_plan_comes(site: Site) -> None:
    """Neither what was under way when the node went nor what came before the next plan fails for it."""
    pi = site.nodes["pi"]
    pi.plans.append(plan_of(*THREE_STAGES, way_back=("pc", "pi"), epoch=1))
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi.origin.submit("photos", INPUT, ended.put)
    pi.origin.lose("laptop")
    site.nodes.pop("laptop").executor.close()
    pi.origin.submit("photos", INPUT, ended.put)
    pi.origin.sweep()
    assert pi.origin.in_flight == 2
    pi.plans.append(plan_of(("pi", 0, 10), epoch=2))
    while pi.origin.in_flight:
        pi.origin.sweep()
    assert [(each.report.error, each.report.epoch) for each in (ended.get(timeout=10), ended.get(timeout=10))] == [
        (None, 2),
        (None, 2),
    ]


def test_a_request_whose_plan_lost_a_node_does_not_wait_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other plan comes, the error names the node; one that has come back is asked as ever."""
    monkeypatch.setattr("edge_agent.origin.PATIENCE_NS", -1)
    pi = site.nodes["pi"]
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi.origin.submit("photos", INPUT, ended.put)
    pi.origin.lose("laptop")
    while pi.origin.in_flight:
        pi.origin.sweep()
    assert ended.get(timeout=10).report.error == "laptop has gone, and no other plan is ready"
    site.lost = set()
    pi.origin.regain("laptop")
    assert site.ask().report.error is None


def test_a_request_that_nobody_answers_ends_with_the_place_where_it_was_last_seen() -> None:
    """The origin gives up after its timeout and says which hop was the last."""
    site = Site("pi", "laptop", "pc", timeout_s=0.0)
    site.lost = {"pc"}
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    ended: Queue[Finished] = Queue()
    origin = site.nodes["pi"].origin
    origin.submit("photos", INPUT, ended.put)
    while ended.empty():
        origin.sweep()
    assert "no answer within 0 s" in str(ended.get().report.error)
    assert origin.in_flight == 0
    site.close()


def test_a_result_that_tells_of_hops_beyond_its_plan_is_ignored(site: Site) -> None:
    """A hostile or broken sender cannot leave a request without an end."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi = site.nodes["pi"]
    pi.origin.submit("photos", INPUT, ended.put)
    [identity] = pi.origin._requests
    here = Route("photos", 1, identity, 3)
    pi.origin.delivered(TensorsMessage(here, INPUT, (StageRecord(4, 1, 1),)))
    for hop in (1, 2, 3):
        pi.origin.transferred(Route("photos", 1, identity, hop), "pc", 8, 1.0)
    assert ended.empty()
    pi.origin.delivered(TensorsMessage(here, INPUT, (StageRecord(3, 1, 1),)))
    assert ended.get(timeout=10).report.error is None


def test_tensors_for_a_hop_that_is_not_ours_are_refused(site: Site) -> None:
    """A stale or hostile sender cannot make a node run what the plan gives to another."""
    plan = plan_of(*THREE_STAGES, way_back=("pc", "pi"))
    site.adopt(plan)
    ended: Queue[Finished] = Queue()
    site.lost = {"laptop"}
    site.nodes["pi"].origin.submit("photos", INPUT, ended.put)
    while not site.nodes["pi"].origin.in_flight:
        pass
    site.lost = set()
    [identity] = site.nodes["pi"].origin._requests
    site.nodes["pc"].pipeline.arrive(TensorsMessage(Route("photos", 1, identity, 1), INPUT), "pi")
    assert "hop 1 of this plan is not for pc" in str(ended.get(timeout=10).report.error)
