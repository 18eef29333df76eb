"""A run in virtual time: the same each time, true to the cost model, and honest about what the decision sees."""

import msgspec
import pytest
from simulated_scenarios import PROFILE, SPLIT, contender, scenario

from coordinator.cost import Stage, evaluate
from coordinator.problem import Objective
from testbed.contention import Contention
from testbed.paper.hindsight import problem_at
from testbed.paper.records import RunRecord
from testbed.simulation.errors import SimulationError
from testbed.simulation.settings import Ablation, SimulationSettings
from testbed.simulation.simulate import simulate
from testbed.traces import Trace, constant

QUIET = SimulationSettings(is_noisy=False)
STEPS = Trace("steps", (0.0, 10.0, 20.0, 30.0), (40.0, 1.0, 40.0, 1.0))


def run(name: str, wifi: Trace | None = None, *, seed: int = 1, **options: object) -> RunRecord:
    """A run of a contender, with the split that the made-up model is given."""
    duration_s = float(options.pop("duration_s", 20.0))  # type: ignore[arg-type]
    contention = options.pop("contention", None)
    more = {"contention": contention} if contention is not None else {}
    return simulate(
        scenario(wifi, duration_s=duration_s, **more),  # type: ignore[arg-type]
        contender(name),
        PROFILE,
        seed=seed,
        published_split=SPLIT,
        **options,  # type: ignore[arg-type]
    )


def latencies(record: RunRecord) -> list[float]:
    """The latencies of a run that lost nothing, in ms."""
    assert all(request.error is None for request in record.requests)
    return [request.latency_ms for request in record.requests if request.latency_ms is not None]


@pytest.mark.parametrize("name", ["paper-static", "latency", "clairvoyant", "fog-only"])
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    """Everything but the wall-clock time that it took; another seed gives another run."""
    first, again, other = run(name, STEPS), run(name, STEPS), run(name, STEPS, seed=2)
    assert msgspec.structs.replace(first, took_s=0.0) == msgspec.structs.replace(again, took_s=0.0)
    assert first.requests != other.requests


@pytest.mark.parametrize("name", ["paper-static", "best-fixed", "origin-only", "cloud-only", "latency", "clairvoyant"])
def test_on_a_constant_link_without_noise_a_request_takes_what_the_cost_model_says(name: str) -> None:
    """Latency and both energies; some requests wait behind a probe, none is quicker."""
    record = run(name, settings=QUIET)
    problem = problem_at(scenario(), PROFILE, Objective(latency=1.0), 0.0)
    stages = tuple(Stage(stage.node, stage.start, stage.stop, "raw") for stage in record.plans[-1].stages)
    score = evaluate(problem, stages)
    best = min(record.requests, key=lambda request: request.latency_ms or 0.0)
    assert min(latencies(record)) == pytest.approx(score.latency_ms, abs=1e-3)
    assert best.origin_energy_j == pytest.approx(score.origin_energy_j, rel=1e-4)
    assert best.total_energy_j == pytest.approx(score.total_energy_j, rel=1e-4)
    assert sum(each.compute_ms for each in best.compute) == pytest.approx(
        sum(sum(node.op_ms[s.start : s.stop]) for s in stages for node in problem.nodes if node.name == s.node)
    )


def test_noise_spreads_latencies_around_the_model() -> None:
    """The profile's spread of 5 % an op, over four ops."""
    record = run("origin-only", duration_s=60.0)
    mean = sum(latencies(record)) / len(record.requests)
    assert mean == pytest.approx(200.0, rel=0.02)
    assert min(latencies(record)) < 195.0
    assert max(latencies(record)) > 205.0


def test_a_closed_loop_asks_once_it_is_answered() -> None:
    """Requests never overlap, the last begins within the duration, and there is a pause between two."""
    record = run("latency")
    ends = [request.sent_s + (request.latency_ms or 0.0) / 1e3 for request in record.requests]
    starts = [request.sent_s for request in record.requests]
    assert starts[0] == 0.0
    assert all(start - end >= 0.05 for end, start in zip(ends[:-1], starts[1:], strict=True))
    assert starts[-1] < 20.0


def test_three_requests_are_sent_however_long_they_take() -> None:
    """A run goes on past its end until there are three."""
    assert len(run("paper-static", constant(0.3), duration_s=5.0).requests) == 3


def test_a_request_that_is_not_answered_in_time_is_lost() -> None:
    """On a link that is as good as dead the published split times out, and says so."""
    record = run("paper-static", constant(0.01), duration_s=1.0)
    assert [request.latency_ms for request in record.requests] == [None] * 3
    assert all("30 s" in (request.error or "") for request in record.requests)


def test_a_plan_follows_the_link() -> None:
    """The coordinator offloads while the link is good and comes home when it is bad; a fixed contender never moves."""
    record = run("latency", STEPS, duration_s=40.0)
    assert record.switches >= 3
    nodes = [{stage.node for stage in plan.stages} for plan in record.plans]
    assert {"pi"} in nodes
    assert any(named & {"laptop", "pc"} for named in nodes)
    assert run("best-fixed", STEPS, duration_s=40.0).switches == 0


def test_the_decision_sees_only_what_agents_measured() -> None:
    """At the very moment of a drop the plan is still the old one; who is told the truth has left before."""
    sudden = Trace("sudden", (0.0, 10.03), (40.0, 0.5))
    blind, told = run("latency", sudden), run("clairvoyant", sudden)
    switch_s = min(plan.at_s for plan in blind.plans if plan.at_s > 10.03)
    assert switch_s > 10.1
    assert sum(latencies(blind)) / len(blind.requests) > sum(latencies(told)) / len(told.requests)


def test_contention_on_the_fog_node_slows_its_compute_and_is_heard_of() -> None:
    """A load of 0.8 makes it five times as slow; the coordinator's plan leaves it."""
    busy = Contention((0.0, 10.0), (0.0, 0.8))
    fixed = run("fog-only", contention=busy, settings=QUIET)
    compute_ms = {request.sent_s > 10.0: request.compute[0].compute_ms for request in fixed.requests}
    assert compute_ms[True] == pytest.approx(5 * compute_ms[False])
    adaptive = run("latency", contention=busy)
    assert all(stage.node != "laptop" or stage.start == stage.stop for stage in adaptive.plans[-1].stages)


def test_ablations_bring_a_run_nearer_to_the_clairvoyant() -> None:
    """With true readings, no reaction time and no hysteresis the coordinator is all but clairvoyant."""
    ideal = Ablation(perfect_estimates=True, no_reaction_time=True, no_hysteresis=True)

    def mean_ms(record: RunRecord) -> float:
        return sum(latencies(record)) / len(record.requests)

    told = mean_ms(run("clairvoyant", STEPS, duration_s=40.0, settings=QUIET))
    as_it_is = mean_ms(run("latency", STEPS, duration_s=40.0, settings=QUIET))
    idealised = mean_ms(run("latency", STEPS, duration_s=40.0, settings=QUIET, ablation=ideal))
    assert idealised == pytest.approx(told, rel=0.03)
    assert idealised < as_it_is


def test_a_published_split_must_be_given() -> None:
    """Without one the contender that runs it says so in one line."""
    with pytest.raises(SimulationError, match="paper-static runs a published split, but none was given for made-up"):
        simulate(scenario(), contender("paper-static"), PROFILE, seed=1)
