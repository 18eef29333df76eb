"""Time and size of the whole Pareto front, on random problems of 65 ops, three nodes and two codecs.

Networks of three speeds, spreads, a deadline and memory bounds are compared. Run: python benchmarks/front.py
"""

import statistics
import time
from collections.abc import Callable

import msgspec
from planning import random_problem, with_energy_and_codec

from coordinator.pareto import pareto_front
from coordinator.problem import Problem

REPEATS = 10
OPS, NODES = 65, 3


def with_links(problem: Problem, factor: float) -> Problem:
    """The problem over links that are faster by a factor, and as much quicker to answer."""
    links = tuple(
        msgspec.structs.replace(link, rtt_ms=link.rtt_ms / factor, mbps=link.mbps * factor) for link in problem.links
    )
    return msgspec.structs.replace(problem, links=links)


def with_risk(problem: Problem) -> Problem:
    """The problem with spreads of a fifth, planned on the 95 % quantile."""
    nodes = tuple(msgspec.structs.replace(node, op_ms_std=tuple(ms / 5 for ms in node.op_ms)) for node in problem.nodes)
    links = tuple(
        msgspec.structs.replace(link, rtt_ms_std=link.rtt_ms / 5, mbps_std=link.mbps / 5) for link in problem.links
    )
    return msgspec.structs.replace(problem, nodes=nodes, links=links, risk=0.95)


def with_deadline(problem: Problem) -> Problem:
    """The problem with a deadline in the middle of its front."""
    front = pareto_front(problem)
    return msgspec.structs.replace(problem, deadline_ms=front[len(front) // 2].score.latency_ms)


def with_memory(problem: Problem, *shares: float | None) -> Problem:
    """The problem with nodes that hold these shares of the weights."""
    total_mb = sum(problem.model.weight_mb)
    nodes = tuple(
        msgspec.structs.replace(node, memory_mb=share and share * total_mb)
        for node, share in zip(problem.nodes, shares, strict=True)
    )
    return msgspec.structs.replace(problem, nodes=nodes)


def main() -> None:
    """Print the table."""
    print(f"{REPEATS} random problems each of {OPS} ops, {NODES} nodes, 2 codecs")
    print(f"{'problem':44} {'median ms':>9} {'max ms':>9} {'median plans':>13} {'max plans':>10}")
    cases: tuple[tuple[str, Callable[[Problem], Problem]], ...] = (
        ("links of 20 to 200 Mbit/s", lambda problem: problem),
        ("links ten times as fast", lambda problem: with_links(problem, 10)),
        ("links a hundred times as fast", lambda problem: with_links(problem, 100)),
        ("links ten times as fast, risk 0.95", lambda problem: with_risk(with_links(problem, 10))),
        ("links ten times as fast, a deadline", lambda problem: with_deadline(with_links(problem, 10))),
        ("the origin holds a half of the weights", lambda problem: with_memory(problem, 0.5, None, None)),
        ("both others hold a third of the weights", lambda problem: with_memory(problem, None, 0.34, 0.34)),
        ("no node holds more than a half", lambda problem: with_memory(problem, 0.5, 0.34, 0.34)),
    )
    for label, changed in cases:
        times, sizes = [], []
        for seed in range(REPEATS):
            problem = changed(with_energy_and_codec(random_problem(seed, OPS, NODES)))
            begun = time.perf_counter()
            front = pareto_front(problem)
            times.append((time.perf_counter() - begun) * 1000)
            sizes.append(len(front))
        median_ms, median_plans = statistics.median(times), statistics.median(sizes)
        print(f"{label:44} {median_ms:9.1f} {max(times):9.1f} {median_plans:13g} {max(sizes):10}")


if __name__ == "__main__":
    main()
