"""A site of many edge nodes that share fog and cloud nodes, and what of it is true, or believed, at a moment."""

import math
import random
from dataclasses import dataclass

import msgspec

from coordinator.fleet_load import Member
from coordinator.problem import MIN_MBPS, Link, Model, Node, Objective, Problem
from testbed.machines import (
    LAPTOP,
    PC,
    PI,
    UPLINK_DELAY_MS,
    UPLINK_SHARE,
    WIFI_DELAY_MS,
    WIRED_DELAY_MS,
    WIRED_MBPS,
    Machine,
)
from testbed.paper.contenders import LATENCY
from testbed.paper.hindsight import power_of
from testbed.paper.model_profile import ModelProfile
from testbed.simulation.errors import SimulationError
from testbed.traces import Trace

BELIEF_NOISE = 0.02  # probes of a shaped link differ by 2 % (p90), measured


@dataclass(frozen=True, slots=True)
class FleetScenario:
    """So many Pis, each with a link and a deployment of its own, over so many laptops and PCs, as in the experiment.

    An edge node's WiFi follows one of the traces from a random moment on; every one asks `requests_per_s`.
    """

    edges: int
    fogs: int
    clouds: int
    traces: tuple[Trace, ...]
    duration_s: float
    requests_per_s: float
    objective: Objective = LATENCY
    step_s: float = 5.0
    lag_s: float = 1.0
    """How old the estimates are that plans are made from."""

    def __post_init__(self) -> None:
        if min(self.edges, self.fogs, self.clouds) < 1:
            raise SimulationError(
                f"a fleet of {self.edges} edge, {self.fogs} fog and {self.clouds} cloud nodes cannot be simulated: "
                "it needs one of each at least"
            )
        if not self.traces:
            raise SimulationError("a fleet needs a trace at least, for its edge nodes' links")


class FleetSite:
    """The nodes and links of a scenario; the same seed gives the same site."""

    def __init__(self, scenario: FleetScenario, profile: ModelProfile, seed: int) -> None:
        generator = random.Random(seed)
        self._scenario = scenario
        self._noise = random.Random(generator.random())
        times = {each.node: each for each in profile.nodes}
        self._model = Model(
            name=profile.model,
            cut_bytes=profile.cut_bytes,
            weight_mb=profile.weight_mb,
            forbidden_cuts=profile.forbidden_cuts,
        )
        self.fogs = tuple(f"fog{number}" for number in range(scenario.fogs))
        self.clouds = tuple(f"cloud{number}" for number in range(scenario.clouds))

        def node(name: str, machine: Machine) -> Node:
            return Node(
                name=name,
                tier=machine.tier,
                op_ms=times[machine.node].op_ms,
                **msgspec.structs.asdict(power_of(machine)),
            )

        fogs = [node(name, LAPTOP) for name in self.fogs]
        clouds = [node(name, PC) for name in self.clouds]
        self._edges = []
        for number in range(scenario.edges):
            trace = generator.choice(scenario.traces)
            start_s = generator.uniform(0.0, trace.duration_s) if math.isfinite(trace.duration_s) else 0.0
            nodes = (node(f"edge{number}", PI), fogs[number % scenario.fogs], clouds[number % scenario.clouds])
            self._edges.append(_Edge(nodes, trace, start_s))

    def members(self, time_s: float) -> list[Member]:
        """The deployments as they truly are at a moment."""
        return [self._member(edge, edge.mbps_at(time_s)) for edge in self._edges]

    def believed(self, time_s: float) -> list[Member]:
        """The deployments as they are believed to be: the links as they were a while ago, a little off."""
        at_s = time_s - self._scenario.lag_s
        return [
            self._member(edge, edge.mbps_at(at_s) * math.exp(self._noise.gauss(0.0, BELIEF_NOISE)))
            for edge in self._edges
        ]

    def _member(self, edge: "_Edge", mbps: float) -> Member:
        edge_node, fog, cloud = edge.nodes
        mbps = max(mbps, MIN_MBPS)
        joined = (
            (edge_node, fog, mbps, WIFI_DELAY_MS),
            (edge_node, cloud, mbps * UPLINK_SHARE, UPLINK_DELAY_MS),
            (fog, cloud, WIRED_MBPS, WIRED_DELAY_MS),
        )
        links = tuple(
            Link(src=src.name, dst=dst.name, rtt_ms=2 * delay_ms, mbps=rate)
            for one, other, rate, delay_ms in joined
            for src, dst in ((one, other), (other, one))
        )
        problem = Problem(
            model=self._model,
            origin=edge_node.name,
            nodes=edge.nodes,
            links=links,
            objective=self._scenario.objective,
        )
        return Member(edge_node.name, problem, self._scenario.requests_per_s)


@dataclass(frozen=True, slots=True)
class _Edge:
    nodes: tuple[Node, Node, Node]
    trace: Trace
    start_s: float

    def mbps_at(self, time_s: float) -> float:
        """The WiFi's rate; the trace goes round, before its start too."""
        at_s = self.start_s + time_s
        if math.isfinite(self.trace.duration_s):
            at_s %= self.trace.duration_s
        return self.trace.mbps_at(at_s)
