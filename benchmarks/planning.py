"""Time and objective of the exact planner, beside references that solve the same problems in the same run.

References: Dijkstra's algorithm over (cut point, node); every pair of cuts over three nodes in their order, each plan
scored by the cost model; a mixed-integer program; published strategies. Run: python benchmarks/planning.py
"""

import argparse
import heapq
import itertools
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from figures import Figure, write
from mixed_integer import least_objective

from coordinator import dads, neurosurgeon, reap
from coordinator.cost import Stage, evaluate
from coordinator.exact import plan
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem
from coordinator.reap_energy import with_reap_energy
from coordinator.strategies import Strategy

REPEATS = 20
FEW = 3
SAME = 1e-6
DIJKSTRA, MIXED_INTEGER = "Dijkstra", "mixed-integer program"
OPTIMAL = (DIJKSTRA, MIXED_INTEGER)
T = TypeVar("T")
Reference = Callable[[Problem], float]
"""Solves a problem in its own way, and gives the objective of what it found."""
SPEEDS = (1.0, 0.25, 0.1, 0.5, 0.3)  # relative to the origin; made up, about a Pi 4, a laptop and a PC


def random_problem(seed: int, ops: int, nodes: int) -> Problem:
    """Ops of uneven cost and shrinking cut tensors, like a convolutional network's; all nodes joined both ways."""
    dice = random.Random(seed)  # no secret
    names = [f"node{index}" for index in range(nodes)]
    shape = [dice.uniform(0.3, 3.0) for _ in range(ops)]
    return Problem(
        model=Model(
            cut_bytes=tuple(dice.uniform(5e3, 1.2e6) * (1 - 0.9 * cut / ops) for cut in range(ops + 1)),
            weight_mb=tuple(dice.uniform(0.01, 0.5) for _ in range(ops)),
        ),
        origin=names[0],
        nodes=tuple(
            Node(
                name=name,
                op_ms=tuple(ms * SPEEDS[index] * dice.uniform(0.7, 1.4) for ms in shape),
                idle_w=2.0 + 5 * index,
                busy_w=6.0 + 20 * index,
                tx_j_per_mb=0.1,
                rx_j_per_mb=0.1,
            )
            for index, name in enumerate(names)
        ),
        links=tuple(
            Link(src=src, dst=dst, rtt_ms=dice.uniform(1, 20), mbps=dice.uniform(20, 200))
            for src, dst in itertools.permutations(names, 2)
        ),
    )


def with_energy_and_codec(problem: Problem) -> Problem:
    """The problem with a weighted objective and a second codec."""
    return msgspec.structs.replace(
        problem,
        codecs=(Codec(name="raw"), Codec(name="half", ratio=0.5, encode_ms_per_mb=8.0, decode_ms_per_mb=3.0)),
        objective=Objective(latency=0.3, origin_energy=0.4, total_energy=0.3),
    )


def with_deadline(problem: Problem) -> Problem | None:
    """The problem for energy, with a deadline halfway between the quickest plan and the thriftiest, if they differ."""
    quickest_ms = plan(problem).score.latency_ms
    thrifty = msgspec.structs.replace(problem, objective=Objective(latency=0.1, total_energy=0.9))
    thrifty_ms = plan(thrifty).score.latency_ms
    if thrifty_ms < 1.02 * quickest_ms:
        return None
    return msgspec.structs.replace(thrifty, deadline_ms=(quickest_ms + thrifty_ms) / 2)


def with_little_memory(problem: Problem) -> Problem:
    """The problem with nodes that hold a half, a third and a third of the weights."""
    total_mb = sum(problem.model.weight_mb)
    nodes = tuple(
        msgspec.structs.replace(node, memory_mb=total_mb / (3 if index else 2))
        for index, node in enumerate(problem.nodes)
    )
    return msgspec.structs.replace(problem, nodes=nodes)


def with_spread(problem: Problem) -> Problem:
    """The problem with times that vary by a tenth and bandwidths by a fifth, planned on the 95 % quantile."""
    nodes = tuple(
        msgspec.structs.replace(node, op_ms_std=tuple(0.1 * ms for ms in node.op_ms)) for node in problem.nodes
    )
    links = tuple(
        msgspec.structs.replace(link, rtt_ms_std=0.2 * link.rtt_ms, mbps_std=0.2 * link.mbps) for link in problem.links
    )
    return msgspec.structs.replace(problem, nodes=nodes, links=links, risk=0.95)


def for_throughput(problem: Problem) -> Problem:
    """The problem with the period of a full pipeline as its objective."""
    return msgspec.structs.replace(problem, objective=Objective(throughput=1.0))


def by_reap(problem: Problem) -> Problem:
    """The problem under reap's energy model, with weights that make reap's own value its objective, and its tiers."""
    nodes = tuple(
        msgspec.structs.replace(node, tier=tier)
        for node, tier in zip(problem.nodes, ("edge", "fog", "cloud"), strict=True)
    )
    own = with_reap_energy(msgspec.structs.replace(problem, nodes=nodes))
    units, alone = reap.units_of(own), evaluate(own, [Stage(own.origin, 0, own.model.ops)])
    return msgspec.structs.replace(
        own,
        objective=Objective(
            latency=reap.LATENCY_WEIGHT * alone.latency_ms / units.latency_ms,
            origin_energy=reap.ORIGIN_ENERGY_WEIGHT * alone.origin_energy_j / units.origin_energy_j,
            total_energy=reap.TOTAL_ENERGY_WEIGHT * alone.total_energy_j / units.total_energy_j,
        ),
    )


def every_pair_of_cuts(problem: Problem) -> float:
    """The least objective of the first three nodes in their order, by scoring the plan of every (i, j)."""
    first, second, third = (node.name for node in problem.nodes[:3])
    ops = problem.model.ops
    least = evaluate(problem, [Stage(first, 0, ops)]).objective
    for i in range(ops + 1):
        for j in range(i, ops + 1):
            stages = [Stage(first, 0, i), Stage(second, i, j, "raw"), Stage(third, j, ops, "raw")]
            whole = [stage for stage in stages if stage.start < stage.stop]
            least = min(least, evaluate(problem, whole).objective)
    return least


def dijkstra(problem: Problem) -> float:
    """The least objective of latency alone, by Dijkstra's algorithm over (cut point, node), the way back included."""
    ops, names = problem.model.ops, [node.name for node in problem.nodes]
    nodes = {node.name: node for node in problem.nodes}
    graph: dict[tuple[int, str, bool], list[tuple[tuple[int, str, bool], float]]] = {}
    for cut, size in enumerate(problem.model.cut_bytes):
        for name in names:
            for done in (False, True):
                graph[cut, name, done] = []
            if cut < ops:
                graph[cut, name, False].append(((cut + 1, name, False), nodes[name].op_ms[cut] * nodes[name].stretch))
            else:
                graph[cut, name, False].append(((cut, name, True), 0.0))
        for link in problem.links:
            ms = link.rtt_ms / 2 + 8 * size / (1000 * link.mbps)
            graph[cut, link.src, cut == ops].append(((cut, link.dst, cut == ops), ms))
    goal = (ops, problem.origin, True)
    queue = [(0.0, (0, problem.origin, False))]
    settled = set()
    while queue:
        ms, state = heapq.heappop(queue)
        if state == goal:
            return ms / sum(nodes[problem.origin].op_ms)
        if state not in settled:
            settled.add(state)
            for after, step_ms in graph[state]:
                heapq.heappush(queue, (ms + step_ms, after))
    raise AssertionError("the origin can always run everything")


def mixed_integer(problem: Problem) -> float:
    """The objective by the mixed-integer program; these problems all have a plan."""
    least = least_objective(problem)
    assert least is not None
    return least


def hurried(count: int) -> list[Problem]:
    """Problems whose deadline binds."""
    made = (with_deadline(random_problem(seed, 65, 3)) for seed in itertools.count())
    return list(itertools.islice(filter(None, made), count))


def timed_ms(decide: Callable[[Problem], T], problem: Problem) -> tuple[float, T]:
    """How long deciding the problem takes in ms of processor time, whatever else the machine does; and the outcome."""
    begun = time.process_time()
    outcome = decide(problem)
    return (time.process_time() - begun) * 1000, outcome


def objective_of(strategy: Strategy) -> Reference:
    """A strategy as a reference."""
    return lambda problem: strategy(problem).score.objective


def row(
    label: str, problems: list[Problem], name: str = "", reference: Callable[[Problem], float] | None = None
) -> Figure:
    """Print the medians of the exact planner and of a reference, and how much worse the reference's plans are."""
    exact = [timed_ms(plan, problem) for problem in problems]
    reference_ms = None
    exact_ms = statistics.median(ms for ms, _ in exact)
    line = f"{label:42} {exact_ms:9.2f}"
    if reference:
        found = [timed_ms(reference, problem) for problem in problems]
        reference_ms = statistics.median(ms for ms, _ in found)
        worse = [objective / ours.score.objective - 1.0 for (_, objective), (_, ours) in zip(found, exact, strict=True)]
        assert min(worse) > -SAME, f"{name} beats the exact planner"
        assert name not in OPTIMAL or max(worse) < SAME, f"{name} finds no plan as good as the exact planner's"
        mean = statistics.mean(worse)
        line += f"  {name:22} {reference_ms:9.2f} {reference_ms / exact_ms:8.1f} {abs(mean):+9.1%}"
    print(line, flush=True)
    return Figure(f"{label}{' beside ' if name else ''}{name}", exact_ms, "ms", "lower", reference=reference_ms)


def quick() -> list[Figure]:
    """Print a few rows, each with its figure."""
    of_65 = [random_problem(seed, 65, 3) for seed in range(REPEATS)]
    return [
        row("65 ops, 3 nodes, latency", of_65, DIJKSTRA, dijkstra),
        row("65 ops, 3 nodes, latency", of_65[:FEW], MIXED_INTEGER, mixed_integer),
        row("65 ops, 3 nodes, energy and codec", [*map(with_energy_and_codec, of_65)]),
        row("65 ops, 3 nodes, a deadline that binds", hurried(FEW)),
        row("65 ops, 3 nodes, memory that binds", [*map(with_little_memory, of_65[:FEW])]),
        row("65 ops, 3 nodes, 95 % quantile", [*map(with_spread, of_65)]),
        row("65 ops, 3 nodes, throughput", [*map(for_throughput, of_65[:FEW])]),
        row("65 ops, 5 nodes, latency", [random_problem(seed, 65, 5) for seed in range(REPEATS)], DIJKSTRA, dijkstra),
    ]


def main() -> None:
    """Print the table, or some of it, and write the figures where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="some of the rows")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    print(f"median ms of processor time, of {REPEATS} random problems each, or of {FEW} where it takes long")
    print("ratio: the reference's time to exact's; worse: how much dearer the reference's plans are by the objective")
    print(f"{'problem':42} {'exact':>9}  {'reference':22} {'ms':>9} {'ratio':>8} {'worse':>9}")
    figures = quick() if options.quick else whole()
    if options.json is not None:
        write(options.json, figures)


def whole() -> list[Figure]:
    """Print all rows, each with its figure."""
    figures: list[Figure] = []

    def add(*of: Any) -> None:
        figures.append(row(*of))  # so that a row stays one line

    of_65 = [random_problem(seed, 65, 3) for seed in range(REPEATS)]
    add("65 ops, 3 nodes, latency", of_65, DIJKSTRA, dijkstra)
    add("65 ops, 3 nodes, latency", of_65[:FEW], "every pair of cuts", every_pair_of_cuts)
    add("65 ops, 3 nodes, latency", of_65, MIXED_INTEGER, mixed_integer)
    add("65 ops, 3 nodes, latency", of_65, "neurosurgeon", objective_of(neurosurgeon.plan))
    add("65 ops, 3 nodes, latency", of_65, "dads", objective_of(dads.plan))
    add("65 ops, 3 nodes, reap's objective", [*map(by_reap, of_65)], "reap's every (i, j)", objective_of(reap.plan))
    weighed = [*map(with_energy_and_codec, of_65)]
    add("65 ops, 3 nodes, energy and codec", weighed, MIXED_INTEGER, mixed_integer)
    add("65 ops, 3 nodes, a deadline that binds", hurried(REPEATS), MIXED_INTEGER, mixed_integer)
    scarce = [*map(with_little_memory, of_65)]
    add("65 ops, 3 nodes, memory that binds", scarce)
    add("65 ops, 3 nodes, memory that binds", scarce[:FEW], MIXED_INTEGER, mixed_integer)
    add("65 ops, 3 nodes, 95 % quantile", [*map(with_spread, of_65)])
    add("65 ops, 3 nodes, throughput", [*map(for_throughput, of_65)], MIXED_INTEGER, mixed_integer)
    for ops, nodes in ((65, 5), (155, 3)):
        problems = [random_problem(seed, ops, nodes) for seed in range(REPEATS)]
        add(f"{ops} ops, {nodes} nodes, latency", problems, DIJKSTRA, dijkstra)
        weighed = [*map(with_energy_and_codec, problems)]
        add(f"{ops} ops, {nodes} nodes, energy and codec", weighed)
        add(f"{ops} ops, {nodes} nodes, energy and codec", weighed[:FEW], MIXED_INTEGER, mixed_integer)

    problems = [random_problem(seed, 65, 3) for seed in range(1000)]
    begun = time.process_time()
    for problem in problems:
        plan(problem)
    took_s = time.process_time() - begun
    print(f"1,000 problems of 65 ops on 3 nodes, one after the other: {took_s:.2f} s of processor time")
    figures.append(Figure("1,000 problems of 65 ops on 3 nodes", took_s, "s", "lower"))
    return figures


if __name__ == "__main__":
    main()
