"""Fleets of each model over the experiment's traces, simulated, and their figures; the simulator is elsewhere."""

import math
import statistics
from collections.abc import Sequence
from typing import Final

from testbed.machines import PI
from testbed.paper.model_profile import ModelProfile
from testbed.paper.results import FleetFigures
from testbed.processes import Step
from testbed.simulation.fleet import POLICIES, FleetRun, Policy, simulate_fleet
from testbed.simulation.fleet_site import FleetScenario
from testbed.traces import Trace

EDGES_PER_FOG: Final = 20
EDGES_PER_CLOUD: Final = 100
BUSY_SHARE: Final = 0.5
"""Each edge node asks so often that it would be busy for this share of the time, did it run everything itself."""
SEED: Final = 1


def fleet_figures(
    profiles: Sequence[ModelProfile], sizes: Sequence[int], traces: tuple[Trace, ...], duration_s: float, step: Step
) -> tuple[FleetFigures, ...]:
    """The figures of each model, size and policy; PlanInfeasibleError where a fleet asks for more than its site has."""
    figures = []
    for profile in profiles:
        for edges in sizes:
            for policy in POLICIES:
                with step(f"simulating a fleet of {edges} with {profile.model}, {policy}"):
                    figures.append(_figures(profile, edges, traces, duration_s, policy))
    return tuple(figures)


def _figures(
    profile: ModelProfile, edges: int, traces: tuple[Trace, ...], duration_s: float, policy: Policy
) -> FleetFigures:
    [pi_ms] = [sum(node.op_ms) for node in profile.nodes if node.node == PI.node]
    scenario = FleetScenario(
        edges=edges,
        fogs=math.ceil(edges / EDGES_PER_FOG),
        clouds=math.ceil(edges / EDGES_PER_CLOUD),
        traces=traces,
        duration_s=duration_s,
        requests_per_s=BUSY_SHARE * 1_000 / pi_ms,
    )
    return _over_time(simulate_fleet(scenario, profile, policy, seed=SEED), scenario.requests_per_s)


def _over_time(run: FleetRun, requests_per_s: float) -> FleetFigures:
    """A run's figures as means over its steps."""
    return FleetFigures(
        model=run.model,
        edges=run.edges,
        fogs=run.fogs,
        clouds=run.clouds,
        requests_per_s=requests_per_s,
        policy=run.policy,
        latency_mean_ms=statistics.fmean(each.latency_mean_ms for each in run.steps),
        latency_p95_ms=statistics.fmean(each.latency_p95_ms for each in run.steps),
        origin_energy_j=statistics.fmean(each.origin_energy_mean_j for each in run.steps),
        fog_load=statistics.fmean(each.fog_load_mean for each in run.steps),
        cloud_load=statistics.fmean(each.cloud_load_mean for each in run.steps),
        overloaded_steps=sum(each.overloaded > 0 for each in run.steps),
        steps=len(run.steps),
        switched=sum(each.switched for each in run.steps),
        first_planning_s=run.steps[0].planning_s,
        later_planning_s=statistics.fmean(each.planning_s for each in run.steps[1:]) if len(run.steps) > 1 else None,
    )
