"""Fleets in virtual time: who plans how for many edge nodes that share fog and cloud, and what comes of it."""

import statistics
from dataclasses import replace

import msgspec
import pytest
from simulated_scenarios import PROFILE

from testbed.simulation.errors import SimulationError
from testbed.simulation.fleet import POLICIES, FleetRun, Policy, simulate_fleet
from testbed.simulation.fleet_site import FleetScenario
from testbed.traces import Trace, constant

UNSTEADY = Trace(
    "unsteady", tuple(30.0 * step for step in range(12)), (40, 30, 2, 1, 1, 25, 50, 8, 4, 30, 0.5, 20), 1.0, "loop"
)
SCARCE = FleetScenario(
    edges=60, fogs=2, clouds=1, traces=(UNSTEADY, constant(30.0)), duration_s=30.0, requests_per_s=1.2, step_s=3.0
)


def fleet(policy: Policy, scenario: FleetScenario = SCARCE) -> FleetRun:
    """A run of the made-up model."""
    return simulate_fleet(scenario, PROFILE, policy, seed=3)


def mean(run: FleetRun, figure: str) -> float:
    """A figure over all steps."""
    return statistics.fmean(getattr(step, figure) for step in run.steps)


def untimed(run: FleetRun) -> FleetRun:
    """Without what depends on this machine."""
    return msgspec.structs.replace(
        run, steps=tuple(msgspec.structs.replace(step, planning_s=0.0) for step in run.steps)
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_fleet(policy: Policy) -> None:
    """Everything but the time that planning took; there is a step for each stretch of time."""
    run = fleet(policy)
    assert untimed(run) == untimed(fleet(policy))
    assert [step.at_s for step in run.steps] == [3.0 * number for number in range(10)]


def test_planning_together_is_quicker_than_any_other_policy() -> None:
    """On nodes that are scarce, over links that move; and it asks no node for more than it can do."""
    together = fleet("joint")
    for other in ("selfish", "static", "origin-only"):
        assert mean(together, "latency_mean_ms") < mean(fleet(other), "latency_mean_ms")
    assert sum(step.overloaded for step in together.steps) == 0


def test_origin_only_loads_nobody_else() -> None:
    """And takes what the model takes on a Pi, at its busy power."""
    run = fleet("origin-only")
    assert mean(run, "most_load") == 0.0
    assert mean(run, "latency_mean_ms") == pytest.approx(200.0)
    assert mean(run, "latency_p95_ms") == pytest.approx(200.0)
    assert mean(run, "origin_energy_mean_j") == pytest.approx(6.4 * 0.2)


def test_only_who_plans_again_switches() -> None:
    """A static fleet keeps its plans, an adaptive one follows its links."""
    assert all(step.switched == 0 for step in fleet("static").steps)
    assert sum(step.switched for step in fleet("joint").steps) > 0


def test_plans_that_gain_nothing_are_not_made() -> None:
    """Over steady links the fleet keeps its first plans, whatever the noise of its estimates."""
    steady = replace(SCARCE, traces=(constant(30.0),))
    assert all(step.switched == 0 for step in fleet("joint", steady).steps)


def test_a_fleet_without_nodes_or_links_is_refused() -> None:
    """In one line each."""
    with pytest.raises(SimulationError, match="a fleet of 0 edge, 2 fog and 1 cloud nodes cannot be simulated"):
        replace(SCARCE, edges=0)
    with pytest.raises(SimulationError, match="a fleet needs a trace at least"):
        replace(SCARCE, traces=())
