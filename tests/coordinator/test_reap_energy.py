"""The published energy model: what it counts of the origin and of the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cost import Stage, evaluate
from coordinator.problem import Link, Model, Node, Objective, Problem
from coordinator.reap_energy import ReapEnergy, reap_energy_j, with_reap_energy

WATTS = {"pi": 6.4, "laptop": 20.0, "pc": 95.0}
PROBLEM = Problem(
    model=Model(cut_bytes=(6e5, 2e5, 1e5, 4e3)),
    origin="pi",
    nodes=tuple(
        Node(
            name=name, op_ms=(40.0, 30.0, 20.0), load=0.2, idle_w=2.0, busy_w=busy_w, tx_j_per_mb=0.14, rx_j_per_mb=0.1
        )
        for name, busy_w in WATTS.items()
    ),
    links=tuple(
        Link(src=src, dst=dst, rtt_ms=4.0, mbps=40.0)
        for one, other in (("pi", "laptop"), ("laptop", "pc"))
        for src, dst in ((one, other), (other, one))
    ),
    objective=Objective(origin_energy=1.0),
)


def test_the_origin_draws_12_w_while_it_computes_and_the_others_their_busy_power() -> None:
    """Waiting and radio count for nothing, and no idle power is taken off."""
    assert reap_energy_j("pi", {"pi": 500.0, "pc": 100.0}, WATTS) == ReapEnergy(origin_j=6.0, total_j=15.5)


def test_an_origin_that_computes_nothing_spends_nothing() -> None:
    """All the energy is the others'."""
    assert reap_energy_j("pi", {"laptop": 100.0}, WATTS) == ReapEnergy(origin_j=0.0, total_j=2.0)


@given(st.integers(0, 3), st.integers(0, 3))
def test_the_problem_with_this_energy_is_scored_by_it(one: int, other: int) -> None:
    """The cost model's energies for any split are those of the compute times, its latency is as before."""
    first, second = sorted((one, other))
    stages = [
        Stage(name, start, stop, "raw")
        for name, start, stop in (("pi", 0, first), ("laptop", first, second), ("pc", second, 3))
    ]
    while stages[-1].start == stages[-1].stop:
        stages.pop()
    compute_ms = {stage.node: sum((40.0, 30.0, 20.0)[stage.start : stage.stop]) / 0.8 for stage in stages}
    expected = reap_energy_j("pi", compute_ms, WATTS)
    score = evaluate(with_reap_energy(PROBLEM), stages)
    assert score.origin_energy_j == pytest.approx(expected.origin_j, abs=1e-12)
    assert score.total_energy_j == pytest.approx(expected.total_j)
    assert score.latency_ms == evaluate(PROBLEM, stages).latency_ms
