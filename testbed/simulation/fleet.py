"""Fleets in virtual time, step by step: who plans how for thousands of edge nodes, and what comes of it.

Requests are not played one by one: a step's latencies and energies are those of the cost model under the true links
and under the loads that all plans cause.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from coordinator import exact
from coordinator.cost import Score, Stage, evaluate
from coordinator.fleet import plan_fleet
from coordinator.fleet_load import Member, under_loads, utilisation
from splitrail.percentile import percentile
from testbed.paper.model_profile import ModelProfile
from testbed.simulation.fleet_site import FleetScenario, FleetSite

Policy = Literal["joint", "selfish", "static", "origin-only"]
"""Planned together at each step, from the plans before; each for itself, one after the other, under the loads that
it finds; planned together once, at the start; never cut."""
POLICIES: tuple[Policy, ...] = ("joint", "selfish", "static", "origin-only")

MOST_LOAD = 0.99
"""A node that is asked for more than it can do is reckoned with this load, which stretches compute a hundredfold; in
truth its queue would grow for as long as that lasts."""
HYSTERESIS = 0.02
"""The share by which a deployment's objective must change for its plan to be changed, as with one that is alone."""

Plans = Mapping[str, Sequence[Stage]]


class FleetStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step; latencies and energies are per request, over all edge nodes, and modelled."""

    at_s: float
    latency_mean_ms: float
    latency_p95_ms: float
    origin_energy_mean_j: float
    total_energy_mean_j: float
    fog_load_mean: float
    cloud_load_mean: float
    most_load: float
    """Of the fog and cloud node that is asked for most; 1 and more is more than it can do."""
    overloaded: int
    """How many fog and cloud nodes are asked for more than they can do."""
    switched: int
    """How many plans are others than in the step before."""
    planning_s: float
    """The wall-clock time that planning took, all deployments together."""


class FleetRun(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet under one policy."""

    policy: Policy
    edges: int
    fogs: int
    clouds: int
    model: str
    steps: tuple[FleetStep, ...]


def simulate_fleet(scenario: FleetScenario, profile: ModelProfile, policy: Policy, *, seed: int) -> FleetRun:
    """The run of a fleet; the same arguments give the same run, but for `planning_s`.

    PlanInfeasibleError where an edge node is asked for more than the site can do.
    """
    site = FleetSite(scenario, profile, seed)
    planner = _Planner(policy)
    plans: Plans = {}
    steps = []
    for number in range(max(1, round(scenario.duration_s / scenario.step_s))):
        at_s = number * scenario.step_s
        believed = site.believed(at_s)
        began_s = time.perf_counter()
        after = planner.plans(believed, plans)
        planning_s = time.perf_counter() - began_s
        switched = sum(plans[name] != stages for name, stages in after.items()) if plans else 0
        plans = after
        steps.append(_step(site, scenario, plans, at_s, switched=switched, planning_s=planning_s))
    return FleetRun(
        policy=policy,
        edges=scenario.edges,
        fogs=scenario.fogs,
        clouds=scenario.clouds,
        model=profile.model,
        steps=tuple(steps),
    )


class _Planner:
    """Makes each step's plans from what is believed and from the plans before."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def plans(self, members: Sequence[Member], before: Plans) -> Plans:
        match self._policy:
            case "origin-only":
                return {each.name: (Stage(each.problem.origin, 0, each.problem.model.ops),) for each in members}
            case "static":
                return before or plan_fleet(members).stages
            case "selfish":
                return _selfish(members, before)
            case "joint":
                return _joint(members, before)


def _joint(members: Sequence[Member], before: Plans) -> Plans:
    """Planned together, unless the fleet gains less by it than a little for each deployment whose plan would change."""
    found = plan_fleet(members, before=before)
    if not before:
        return found.stages
    chosen: dict[str, Sequence[Stage]] = dict(found.stages)
    for member, plan, score in zip(members, found.plans, _scored(members, before, found.loads), strict=True):
        # Neither clearly better off nor moved for the others' sake.
        if abs(score.objective - plan.score.objective) < HYSTERESIS * score.objective:
            chosen[member.name] = before[member.name]
    loads = _loads(members, chosen)
    if _is_overloaded(loads):
        chosen, loads = dict(found.stages), dict(found.loads)
    former = _loads(members, before)
    if _is_overloaded(former):
        return chosen
    standing, after = _scored(members, before, former), _scored(members, chosen, loads)
    gain = math.fsum(old.objective - new.objective for old, new in zip(standing, after, strict=True))
    moved = math.fsum(
        old.objective
        for member, old in zip(members, standing, strict=True)
        if chosen[member.name] != before[member.name]
    )
    return chosen if gain > HYSTERESIS * moved else before


def _is_overloaded(loads: Mapping[str, float]) -> bool:
    return any(load >= 1.0 for load in loads.values())


def _selfish(members: Sequence[Member], before: Plans) -> Plans:
    """Each by the exact planner, one after the other, under the loads that the others' plans cause at its turn."""
    loads = _loads(members, before) if before else {}
    plans: dict[str, Sequence[Stage]] = {}
    for member in members:
        problem, rate = member.problem, member.requests_per_s
        if before:
            for name, share in utilisation(problem, before[member.name], rate).items():
                loads[name] -= share
        others = {node.name: min(max(0.0, loads.get(node.name, 0.0)), MOST_LOAD) for node in problem.nodes}
        plans[member.name] = exact.plan(under_loads(problem, others)).stages
        for name, share in utilisation(problem, plans[member.name], rate).items():
            loads[name] = loads.get(name, 0.0) + share
    return plans


def _loads(members: Sequence[Member], plans: Plans) -> dict[str, float]:
    """What all plans ask of each node; 1 and more is more than it can do."""
    loads: dict[str, float] = {}
    for member in members:
        for name, share in utilisation(member.problem, plans[member.name], member.requests_per_s).items():
            loads[name] = loads.get(name, 0.0) + share
    return loads


def _scored(members: Sequence[Member], plans: Plans, loads: Mapping[str, float]) -> list[Score]:
    """The plans' scores under each other's loads, by the one evaluator."""
    scores = []
    for member in members:
        stages = plans[member.name]
        own = utilisation(member.problem, stages, member.requests_per_s)
        others = {name: min(max(0.0, loads[name] - share), MOST_LOAD) for name, share in own.items()}
        scores.append(evaluate(under_loads(member.problem, others), stages))
    return scores


def _step(
    site: FleetSite, scenario: FleetScenario, plans: Plans, at_s: float, *, switched: int, planning_s: float
) -> FleetStep:
    """What the plans come to under the true links of a step, at its middle."""
    members = site.members(at_s + scenario.step_s / 2)
    loads = _loads(members, plans)
    scores = _scored(members, plans, loads)
    latencies = [score.latency_ms for score in scores]
    fogs = [loads.get(name, 0.0) for name in site.fogs]
    clouds = [loads.get(name, 0.0) for name in site.clouds]
    return FleetStep(
        at_s=at_s,
        latency_mean_ms=statistics.fmean(latencies),
        latency_p95_ms=percentile(latencies, 95) or 0.0,
        origin_energy_mean_j=statistics.fmean(score.origin_energy_j for score in scores),
        total_energy_mean_j=statistics.fmean(score.total_energy_j for score in scores),
        fog_load_mean=statistics.fmean(fogs),
        cloud_load_mean=statistics.fmean(clouds),
        most_load=max(*fogs, *clouds),
        overloaded=sum(load >= 1.0 for load in (*fogs, *clouds)),
        switched=switched,
        planning_s=planning_s,
    )
