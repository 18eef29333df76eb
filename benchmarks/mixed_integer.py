"""The planning problem as a mixed-integer program, for SciPy's `milp` (HiGHS): written from the cost model alone.

It shares no table and no search with the planner that it is compared with. It knows neither risk nor throughput.
"""

import heapq
import math

import numpy
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from coordinator.problem import Node, Problem

RELATIVE_GAP = 1e-9
OPTIMAL, INFEASIBLE = 0, 2  # the statuses of scipy.optimize.milp

Pair = tuple[str, str]
Terms = list[tuple[int, float]]
"""Variables by their number, each with its coefficient."""


class _Program:
    """Binary variables, each with its part of the latency and of the objective, and rows of bounded sums of them."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.origin = problem.nodes[problem.origin_index]
        self.latency_ms: list[float] = []
        self.cost: list[float] = []
        self.rows: list[tuple[Terms, float, float]] = []

    def add(self, ms: float, origin_j: float, total_j: float) -> int:
        """A new variable by what it adds to latency and energies, idling of the origin apart; its number."""
        self.latency_ms.append(ms)
        self.cost.append(self.price(ms, origin_j, total_j))
        return len(self.cost) - 1

    def price(self, ms: float, origin_j: float, total_j: float) -> float:
        """What this adds to the objective, idling of the origin included."""
        weights, idle_j = self.problem.objective, self.origin.idle_w * ms / 1000
        alone_ms = sum(self.origin.op_ms) / (1 - self.origin.load)
        alone_j = self.origin.busy_w * alone_ms / 1000
        price = weights.latency * ms / alone_ms
        if weights.origin_energy:
            price += weights.origin_energy * (origin_j + idle_j) / alone_j
        if weights.total_energy:
            price += weights.total_energy * (total_j + idle_j) / alone_j
        return price

    def compute(self, node: Node, ms: float) -> tuple[float, float, float]:
        """Latency and energies of computing on a node for so long, before its load stretches it."""
        took_ms = ms / (1 - node.load)
        joules = (node.busy_w - node.idle_w) * took_ms / 1000
        return took_ms, joules if node is self.origin else 0.0, joules

    def carry(self, pair: Pair, size: float) -> tuple[float, float, float]:
        """Latency and energies of carrying so many bytes over a link."""
        link = next(link for link in self.problem.links if (link.src, link.dst) == pair)
        nodes = {node.name: node for node in self.problem.nodes}
        sent_j, received_j = nodes[pair[0]].tx_j_per_mb * size / 1e6, nodes[pair[1]].rx_j_per_mb * size / 1e6
        origin_j = (sent_j if pair[0] == self.origin.name else 0.0) + (
            received_j if pair[1] == self.origin.name else 0.0
        )
        return link.rtt_ms / 2 + 8 * size / (1000 * link.mbps), origin_j, sent_j + received_j


def least_objective(problem: Problem) -> float | None:
    """The objective of the best plan, proven to RELATIVE_GAP; None if no plan keeps the bounds."""
    program = _Program(problem)
    back = _ways_back(program)
    before: dict[str, Terms] = {node.name: [] for node in problem.nodes}
    stored: dict[str, Terms] = {node.name: [] for node in problem.nodes}
    for op in range(problem.model.ops):
        last = op == problem.model.ops - 1
        runs = {}
        for node in problem.nodes:
            figures = program.compute(node, node.op_ms[op])
            if last:
                way = back.get(node.name)
                if way is None:
                    continue
                figures = (figures[0] + way[0], figures[1] + way[1], figures[2] + way[2])
            runs[node.name] = program.add(*figures)
            if problem.model.weight_mb:
                stored[node.name].append((runs[node.name], problem.model.weight_mb[op]))
        _move(program, op, before, problem.origin if op == 0 else None, runs)
        before = {name: [(run, 1.0)] for name, run in runs.items()}
    for node in problem.nodes:
        if node.memory_mb is not None and stored[node.name]:
            program.rows.append((stored[node.name], -math.inf, node.memory_mb))
    if problem.deadline_ms is not None:
        program.rows.append((list(enumerate(program.latency_ms)), -math.inf, problem.deadline_ms))
    return _solve(program)


def _move(program: _Program, cut: int, before: dict[str, Terms], fixed: str | None, runs: dict[str, int]) -> None:
    """Between two ops the tensors stay, or are packed by a codec, pass over links so, and are unpacked elsewhere.

    What leaves each node equals what came to it, packed and unpacked apart; before op 0 all is on the node `fixed`.
    """
    problem = program.problem
    size = problem.model.cut_bytes[cut]
    leaving: dict[str, Terms] = {node.name: [] for node in problem.nodes}
    arriving: dict[str, Terms] = {node.name: [] for node in problem.nodes}
    for node in problem.nodes:
        stays = program.add(0.0, 0.0, 0.0)
        leaving[node.name].append((stays, 1.0))
        arriving[node.name].append((stays, 1.0))
    if cut not in problem.model.forbidden_cuts:
        for codec in problem.codecs:
            packed: dict[str, Terms] = {node.name: [] for node in problem.nodes}
            for node in problem.nodes:
                packs = program.add(*program.compute(node, codec.encode_ms_per_mb * size / 1e6))
                unpacks = program.add(*program.compute(node, codec.decode_ms_per_mb * size / 1e6))
                leaving[node.name].append((packs, 1.0))
                arriving[node.name].append((unpacks, 1.0))
                packed[node.name] += [(packs, 1.0), (unpacks, -1.0)]
            for link in problem.links:
                hops = program.add(*program.carry((link.src, link.dst), size * codec.ratio))
                packed[link.src].append((hops, -1.0))
                packed[link.dst].append((hops, 1.0))
            program.rows += ((terms, 0.0, 0.0) for terms in packed.values())
    for node in problem.nodes:
        held = 1.0 if node.name == fixed else 0.0
        came = [(variable, -coefficient) for variable, coefficient in before.get(node.name, [])]
        program.rows.append((leaving[node.name] + came, held, held))
        ran = [(runs[node.name], -1.0)] if node.name in runs else []
        program.rows.append((arriving[node.name] + ran, 0.0, 0.0))


def _ways_back(program: _Program) -> dict[str, tuple[float, float, float]]:
    """By the last stage's node: latency and energies of the way back that costs the objective least, by Dijkstra."""
    problem = program.problem
    found: dict[str, tuple[float, float, float]] = {}
    queue = [(0.0, 0.0, problem.origin, (0.0, 0.0, 0.0))]
    while queue:
        _, _, name, figures = heapq.heappop(queue)
        if name in found:
            continue
        found[name] = figures
        for link in problem.links:
            if link.dst == name and link.src not in found:
                ms, origin_j, total_j = program.carry((link.src, link.dst), problem.model.cut_bytes[-1])
                longer = (figures[0] + ms, figures[1] + origin_j, figures[2] + total_j)
                heapq.heappush(queue, (program.price(*longer), longer[0], link.src, longer))
    return found


def _solve(program: _Program) -> float | None:
    places = [(row, variable) for row, (terms, _, _) in enumerate(program.rows) for variable, _ in terms]
    coefficients = [coefficient for terms, _, _ in program.rows for _, coefficient in terms]
    shape = (len(program.rows), len(program.cost))
    matrix = coo_array((coefficients, tuple(zip(*places, strict=True))), shape=shape).tocsr()
    lower, upper = ([row[side] for row in program.rows] for side in (1, 2))
    result = milp(
        numpy.array(program.cost),
        constraints=LinearConstraint(matrix, lower, upper),
        integrality=numpy.ones(len(program.cost)),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": RELATIVE_GAP},
    )
    if result.status == INFEASIBLE:
        return None
    if result.status != OPTIMAL:
        raise RuntimeError(f"milp gave up: {result.message}")
    return float(result.fun)
