"""The ways, over links and relays and by each codec, of a transfer from one node to another.

Keeps those that can be best for some number of bytes; which of them is taken at a cut is the planner's choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from coordinator.prices import Hop, Prices
from coordinator.problem import BYTES_PER_MB, Problem


@dataclass(frozen=True, slots=True)
class Route:
    """A simple path of node indices with a codec: price and time, each fixed and per byte before encoding."""

    nodes: tuple[int, ...]
    codec: str
    fixed_price: float
    price_per_byte: float
    fixed_ms: float
    ms_per_byte: float

    def price(self, size: float) -> float:
        """What a transfer of `size` bytes adds to the objective, encoding and decoding included."""
        return self.fixed_price + size * self.price_per_byte

    def ms(self, size: float) -> float:
        """What a transfer of `size` bytes adds to the latency, encoding and decoding included."""
        return self.fixed_ms + size * self.ms_per_byte


Routes = dict[tuple[int, int], tuple[Route, ...]]
T = TypeVar("T")
_Figures = tuple[float, float, float, float]


def routes_of(problem: Problem, prices: Prices, *, quick_ones: bool) -> Routes:
    """The routes between two nodes that no other beats at every size: in price, or with `quick_ones` in both."""
    figures_that_count = 4 if quick_ones else 2
    routes: Routes = {}
    for (src, dst), paths in _paths(prices.hops, figures_that_count).items():
        kept: list[tuple[_Figures, Route]] = []
        for nodes, figures in paths:
            for codec in problem.codecs:
                encode_ms = codec.encode_ms_per_mb * problem.nodes[src].stretch / BYTES_PER_MB
                decode_ms = codec.decode_ms_per_mb * problem.nodes[dst].stretch / BYTES_PER_MB
                fixed_price, price_per_byte, fixed_ms, ms_per_byte = figures
                route = Route(
                    nodes,
                    codec.name,
                    fixed_price,
                    price_per_byte * codec.ratio
                    + encode_ms * prices.compute_ms[src]
                    + decode_ms * prices.compute_ms[dst],
                    fixed_ms,
                    ms_per_byte * codec.ratio + encode_ms + decode_ms,
                )
                _keep(
                    kept,
                    (route.fixed_price, route.price_per_byte, route.fixed_ms, route.ms_per_byte),
                    route,
                    figures_that_count,
                )
        routes[src, dst] = tuple(route for _, route in kept)
    return routes


def _paths(
    hops: Sequence[Hop], figures_that_count: int
) -> dict[tuple[int, int], list[tuple[tuple[int, ...], _Figures]]]:
    """The simple paths between each two nodes that no other beats: what beats a part of a path beats the path."""
    leaving: dict[int, list[Hop]] = {}
    for hop in hops:
        leaving.setdefault(hop.src, []).append(hop)
    kept: dict[tuple[int, int], list[tuple[_Figures, tuple[int, ...]]]] = {}
    frontier: list[tuple[tuple[int, ...], _Figures]] = []
    for hop in hops:
        figures = (hop.fixed_price, hop.price_per_byte, hop.fixed_ms, hop.ms_per_byte)
        kept[hop.src, hop.dst] = [(figures, (hop.src, hop.dst))]
        frontier.append(((hop.src, hop.dst), figures))
    while frontier:
        longer: list[tuple[tuple[int, ...], _Figures]] = []
        for nodes, (fixed_price, price_per_byte, fixed_ms, ms_per_byte) in frontier:
            for hop in leaving.get(nodes[-1], ()):
                if hop.dst in nodes:
                    continue
                path = (*nodes, hop.dst)
                figures = (
                    fixed_price + hop.fixed_price,
                    price_per_byte + hop.price_per_byte,
                    fixed_ms + hop.fixed_ms,
                    ms_per_byte + hop.ms_per_byte,
                )
                if _keep(kept.setdefault((nodes[0], hop.dst), []), figures, path, figures_that_count):
                    longer.append((path, figures))
        frontier = longer
    return {pair: [(nodes, figures) for figures, nodes in paths] for pair, paths in kept.items()}


def _keep(kept: list[tuple[_Figures, T]], figures: _Figures, candidate: T, count: int) -> bool:
    """Add a candidate unless one that is kept is as good in the first `count` figures; drop those that it beats."""
    mine = figures[:count]
    for theirs, _ in kept:
        if all(their <= my for their, my in zip(theirs, mine, strict=False)):
            return False
    kept[:] = [
        (theirs, other)
        for theirs, other in kept
        if not all(my <= their for my, their in zip(mine, theirs, strict=False))
    ]
    kept.append((figures, candidate))
    return True
