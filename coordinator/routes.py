"""The ways, over links and relays and by each codec, of a transfer from one node to another.

Keeps those that can be best for some number of bytes; which of them is taken at a cut is the planner's choice.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from operator import le
from typing import NamedTuple, TypeVar

from coordinator.packing import packs
from coordinator.prices import Hop, Prices
from coordinator.problem import BYTES_PER_MB, Packing, Problem


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


Pair = tuple[int, int]
T = TypeVar("T")
_Figures = tuple[float, ...]


class Path(NamedTuple):
    """Hops in a row: price, ms and variance, each fixed and per byte sent (the variance per square of them)."""

    hops: tuple[Hop, ...]
    nodes: tuple[int, ...]
    fixed: tuple[float, float, float]
    per_byte: tuple[float, float, float]


class Routes:
    """The routes of a problem between each two nodes, those that another one beats left out.

    Compared are the price; with `quick_ones` the time too; the variance where it counts; and where the period counts
    the time on each link and at both ends.
    """

    def __init__(self, problem: Problem, prices: Prices, *, quick_ones: bool) -> None:
        self._problem, self._prices, self._quick_ones = problem, prices, quick_ones
        self._paths = paths_of(prices, quick_ones=quick_ones)
        self._paces = [(node.codec_factor or 0.0) * node.stretch / BYTES_PER_MB for node in problem.nodes]
        self.varying = [codec for codec in problem.codecs if not codec.is_uniform]
        uniform = [packing for codec in problem.codecs if codec.is_uniform and (packing := codec.at(0)) is not None]
        self.anywhere = {pair: self._by(pair, uniform) for pair in self._paths}
        """By the nodes that send and receive: the routes by codecs that are the same at all cuts, for any size."""

    @property
    def pairs(self) -> Iterable[Pair]:
        """The nodes that send and receive, where links lead from the one to the other."""
        return self._paths

    def at(self, pair: Pair, cut: int) -> tuple[Route, ...]:
        """The routes by codecs that differ from cut to cut, for the size at this one."""
        return self._by(pair, self._packings[cut]) if self.varying else ()

    def between(self, pair: Pair, cut: int) -> tuple[Route, ...]:
        """All routes between two nodes at a cut; none where no links lead from the one to the other."""
        return (*self.anywhere[pair], *self.at(pair, cut)) if pair in self._paths else ()

    def cheapest(self, pair: Pair, cut: int) -> Route:
        """The route of least price at a cut; there must be one."""
        size = self._problem.model.cut_bytes[cut]
        return min(self.between(pair, cut), key=lambda route: route.price(size))

    def least_prices(self, pair: Pair) -> list[float]:
        """The price of the cheapest route at each cut point 0..N-1; infinite where there is none."""
        sizes = self._problem.model.cut_bytes[:-1]
        best: list[float] = []
        for route in self.anywhere[pair]:
            fixed, per_byte = route.fixed_price, route.price_per_byte
            mine = [fixed + size * per_byte for size in sizes]
            best = [least if least < one else one for least, one in zip(best, mine, strict=True)] if best else mine
        if not best:
            best = [math.inf] * len(sizes)
        src, dst = (self._problem.nodes[node] for node in pair)
        if self.varying and src.codec_factor is not None and dst.codec_factor is not None:
            of_encode, of_decode = (self._prices.compute_ms[node] * self._paces[node] for node in pair)
            roads = [(path.fixed[0], path.per_byte[0]) for path in self._paths[pair]]
            for cut, packings in enumerate(self._packings):
                size = sizes[cut]
                for _, ratio, encode_ms, decode_ms, _ in packings:
                    at_ends = encode_ms * of_encode + decode_ms * of_decode
                    for fixed, per_byte in roads:
                        price = fixed + size * (per_byte * ratio + at_ends)
                        best[cut] = min(best[cut], price)
        for cut in self._problem.model.forbidden_cuts:
            best[cut] = math.inf
        return best

    @cached_property
    def _packings(self) -> list[list[Packing]]:
        """By cut point 0..N-1, what varying codecs are there, those that another one beats left out."""
        return [
            _unbeaten([packing for codec in self.varying if (packing := codec.at(cut)) is not None])
            for cut in range(self._problem.model.ops)
        ]

    def _by(self, pair: Pair, packings: Iterable[Packing]) -> tuple[Route, ...]:
        """The routes between two nodes by some codecs."""
        prices, src, dst = self._prices, self._problem.nodes[pair[0]], self._problem.nodes[pair[1]]
        kept: list[tuple[_Figures, Route]] = []
        for path in self._paths[pair]:
            for packing in packings:
                if not (packs(src, packing) and packs(dst, packing)):
                    continue
                route = _packed(path, packing, prices, self._paces)
                compared: _Figures = (route.fixed_price, route.price_per_byte)
                if self._quick_ones:
                    compared += (route.fixed_ms, route.ms_per_byte)
                if prices.deviations:
                    compared += (route.fixed_variance_ms2, route.variance_ms2_per_byte2)
                if prices.period_ms:
                    compared += (route.encode_ms_per_byte, route.decode_ms_per_byte)
                    compared += tuple([packing.ratio * link for link in _links(path, prices)])
                _keep(kept, compared, route)
        return tuple([route for _, route in kept])


def _unbeaten(packings: Iterable[Packing]) -> list[Packing]:
    """Those that no other beats in bytes sent and in both times, on whatever nodes."""
    kept: list[tuple[_Figures, Packing]] = []
    for packing in packings:
        _keep(kept, (packing.ratio, packing.encode_ms_per_mb, packing.decode_ms_per_mb), packing)
    return [packing for _, packing in kept]


def _packed(path: Path, packing: Packing, prices: Prices, paces: Sequence[float]) -> Route:
    """The route along a path by a codec; `paces` is what each node multiplies its times by, per byte."""
    fixed_price, fixed_ms, fixed_variance = path.fixed
    price_per_byte, ms_per_byte, variance_per_byte2 = path.per_byte
    src, dst = path.hops[0].src, path.hops[-1].dst
    encode_ms, decode_ms = packing.encode_ms_per_mb * paces[src], packing.decode_ms_per_mb * paces[dst]
    at_ends = encode_ms * prices.compute_ms[src] + decode_ms * prices.compute_ms[dst]
    return Route(
        path.hops,
        packing.codec,
        packing.ratio,
        encode_ms,
        decode_ms,
        fixed_price,
        price_per_byte * packing.ratio + at_ends,
        fixed_ms,
        ms_per_byte * packing.ratio + encode_ms + decode_ms,
        fixed_variance,
        variance_per_byte2 * packing.ratio**2,
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
