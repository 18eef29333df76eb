"""Planning time of the exact planner, beside two plain planners written here, all in the same run.

References: every pair of cuts (i, j) over three nodes in their order, each plan scored by the cost model, as exhaustive
planners do; and Dijkstra's algorithm over a graph of (cut point, node). Run: python benchmarks/planning.py
"""

import heapq
import itertools
import random
import statistics
import time
from collections.abc import Callable

import msgspec

from coordinator.cost import Stage, evaluate
from coordinator.exact import plan
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem

REPEATS = 20
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
    """The least latency by Dijkstra's algorithm over (cut point, node), the result's way back included; raw only."""
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
            return ms
        if state not in settled:
            settled.add(state)
            for after, step_ms in graph[state]:
                heapq.heappush(queue, (ms + step_ms, after))
    raise AssertionError("the origin can always run everything")


def median_ms(decide: Callable[[Problem], object], problems: list[Problem]) -> float:
    """The median time of deciding one of the problems, in ms."""
    times = []
    for problem in problems:
        begun = time.perf_counter()
        decide(problem)
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    print(f"median of {REPEATS} random problems each; the ratio is the reference's time to the exact planner's")
    print(f"{'problem':44} {'exact ms':>9}  {'reference':22} {'ms':>9} {'ratio':>8}")

    def row(
        label: str, problems: list[Problem], name: str = "", reference: Callable[[Problem], float] | None = None
    ) -> None:
        exact_ms = median_ms(plan, problems)
        line = f"{label:44} {exact_ms:9.2f}"
        if reference:
            reference_ms = median_ms(reference, problems[:3] if reference is every_pair_of_cuts else problems)
            line += f"  {name:22} {reference_ms:9.2f} {reference_ms / exact_ms:8.1f}"
        print(line)

    for ops, nodes in ((65, 3), (65, 5), (155, 3)):
        problems = [random_problem(seed, ops, nodes) for seed in range(REPEATS)]
        for problem in problems:
            objective_ms = plan(problem).score.latency_ms
            assert abs(objective_ms - dijkstra(problem)) < 1e-6 * objective_ms
        label = f"{ops} ops, {nodes} nodes, latency"
        row(label, problems, "Dijkstra", dijkstra)
        if (ops, nodes) == (65, 3):
            row(label, problems, "every pair of cuts", every_pair_of_cuts)
        row(f"{ops} ops, {nodes} nodes, energy and codec", [with_energy_and_codec(problem) for problem in problems])
    problems = [random_problem(seed, 65, 3) for seed in range(REPEATS)]
    hurried = filter(None, (with_deadline(random_problem(seed, 65, 3)) for seed in itertools.count()))
    row("65 ops, 3 nodes, a deadline that binds", list(itertools.islice(hurried, REPEATS)))
    row("65 ops, 3 nodes, memory that binds", [with_little_memory(problem) for problem in problems])

    problems = [random_problem(seed, 65, 3) for seed in range(1000)]
    begun = time.perf_counter()
    for problem in problems:
        plan(problem)
    print(f"1,000 problems of 65 ops on 3 nodes, one after the other: {time.perf_counter() - begun:.2f} s")


if __name__ == "__main__":
    main()
