"""The planning problem as a mixed-integer program, for SciPy's `milp` (HiGHS): written from the cost model alone.

It shares no table and no search with the planner. It knows no risk, and no deadline together with throughput.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from coordinator.problem import Node, Problem

RELATIVE_GAP = 1e-9
OPTIMAL, INFEASIBLE = 0, 2  # the statuses of scipy.optimize.milp

Pair = tuple[str, str]
Terms = list[tuple[int, float]]
"""Variables by their number, each with its coefficient."""
Figures = tuple[float, float, float]
"""Latency in ms, the origin's energy and the total energy in J."""
NOTHING = (0.0, 0.0, 0.0)


class _Program:
    """Binary variables, each with its part of the latency and of the objective, and rows of bounded sums of them."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.nodes = {node.name: node for node in problem.nodes}
        self.links = {(link.src, link.dst): link for link in problem.links}
        self.origin = self.nodes[problem.origin]
        self.alone_ms = sum(self.origin.op_ms) / (1 - self.origin.load)
        self.latency_ms: list[float] = []
        self.cost: list[float] = []
        self.whole: list[bool] = []
        self.rows: list[tuple[Terms, float, float]] = []
        self.busy_ms: dict[str | Pair, Terms] = {}
        """The variables that keep a node, or a link, busy, and for how long."""

    def add(self, figures: Figures = NOTHING) -> int:
        """A new variable by what it adds to latency and energies, idling of the origin apart; its number."""
        self.latency_ms.append(figures[0])
        self.cost.append(self.price(figures))
        self.whole.append(True)
        return len(self.cost) - 1

    def add_compute(self, node: Node, ms: float) -> int:
        """A variable that makes a node compute for so long, before its load stretches it."""
        took_ms = ms / (1 - node.load)
        joules = (node.busy_w - node.idle_w) * took_ms / 1000
        variable = self.add((took_ms, joules if node is self.origin else 0.0, joules))
        self.busy_ms.setdefault(node.name, []).append((variable, took_ms))
        return variable

    def add_transfer(self, path: Sequence[str], size: float) -> int:
        """A variable that carries so many bytes along a path of nodes."""
        variable = self.add(self.carry(path, size))
        for pair in itertools.pairwise(path):
            self.busy_ms.setdefault(pair, []).append((variable, self.carry(pair, size)[0]))
        return variable

    def add_period(self, weight: float) -> int:
        """The variable of the pipeline's period in ms, the only one that is not binary."""
        variable = self.add()
        self.cost[variable], self.whole[variable] = weight / self.alone_ms, False
        return variable

    def price(self, figures: Figures) -> float:
        """What this adds to the objective, idling of the origin included."""
        ms, origin_j, total_j = figures
        weights, idle_j = self.problem.objective, self.origin.idle_w * ms / 1000
        alone_j = self.origin.busy_w * self.alone_ms / 1000
        price = weights.latency * ms / self.alone_ms
        if weights.origin_energy:
            price += weights.origin_energy * (origin_j + idle_j) / alone_j
        if weights.total_energy:
            price += weights.total_energy * (total_j + idle_j) / alone_j
        return price

    def carry(self, path: Sequence[str], size: float) -> Figures:
        """Latency and energies of carrying so many bytes along a path of nodes."""
        nodes, links = self.nodes, self.links
        ms = origin_j = total_j = 0.0
        for src, dst in itertools.pairwise(path):
            ms += links[src, dst].rtt_ms / 2 + 8 * size / (1000 * links[src, dst].mbps)
            for name, joules in (
                (src, nodes[src].tx_j_per_mb * size / 1e6),
                (dst, nodes[dst].rx_j_per_mb * size / 1e6),
            ):
                total_j += joules
                origin_j += joules if name == self.origin.name else 0.0
        return ms, origin_j, total_j


def least_objective(problem: Problem) -> float | None:
    """The objective of the best plan, proven to RELATIVE_GAP; None if no plan keeps the bounds."""
    program = _Program(problem)
    nodes, weights_mb = problem.nodes, problem.model.weight_mb
    stored_mb: dict[str, Terms] = {node.name: [] for node in nodes}
    before: dict[str, int] = {}
    for op in range(problem.model.ops):
        runs = {node.name: program.add_compute(node, node.op_ms[op]) for node in nodes}
        if weights_mb:
            for name, run in runs.items():
                stored_mb[name].append((run, weights_mb[op]))
        _move(program, op, before, runs)
        before = runs
    for name, ways in _ways_back(program).items():
        # The result returns from where the last op ran; where no way leads back, it cannot have run.
        returns = [(program.add_transfer(way, problem.model.cut_bytes[-1]), 1.0) for way in ways]
        program.rows.append(([*returns, (before[name], -1.0)], 0.0, 0.0))
    for node in nodes:
        if node.memory_mb is not None and weights_mb:
            program.rows.append((stored_mb[node.name], -math.inf, node.memory_mb))
    if problem.deadline_ms is not None:
        program.rows.append((list(enumerate(program.latency_ms)), -math.inf, problem.deadline_ms))
    if problem.objective.throughput:
        period = program.add_period(problem.objective.throughput)
        program.rows += (([*terms, (period, -1.0)], -math.inf, 0.0) for terms in program.busy_ms.values())
    return _solve(program)


def _move(program: _Program, cut: int, before: Mapping[str, int], runs: Mapping[str, int]) -> None:
    """Between two ops the tensors stay, or are packed by a codec, pass over links so, and are unpacked elsewhere.

    What leaves each node equals what came to it, packed and unpacked apart; before op 0 all is on the origin.
    """
    problem = program.problem
    size = problem.model.cut_bytes[cut]
    leaving: dict[str, Terms] = {node.name: [] for node in problem.nodes}
    arriving: dict[str, Terms] = {node.name: [] for node in problem.nodes}
    for node in problem.nodes:
        stays = program.add()
        leaving[node.name].append((stays, 1.0))
        arriving[node.name].append((stays, 1.0))
    codecs = problem.codecs if cut not in problem.model.forbidden_cuts else ()
    for packing in (packing for codec in codecs if (packing := codec.at(cut)) is not None):
        packed: dict[str, Terms] = {node.name: [] for node in problem.nodes}
        for node in problem.nodes:
            factor = 1.0 if packing.is_free else node.codec_factor
            if factor is None:
                continue
            packs = program.add_compute(node, factor * packing.encode_ms_per_mb * size / 1e6)
            unpacks = program.add_compute(node, factor * packing.decode_ms_per_mb * size / 1e6)
            leaving[node.name].append((packs, 1.0))
            arriving[node.name].append((unpacks, 1.0))
            packed[node.name] += [(packs, 1.0), (unpacks, -1.0)]
        for link in problem.links:
            hops = program.add_transfer((link.src, link.dst), size * packing.ratio)
            packed[link.src].append((hops, -1.0))
            packed[link.dst].append((hops, 1.0))
        program.rows += ((terms, 0.0, 0.0) for terms in packed.values())
    for name, run in runs.items():
        if before:
            program.rows.append(([*leaving[name], (before[name], -1.0)], 0.0, 0.0))
        else:
            held = 1.0 if name == problem.origin else 0.0
            program.rows.append((leaving[name], held, held))
        program.rows.append(([*arriving[name], (run, -1.0)], 0.0, 0.0))


def _ways_back(program: _Program) -> dict[str, list[tuple[str, ...]]]:
    """By node, the ways of the result to the origin that may be taken.

    That is the one of least objective, and of equals the quickest; for throughput, where it hangs on the plan, all may.
    """
    problem = program.problem
    found: dict[str, list[tuple[str, ...]]] = {node.name: [] for node in problem.nodes}
    frontier: list[tuple[str, ...]] = [(problem.origin,)]
    while frontier:
        path = frontier.pop()
        found[path[0]].append(path)
        frontier += ((link.src, *path) for link in problem.links if link.dst == path[0] and link.src not in path)
    if problem.objective.throughput:
        return found

    def dearness(way: tuple[str, ...]) -> tuple[float, float]:
        figures = program.carry(way, problem.model.cut_bytes[-1])
        return program.price(figures), figures[0]

    return {name: [min(ways, key=dearness)] if ways else [] for name, ways in found.items()}


def _solve(program: _Program) -> float | None:
    entries = [(row, *term) for row, (terms, _, _) in enumerate(program.rows) for term in terms]
    rows, columns, coefficients = zip(*entries, strict=True)
    shape = (len(program.rows), len(program.cost))
    lower, upper = ([row[side] for row in program.rows] for side in (1, 2))
    whole = numpy.array(program.whole)
    result = milp(
        numpy.array(program.cost),
        constraints=LinearConstraint(coo_array((coefficients, (rows, columns)), shape=shape).tocsr(), lower, upper),
        integrality=whole,
        bounds=Bounds(0.0, numpy.where(whole, 1.0, numpy.inf)),
        options={"mip_rel_gap": RELATIVE_GAP},
    )
    if result.status == INFEASIBLE:
        return None
    if result.status != OPTIMAL:
        raise RuntimeError(f"milp gave up: {result.message}")
    return float(result.fun)
