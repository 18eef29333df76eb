"""A dumb judge of plans, written from the cost model's text alone: tries every assignment, path and codec.

It shares no code with the planner, so that an error in one is not an error in both. JSON in, figures out.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

Json = Any
SLACK = 1 + 1e-9


class Figures(NamedTuple):
    """What a plan costs: ms, J, J, the weighted sum, and what spread and a full pipeline make of the ms."""

    latency_ms: float
    origin_energy_j: float
    total_energy_j: float
    objective: float
    latency_std_ms: float
    latency_quantile_ms: float
    period_ms: float


class Transfer(NamedTuple):
    """Tensors carried along a path of node names by a codec."""

    path: tuple[str, ...]
    codec: str


def simple_paths(problem: Json, src: str, dst: str) -> list[tuple[str, ...]]:
    """Every path over links that visits no node twice; the one path from a node to itself is the node."""
    links = {(link["src"], link["dst"]) for link in problem["links"]}
    others = [node["name"] for node in problem["nodes"] if node["name"] not in (src, dst)]
    if src == dst:
        return [(src,)]
    paths = []
    for count in range(len(others) + 1):
        for relays in itertools.permutations(others, count):
            path = (src, *relays, dst)
            if all(pair in links for pair in itertools.pairwise(path)):
                paths.append(path)
    return paths


def figures(problem: Json, op_nodes: list[str], transfers: dict[int, Transfer], way_back: tuple[str, ...]) -> Figures:
    """The cost model, sentence by sentence, for ops on named nodes, transfers at cut points and a way back."""
    origin = problem["origin"]
    nodes = {node["name"]: node for node in problem["nodes"]}
    links = {(link["src"], link["dst"]): link for link in problem["links"]}
    codecs = {codec["name"]: codec for codec in problem["codecs"]}
    sizes = problem["model"]["bytes"]
    compute = dict.fromkeys(nodes, 0.0)
    radio_j = dict.fromkeys(nodes, 0.0)
    busy_link = dict.fromkeys(links, 0.0)
    variances: list[float] = []

    def carry(path: tuple[str, ...], size: float) -> None:
        for src, dst in itertools.pairwise(path):
            link = links[src, dst]
            bits_ms = 8 * size / (1000 * link["mbps"])
            busy_link[src, dst] += link["rtt_ms"] / 2 + bits_ms
            variances.append((link.get("rtt_ms_std", 0) / 2) ** 2)
            variances.append((bits_ms * link.get("mbps_std", 0) / link["mbps"]) ** 2)
            radio_j[src] += nodes[src].get("tx_j_per_mb", 0) * size / 1e6
            radio_j[dst] += nodes[dst].get("rx_j_per_mb", 0) * size / 1e6

    for op, name in enumerate(op_nodes):
        compute[name] += nodes[name]["op_ms"][op] / (1 - nodes[name].get("load", 0))
        variances.append(op_variance(nodes[name], op))
    for cut, (path, codec_name) in transfers.items():
        codec = codecs[codec_name]
        for name, key in ((path[0], "encode_ms_per_mb"), (path[-1], "decode_ms_per_mb")):
            took = at_cut(codec[key], cut) * (nodes[name].get("codec_factor", 1.0) or 0.0)
            compute[name] += took * sizes[cut] / 1e6 / (1 - nodes[name].get("load", 0))
        carry(path, sizes[cut] * at_cut(codec["ratio"], cut))
    carry(way_back, sizes[-1])

    latency = sum(compute.values()) + sum(busy_link.values())
    quantile = at_quantile(problem, latency, variances)
    period = max([*compute.values(), *busy_link.values()])
    energy = {}
    for name, node in nodes.items():
        idle, busy = node.get("idle_w", 0), node.get("busy_w", 0)
        if name == origin:
            energy[name] = (busy * compute[name] + idle * (latency - compute[name])) / 1000 + radio_j[name]
        else:
            energy[name] = (busy - idle) * compute[name] / 1000 + radio_j[name]
    alone_ms = sum(nodes[origin]["op_ms"]) / (1 - nodes[origin].get("load", 0))
    alone_j = nodes[origin].get("busy_w", 0) * alone_ms / 1000
    alone_quantile = at_quantile(problem, alone_ms, [op_variance(nodes[origin], op) for op in range(len(op_nodes))])
    weights = problem["objective"]
    objective = 0.0
    for weight, value, alone in (
        (weights["latency"], quantile, alone_quantile),
        (weights["origin_energy"], energy[origin], alone_j),
        (weights["total_energy"], sum(energy.values()), alone_j),
        (weights.get("throughput", 0), period, alone_ms),
    ):
        if weight:
            objective += weight * value / alone
    std = math.sqrt(math.fsum(variances))
    return Figures(latency, energy[origin], sum(energy.values()), objective, std, quantile, period)


def at_cut(figure: Json, cut: int) -> Any:
    """A codec's figure at one cut point: the same number everywhere, or one of a list."""
    return figure[cut] if isinstance(figure, list) else figure


def may_pack(problem: Json, transfer: Transfer, cut: int) -> bool:
    """Whether the codec is allowed at the cut, and both ends of the path know codecs; raw always is."""
    if transfer.codec == "raw":
        return True
    codec = next(codec for codec in problem["codecs"] if codec["name"] == transfer.codec)
    ends = [node for node in problem["nodes"] if node["name"] in (transfer.path[0], transfer.path[-1])]
    return at_cut(codec["ratio"], cut) is not None and all(node.get("codec_factor", 1.0) is not None for node in ends)


def op_variance(node: Json, op: int) -> float:
    """The variance of one op's time: load stretches its deviation as it stretches the time."""
    deviations = node.get("op_ms_std") or [0.0] * len(node["op_ms"])
    return float((deviations[op] / (1 - node.get("load", 0))) ** 2)


def at_quantile(problem: Json, mean_ms: float, variances: list[float]) -> float:
    """The quantile that the problem's risk asks for, of a normal latency; the mean without risk."""
    if problem.get("risk") is None:
        return mean_ms
    std = math.sqrt(math.fsum(variances))
    return NormalDist(mean_ms, std).inv_cdf(problem["risk"]) if std else mean_ms


def returned(problem: Json, op_nodes: list[str], transfers: dict[int, Transfer]) -> Figures | None:
    """The figures with the way back that costs the objective least, the quickest of equals; None if there is no way."""
    ways = [
        figures(problem, op_nodes, transfers, path) for path in simple_paths(problem, op_nodes[-1], problem["origin"])
    ]
    if not ways:
        return None
    least = min(way.objective for way in ways)
    # Sums in another order differ in the last digits, so equals are those within rounding.
    equals = [way for way in ways if way.objective <= least + 1e-12 * max(1.0, abs(least))]
    return min(equals, key=lambda way: way.latency_quantile_ms)


def fits(problem: Json, op_nodes: list[str]) -> bool:
    """Whether each node's weights keep its memory."""
    weights = problem["model"].get("weight_mb") or [0.0] * len(op_nodes)
    for node in problem["nodes"]:
        bound = node.get("memory_mb")
        used = math.fsum(weight for weight, name in zip(weights, op_nodes, strict=True) if name == node["name"])
        if bound is not None and used > bound * SLACK:
            return False
    return True


def every(problem: Json) -> Iterator[Figures]:
    """The figures of every plan that keeps the memory bounds and the forbidden cuts, whatever the deadline."""
    names = [node["name"] for node in problem["nodes"]]
    ops = len(problem["model"]["bytes"]) - 1
    forbidden = problem["model"].get("forbidden_cuts", [])
    paths = {pair: simple_paths(problem, *pair) for pair in itertools.permutations(names, 2)}
    for op_nodes in itertools.product(names, repeat=ops):
        if not fits(problem, list(op_nodes)):
            continue
        makers = (problem["origin"], *op_nodes)
        cuts = [cut for cut in range(ops) if makers[cut] != makers[cut + 1]]
        if any(cut in forbidden for cut in cuts):
            continue
        choices = [
            [
                transfer
                for path in paths[makers[cut], makers[cut + 1]]
                for codec in problem["codecs"]
                if may_pack(problem, transfer := Transfer(path, codec["name"]), cut)
            ]
            for cut in cuts
        ]
        for chosen in itertools.product(*choices):
            candidate = returned(problem, list(op_nodes), dict(zip(cuts, chosen, strict=True)))
            if candidate is not None:
                yield candidate


def least(plans: Iterable[Figures], deadline_ms: float | None) -> Figures | None:
    """The best of these plans that keeps the deadline; None if none does."""
    in_time = (plan for plan in plans if deadline_ms is None or plan.latency_quantile_ms <= deadline_ms * SLACK)
    return min(in_time, key=lambda plan: plan.objective, default=None)


def best(problem: Json) -> Figures | None:
    """The figures of the best plan that keeps every bound, by trying them all; None if there is none."""
    return least(every(problem), problem.get("deadline_ms"))
