"""What a plan takes, apart from any load, and what that comes to under given loads, in closed form.

So the search can weigh thousands of plans a second; what is reported is scored by coordinator.cost.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from coordinator.cost import Stage, evaluate
from coordinator.fleet_load import MS_PER_S, Member, compute_ms, transfers
from coordinator.prices import BITS_PER_BYTE, BITS_PER_MBPS_MS, Hop, prices_of, within


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a member pays for what a plan takes; sequences have a figure for each of its nodes, in their order.

    Prices are of its objective, relative to its origin-only figures under its nodes' own loads.
    """

    machines: tuple[int, ...]
    compute_price: tuple[float, ...]
    """Of a ms of stretched compute."""
    load_per_ms: float
    """The utilisation that a ms of compute causes at its rate of requests."""
    hops: tuple[Hop, ...]
    std_price: float
    period_price: float
    deviations: float
    deadline_ms: float | None

    @property
    def simple(self) -> bool:
        """Whether its objective is a sum over nodes and nothing bounds its latency."""
        return not self.std_price and not self.period_price and self.deadline_ms is None


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a plan takes per inference; the first two sequences have a figure for each node of its problem."""

    compute_ms: tuple[float, ...]
    """Before any stretch."""
    weight_mb: tuple[float, ...]
    price: float
    """The part of the objective that no load changes."""
    variance_ms2: tuple[float, ...] = ()
    """Of each node's compute before any stretch; left out where the tariff is simple, as all that follows."""
    carried_ms: float = 0.0
    carried_variance_ms2: float = 0.0
    busiest_link_ms: float = 0.0


def tariff_of(member: Member, machines: Mapping[str, int]) -> Tariff:
    """The tariff of a member; `machines` numbers the machines by name."""
    problem = member.problem
    prices = prices_of(problem)
    return Tariff(
        machines=tuple(machines[node.name] for node in problem.nodes),
        compute_price=prices.compute_ms,
        load_per_ms=member.requests_per_s / MS_PER_S,
        hops=prices.hops,
        std_price=prices.std_ms,
        period_price=prices.period_ms,
        deviations=prices.deviations,
        deadline_ms=problem.deadline_ms,
    )


def footprint_of(member: Member, tariff: Tariff, stages: Sequence[Stage]) -> Footprint:
    """What a plan of the member takes. PlanError if the stages are no plan."""
    problem = member.problem
    compute = tuple(compute_ms(problem, stages).values())
    weights = problem.model.weight_mb
    weight_mb = tuple(
        math.fsum(sum(weights[stage.start : stage.stop]) for stage in stages if stage.node == node.name)
        for node in problem.nodes
    )
    score = evaluate(problem, stages)
    stretch = [node.stretch for node in problem.nodes]
    price = score.objective - sum(map(math.prod, zip(compute, stretch, tariff.compute_price, strict=True)))
    price -= tariff.std_price * score.latency_std_ms + tariff.period_price * score.period_ms
    if tariff.simple:
        return Footprint(compute, weight_mb, price)
    variance = tuple(
        math.fsum(
            std * std for stage in stages if stage.node == node.name for std in node.op_ms_std[stage.start : stage.stop]
        )
        for node in problem.nodes
    )
    stretched = sum(ms * factor for ms, factor in zip(compute, stretch, strict=True))
    stretched_variance = sum(ms2 * factor**2 for ms2, factor in zip(variance, stretch, strict=True))
    return Footprint(
        compute,
        weight_mb,
        price,
        variance,
        score.latency_ms - stretched,
        max(0.0, score.latency_std_ms**2 - stretched_variance),
        _busiest_link_ms(member, stages, score.way_back),
    )


def on_origin(member: Member) -> tuple[tuple[Stage, ...], Footprint]:
    """The plan that runs all of a member on its origin, and what it takes; bounds ignored."""
    problem, origin = member.problem, member.problem.origin_index
    node = problem.nodes[origin]

    def there(value: float) -> tuple[float, ...]:
        return tuple(value if index == origin else 0.0 for index in range(len(problem.nodes)))

    return (Stage(node.name, 0, problem.model.ops),), Footprint(
        there(math.fsum(node.op_ms)),
        there(math.fsum(problem.model.weight_mb)),
        0.0,
        there(math.fsum(std * std for std in node.op_ms_std)),
    )


def objective(tariff: Tariff, footprint: Footprint, stretch: Sequence[float]) -> float:
    """The member's objective for a plan, its nodes' compute being stretched so."""
    value = footprint.price
    for ms, factor, price in zip(footprint.compute_ms, stretch, tariff.compute_price, strict=True):
        value += ms * factor * price
    if tariff.std_price:
        value += tariff.std_price * _std_ms(footprint, stretch)
    if tariff.period_price:
        busiest_ms = max(ms * factor for ms, factor in zip(footprint.compute_ms, stretch, strict=True))
        value += tariff.period_price * max(busiest_ms, footprint.busiest_link_ms)
    return value


def late_ms(tariff: Tariff, footprint: Footprint, stretch: Sequence[float]) -> float:
    """By how much the latency that counts misses the member's deadline; 0 where it is kept or there is none."""
    if tariff.deadline_ms is None:
        return 0.0
    latency_ms = footprint.carried_ms + tariff.deviations * _std_ms(footprint, stretch)
    latency_ms += sum(ms * factor for ms, factor in zip(footprint.compute_ms, stretch, strict=True))
    return 0.0 if within(latency_ms, tariff.deadline_ms) else latency_ms - tariff.deadline_ms


def slope(tariff: Tariff, footprint: Footprint, stretch: Sequence[float], node: int) -> float:
    """What the objective rises by per unit of load on one of the member's nodes."""
    ms, factor = footprint.compute_ms[node], stretch[node]
    rise = tariff.compute_price[node] * ms
    if tariff.std_price and (std_ms := _std_ms(footprint, stretch)):
        rise += tariff.std_price * footprint.variance_ms2[node] * factor / std_ms
    if tariff.period_price:
        others = (other * other_factor for other, other_factor in zip(footprint.compute_ms, stretch, strict=True))
        if ms * factor >= max(*others, footprint.busiest_link_ms):
            rise += tariff.period_price * ms
    # A stretch of s = 1/(1-load) rises by s^2 per unit of load.
    return rise * factor**2


def _std_ms(footprint: Footprint, stretch: Sequence[float]) -> float:
    variance = footprint.carried_variance_ms2
    for ms2, factor in zip(footprint.variance_ms2, stretch, strict=True):
        variance += ms2 * factor**2
    return math.sqrt(variance)


def _busiest_link_ms(member: Member, stages: Sequence[Stage], way_back: tuple[str, ...]) -> float:
    links = {(link.src, link.dst): link for link in member.problem.links}
    busy_ms = dict.fromkeys(links, 0.0)
    carried = [(transfer.path, transfer.sent_bytes) for transfer in transfers(member.problem, stages)]
    for path, size in (*carried, (way_back, member.problem.model.cut_bytes[-1])):
        for pair in pairwise(path):
            link = links[pair]
            busy_ms[pair] += link.rtt_ms / 2 + BITS_PER_BYTE * size / (BITS_PER_MBPS_MS * link.mbps)
    return max(busy_ms.values(), default=0.0)
