"""The ways, over links and relays and by each codec, of a transfer from one node to another.

Keeps those that can be best for some number of bytes; which of them is taken at a cut is the planner's choice.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import le
from typing import NamedTuple, TypeVar

from coordinator.prices import Hop, Prices
from coordinator.problem import BYTES_PER_MB, Codec, Problem


class Route(NamedTuple):
    """A simple path over hops with a codec; price, time and variance of a transfer, by the bytes before encoding."""

    hops: tuple[Hop, ...]
    codec: str
    ratio: float
    encode_ms_per_byte: float
    decode_ms_per_byte: float
    fixed_price: float
    price_per_byte: float
    fixed_ms: float
    ms_per_byte: float
    fixed_variance_ms2: float
    variance_ms2_per_byte2: float

    @property
    def nodes(self) -> tuple[int, ...]:
        """The node indices from the maker to the reader."""
        return (self.hops[0].src, *(hop.dst for hop in self.hops))

    def price(self, size: float) -> float:
        """What a transfer of `size` bytes adds to the objective's sum, encoding and decoding included."""
        return self.fixed_price + size * self.price_per_byte

    def ms(self, size: float) -> float:
        """What a transfer of `size` bytes adds to the latency, encoding and decoding included."""
        return self.fixed_ms + size * self.ms_per_byte


Routes = dict[tuple[int, int], tuple[Route, ...]]
T = TypeVar("T")
_Figures = tuple[float, ...]


class Path(NamedTuple):
    """Hops in a row: price, ms and variance, each fixed and per byte sent (the variance per square of them)."""

    hops: tuple[Hop, ...]
    nodes: tuple[int, ...]
    fixed: tuple[float, float, float]
    per_byte: tuple[float, float, float]


def routes_of(problem: Problem, prices: Prices, *, quick_ones: bool) -> Routes:
    """The routes between two nodes that no other beats at every size.

    Compared are the price; with `quick_ones` the time too; the variance where it counts; and where the period counts
    the time on each link and at both ends.
    """
    routes: Routes = {}
    stretches = [node.stretch for node in problem.nodes]
    for (src, dst), paths in paths_of(prices, quick_ones=quick_ones).items():
        kept: list[tuple[_Figures, Route]] = []
        for path in paths:
            for codec in problem.codecs:
                route = _packed(path, codec, prices, stretches)
                compared: _Figures = (route.fixed_price, route.price_per_byte)
                if quick_ones:
                    compared += (route.fixed_ms, route.ms_per_byte)
                if prices.deviations:
                    compared += (route.fixed_variance_ms2, route.variance_ms2_per_byte2)
                if prices.period_ms:
                    compared += (route.encode_ms_per_byte, route.decode_ms_per_byte)
                    compared += tuple([codec.ratio * link for link in _links(path, prices)])
                _keep(kept, compared, route)
        routes[src, dst] = tuple([route for _, route in kept])
    return routes


def _packed(path: Path, codec: Codec, prices: Prices, stretches: Sequence[float]) -> Route:
    """The route along a path by a codec."""
    fixed_price, fixed_ms, fixed_variance = path.fixed
    price_per_byte, ms_per_byte, variance_per_byte2 = path.per_byte
    src, dst = path.hops[0].src, path.hops[-1].dst
    encode_ms = codec.encode_ms_per_mb * stretches[src] / BYTES_PER_MB
    decode_ms = codec.decode_ms_per_mb * stretches[dst] / BYTES_PER_MB
    at_ends = encode_ms * prices.compute_ms[src] + decode_ms * prices.compute_ms[dst]
    return Route(
        path.hops,
        codec.name,
        codec.ratio,
        encode_ms,
        decode_ms,
        fixed_price,
        price_per_byte * codec.ratio + at_ends,
        fixed_ms,
        ms_per_byte * codec.ratio + encode_ms + decode_ms,
        fixed_variance,
        variance_per_byte2 * codec.ratio**2,
    )


def paths_of(prices: Prices, *, quick_ones: bool) -> dict[tuple[int, int], list[Path]]:
    """The simple paths between each two nodes that no other beats: what beats a part of a path beats the path."""

    def compared(path: Path) -> _Figures:
        figures: _Figures = (path.fixed[0], path.per_byte[0])
        if quick_ones:
            figures += (path.fixed[1], path.per_byte[1])
        if prices.deviations:
            figures += (path.fixed[2], path.per_byte[2])
        if prices.period_ms:
            figures += tuple(_links(path, prices))
        return figures

    leaving: dict[int, list[Path]] = {}
    kept: dict[tuple[int, int], list[tuple[_Figures, Path]]] = {}
    frontier: list[Path] = []
    for hop in prices.hops:
        path = Path(
            (hop,),
            (hop.src, hop.dst),
            (hop.fixed_price, hop.fixed_ms, hop.fixed_variance_ms2),
            (hop.price_per_byte, hop.ms_per_byte, hop.variance_ms2_per_byte2),
        )
        leaving.setdefault(hop.src, []).append(path)
        kept[hop.src, hop.dst] = [(compared(path), path)]
        frontier.append(path)
    while frontier:
        longer: list[Path] = []
        for hops, nodes, (price, ms, variance), (price_per_byte, ms_per_byte, variance_per_byte2) in frontier:
            for (hop,), (_, dst), fixed, per_byte in leaving.get(nodes[-1], ()):
                if dst in nodes:
                    continue
                path = Path(
                    (*hops, hop),
                    (*nodes, dst),
                    (price + fixed[0], ms + fixed[1], variance + fixed[2]),
                    (price_per_byte + per_byte[0], ms_per_byte + per_byte[1], variance_per_byte2 + per_byte[2]),
                )
                if _keep(kept.setdefault((nodes[0], dst), []), compared(path), path):
                    longer.append(path)
        frontier = longer
    return {pair: [path for _, path in paths] for pair, paths in kept.items()}


def _links(path: Path, prices: Prices) -> list[float]:
    """Of each link 1 where the path leads over it, else 0."""
    over = set(pairwise(path.nodes))
    return [1.0 if (hop.src, hop.dst) in over else 0.0 for hop in prices.hops]


def _keep(kept: list[tuple[_Figures, T]], mine: _Figures, candidate: T) -> bool:
    """Add a candidate unless one that is kept is as good in all figures; drop those that it beats."""
    if kept:
        for theirs, _ in kept:
            if all(map(le, theirs, mine)):
                return False
        kept[:] = [pair for pair in kept if not all(map(le, mine, pair[0]))]
    kept.append((mine, candidate))
    return True
