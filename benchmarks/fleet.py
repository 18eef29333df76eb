"""Fleets that share fog and cloud nodes: how long planning takes, and what it gains over everyone for himself.

References in the same run: each deployment planned alone, one after the other, by the exact planner, until all stay
("selfish"); and, for two to four small ones, every combination of plans. Run: python benchmarks/fleet.py
"""

import itertools
import math
import random
import statistics
import sys
import time
from pathlib import Path

import msgspec

from coordinator import exact
from coordinator.cost import Stage, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.fleet import Member, loads_of, plan_fleet, under_loads, utilisation
from coordinator.problem import Link, Model, Node, Problem

# The judge of small fleets is the tests' own, so that both speak of the same cases.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "coordinator"))
from small_fleets import best_joint_objective, small_fleet

OPS = 65
SMALL_CASES = 200
MOST_PASSES = 10


def fleet(seed: int, count: int, requests_per_s: float) -> list[Member]:
    """Deployments of one model of 65 ops, each with a Pi-like origin and links of its own, sharing two nodes."""
    dice = random.Random(seed)  # no secret
    shape = [dice.uniform(0.3, 3.0) for _ in range(OPS)]
    model = Model(
        cut_bytes=tuple(dice.uniform(5e3, 1.2e6) * (1 - 0.9 * cut / OPS) for cut in range(OPS + 1)),
        weight_mb=tuple(dice.uniform(0.01, 0.5) for _ in range(OPS)),
    )
    fog, cloud = (
        Node(
            name=name,
            op_ms=tuple(ms * speed * dice.uniform(0.7, 1.4) for ms in shape),
            idle_w=idle_w,
            busy_w=busy_w,
        )
        for name, speed, idle_w, busy_w in (("fog", 0.25, 9.0, 28.0), ("cloud", 0.08, 45.0, 120.0))
    )
    return [_member(dice, number, model, (fog, cloud), shape, requests_per_s) for number in range(count)]


def _member(  # noqa: PLR0917 - all that deployments of one fleet share
    dice: random.Random, number: int, model: Model, shared: tuple[Node, Node], shape: list[float], requests_per_s: float
) -> Member:
    slower = dice.uniform(0.7, 1.4)
    origin = Node(
        name=f"pi{number}",
        op_ms=tuple(ms * slower for ms in shape),
        idle_w=2.7,
        busy_w=6.4,
        tx_j_per_mb=0.1,
        rx_j_per_mb=0.1,
    )
    nodes = (origin, *shared)
    links = tuple(
        Link(src=src.name, dst=dst.name, rtt_ms=dice.uniform(1, 20), mbps=dice.uniform(20, 200))
        for src, dst in itertools.permutations(nodes, 2)
    )
    problem = Problem(model=model, origin=origin.name, nodes=nodes, links=links)
    return Member(f"deployment{number}", problem, requests_per_s * dice.uniform(0.5, 1.5))


def with_other_links(member: Member, dice: random.Random) -> Member:
    """The deployment when its bandwidths have changed by up to a fifth."""
    links = tuple(
        msgspec.structs.replace(link, mbps=link.mbps * dice.uniform(0.8, 1.2)) for link in member.problem.links
    )
    return Member(member.name, msgspec.structs.replace(member.problem, links=links), member.requests_per_s)


def selfish(members: list[Member]) -> float | None:
    """The joint objective where each plans exactly under the others' loads, in turn, until all stay; None on overload.

    The first pass begins with empty nodes; memory counts as what the others leave.
    """
    loads = {node.name: node.load for member in members for node in member.problem.nodes}
    left_mb = {node.name: node.memory_mb for member in members for node in member.problem.nodes}
    plans: dict[str, tuple[Stage, ...]] = {}
    for _ in range(MOST_PASSES):
        moved = False
        for member in members:
            problem = member.problem
            now = plans.get(member.name)
            if now is not None:
                _book(member, now, loads, left_mb, -1.0)
            if any(loads[node.name] >= 1.0 for node in problem.nodes):
                return None
            room = tuple(
                msgspec.structs.replace(node, load=max(loads[node.name], node.load), memory_mb=left_mb[node.name])
                for node in problem.nodes
            )
            seen = msgspec.structs.replace(problem, nodes=room)
            try:
                best = exact.plan(seen)
            except PlanInfeasibleError:
                return None
            if now is None or best.score.objective < evaluate(seen, now).objective * (1 - 1e-9):
                now, moved = best.stages, True
            plans[member.name] = now
            _book(member, now, loads, left_mb, 1.0)
        if not moved:
            break
    return joint_objective(members, [plans[member.name] for member in members])


def _book(
    member: Member,
    stages: tuple[Stage, ...],
    loads: dict[str, float],
    left_mb: dict[str, float | None],
    sign: float,
) -> None:
    for name, share in utilisation(member.problem, stages, member.requests_per_s).items():
        loads[name] += sign * share
    for stage in stages:
        room_mb = left_mb[stage.node]
        if room_mb is not None:
            weight_mb = sum(member.problem.model.weight_mb[stage.start : stage.stop])
            left_mb[stage.node] = max(0.0, room_mb - sign * weight_mb)


def joint_objective(members: list[Member], plans: list[tuple[Stage, ...]]) -> float | None:
    """The sum of the members' objectives under each other's loads; None if a node is overloaded."""
    loads = loads_of(members, plans)
    if max(loads.values()) >= 1.0:
        return None
    total = 0.0
    for member, stages in zip(members, plans, strict=True):
        own = utilisation(member.problem, stages, member.requests_per_s)
        others = {node.name: loads[node.name] - node.load - own[node.name] for node in member.problem.nodes}
        total += evaluate(under_loads(member.problem, others), stages).objective
    return total


def speed(count: int, requests_per_s: float) -> None:
    """One line: times and objectives of a fleet."""
    members = fleet(1, count, requests_per_s / count)
    begun = time.process_time()
    found = plan_fleet(members)
    took_s = time.process_time() - begun
    dice = random.Random(2)  # no secret
    later = [with_other_links(member, dice) for member in members]
    begun = time.process_time()
    again = plan_fleet(later, before=found.stages)
    again_s = time.process_time() - begun
    afresh = plan_fleet(later)
    line = f"{count:7,d} {requests_per_s:7.0f} {took_s:8.3f} {found.rounds:6d} {found.objective / count:9.4f} "
    line += f"{found.loads['fog']:6.2f} {found.loads['cloud']:6.2f} "
    line += f"{again_s:8.3f} {again.objective / afresh.objective:8.4f}"
    if count <= 1_000:
        begun = time.process_time()
        theirs = selfish(members)
        selfish_s = time.process_time() - begun
        line += f" {selfish_s:9.2f} " + (f"{theirs / count:9.4f}" if theirs is not None else "overloads".rjust(9))
    begun = time.process_time()
    alone = math.fsum(exact.plan(member.problem).score.objective for member in members)
    alone_s = time.process_time() - begun
    print(f"{line:103} {alone_s:8.2f} {alone / count:9.4f}")


def together(members: list[Member]) -> float | None:
    """The joint objective as planned; None if no plan is found."""
    try:
        return plan_fleet(members).objective
    except PlanInfeasibleError:
        return None


def by_prices(members: list[Member]) -> float | None:
    """The joint objective of one change at a time, by the prices, as large fleets are planned; None without a plan."""
    try:
        return plan_fleet(members, before={}).objective
    except PlanInfeasibleError:
        return None


WAYS = {"planned together": together, "one change at a time": by_prices, "selfish": selfish}


def gaps() -> None:
    """How far small fleets are from the best of all combinations: as planned, by the prices alone, and selfish."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    none = dict.fromkeys(found, 0)
    infeasible = 0
    for seed in range(SMALL_CASES):
        members = small_fleet(seed)
        best = best_joint_objective(members)
        if best == math.inf:
            infeasible += 1
            continue
        for name, shares in found.items():
            objective = WAYS[name](members)
            if objective is None:
                none[name] += 1
            else:
                shares.append(objective / best - 1)
    print(f"\ngap to the best of all combinations of plans, {SMALL_CASES - infeasible} fleets of 2 to 4 deployments")
    print(f"of 2 to 5 ops on 3 nodes that share fog and cloud ({infeasible} more have no plan at all, by any means)")
    print(f"{'':22} {'mean':>9} {'largest':>9} {'no gap':>8} {'no plan':>8}")
    for name, shares in found.items():
        exact_share = sum(share < 1e-9 for share in shares) / len(shares)
        print(f"{name:22} {statistics.mean(shares):9.3%} {max(shares):9.2%} {exact_share:8.1%} {none[name]:8d}")


def main() -> None:
    """Print both tables."""
    print(f"{OPS} ops, 3 nodes each (its own origin, one fog and one cloud for all); CPU seconds on one core;")
    print("objective: mean latency relative to the origin alone. `alone` is each one's best with nobody else there,")
    print(
        "which no joint plan can beat. `again`: every bandwidth has changed by up to a fifth, planned from the plans in"
    )
    print("force; its objective is relative to planning afresh.")
    print(f"{'fleet':>7} {'req/s':>7} {'joint s':>8} {'rounds':>6} {'objective':>9} {'fog':>6} {'cloud':>6}", end=" ")
    print(f"{'again s':>8} {'relative':>8} {'selfish s':>9} {'objective':>9} {'alone s':>8} {'objective':>9}")
    for count in (10, 100, 1_000, 10_000):
        for requests_per_s in (50.0, 100.0, 200.0):
            speed(count, requests_per_s)
    gaps()


if __name__ == "__main__":
    main()
