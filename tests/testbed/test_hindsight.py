"""What only who knows the whole run can say: the truth at a moment, the best plan for it, and the best fixed plan."""

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_scenarios import PROFILE, scenario

from coordinator.cost import Stage, evaluate
from coordinator.problem import Objective
from testbed.contention import Contention
from testbed.paper.hindsight import Clairvoyant, best_fixed_plan, clairvoyant_plan, mean_problem, problem_at
from testbed.traces import Trace

LATENCY = Objective(latency=1.0)
BALANCED = Objective(latency=0.5, origin_energy=0.5)
ON_PC = (Stage("pc", 0, 4, "raw"),)

RATES = st.lists(st.floats(0.1, 100.0), min_size=2, max_size=6)
LOADS = st.lists(st.floats(0.0, 0.9), min_size=1, max_size=4)


def steps(rates: list[float]) -> Trace:
    """A trace whose rate changes every second."""
    return Trace("steps", tuple(map(float, range(len(rates)))), tuple(rates))


def contended(loads: list[float]) -> Contention:
    """A load that changes every 0.7 s."""
    return Contention(tuple(0.7 * step for step in range(len(loads))), tuple(loads))


def test_the_problem_of_a_moment_is_the_truth() -> None:
    """Rates as the traces say, round trips of twice the delay, and the fog node's load."""
    moment = scenario(steps([10.0, 40.0]), contention=Contention((0.0, 1.0), (0.0, 0.5)))
    problem = problem_at(moment, PROFILE, LATENCY, 1.2)
    links = {(link.src, link.dst): (link.mbps, link.rtt_ms) for link in problem.links}
    assert links["pi", "laptop"] == (40.0, 4.0)
    assert links["pi", "pc"] == (20.0, 16.0)
    assert {node.name: node.load for node in problem.nodes} == {"pi": 0.0, "laptop": 0.5, "pc": 0.0}
    assert problem.origin == "pi"


def test_a_link_that_carries_nothing_is_not_there() -> None:
    """At a moment of no rate the plan stays where it can."""
    problem = problem_at(scenario(steps([0.0, 40.0])), PROFILE, LATENCY, 0.5)
    assert {(link.src, link.dst) for link in problem.links} == {("laptop", "pc"), ("pc", "laptop")}
    plan = clairvoyant_plan(scenario(steps([0.0, 40.0])), PROFILE, LATENCY, 0.5)
    assert {stage.node for stage in plan.stages} == {"pi"}


@given(RATES, LOADS)
@settings(max_examples=40, deadline=None)
def test_mean_figures_are_the_means_over_moments(rates: list[float], loads: list[float]) -> None:
    """Of a fixed plan, the score in the mean problem is the mean of its scores at all moments."""
    run = scenario(steps(rates), duration_s=len(rates), contention=contended(loads))
    stages = (Stage("laptop", 0, 2, "raw"), Stage("pc", 2, 4, "raw"))
    moments = [(step + 0.5) * 0.1 for step in range(10 * len(rates))]
    scores = [evaluate(problem_at(run, PROFILE, BALANCED, at), stages) for at in moments]
    mean = evaluate(mean_problem(run, PROFILE, BALANCED), stages)
    assert mean.latency_ms == pytest.approx(statistics.fmean(score.latency_ms for score in scores))
    assert mean.origin_energy_j == pytest.approx(statistics.fmean(score.origin_energy_j for score in scores))
    assert mean.objective == pytest.approx(statistics.fmean(score.objective for score in scores))


@given(RATES, LOADS)
@settings(max_examples=40, deadline=None)
def test_the_clairvoyant_is_never_worse_than_the_best_fixed_plan(rates: list[float], loads: list[float]) -> None:
    """On average over the moments of a run, by each one's own objective."""
    run = scenario(steps(rates), duration_s=len(rates), contention=contended(loads))
    clairvoyant = Clairvoyant(run, PROFILE, BALANCED)
    moments = [(step + 0.5) * 0.1 for step in range(10 * len(rates))]
    told = statistics.fmean(clairvoyant.plan_at(at).score.objective for at in moments)
    fixed = best_fixed_plan(run, PROFILE, BALANCED).score.objective
    assert told <= fixed * (1 + 1e-9)


def test_a_dead_link_costs_the_wait_for_it() -> None:
    """Half of the time dead, one second at a stretch: on average a transfer waits for a quarter of a second."""
    alive, half_dead = scenario(steps([40.0, 40.0]), duration_s=2), scenario(steps([0.0, 40.0]), duration_s=2)
    undisturbed = evaluate(mean_problem(alive, PROFILE, LATENCY), ON_PC).latency_ms
    waiting = evaluate(mean_problem(half_dead, PROFILE, LATENCY), ON_PC).latency_ms
    ways = 2  # there and back
    assert waiting - undisturbed == pytest.approx(ways * 250.0)


def test_a_link_that_never_carries_anything_is_not_there_on_average() -> None:
    """The best fixed plan then stays on the origin."""
    dead = Trace("dead until the end", (0.0, 100.0), (0.0, 10.0))
    plan = best_fixed_plan(scenario(dead), PROFILE, LATENCY)
    assert {stage.node for stage in plan.stages} == {"pi"}


def test_a_periodic_load_counts_in_all_its_rounds() -> None:
    """A load of one half for half of the time stretches compute by 1.5 on average, however often it comes."""
    once = Contention((0.0, 1.0), (0.5, 0.0), period_s=2.0)
    problem = mean_problem(scenario(duration_s=20.0, contention=once), PROFILE, LATENCY)
    laptop = next(node for node in problem.nodes if node.name == "laptop")
    assert laptop.stretch == pytest.approx(1.5)


def test_a_moment_like_one_before_has_the_same_plan() -> None:
    """The clairvoyant plans once for each state of link and load."""
    clairvoyant = Clairvoyant(scenario(), PROFILE, LATENCY)
    assert clairvoyant.plan_at(1.0) is clairvoyant.plan_at(17.0)
