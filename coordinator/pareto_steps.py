"""The steps that any plan is made of, each with all the figures that a front compares: time, energies and spread.

The way back is a step like any other, into one more op that costs nothing; which steps are taken is pareto's choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from coordinator.packing import ends_ms, packs
from coordinator.prices import MS_PER_S, prices_of
from coordinator.problem import BYTES_PER_MB, RAW, Codec, Model, Node, Packing, Problem
from coordinator.spread import spread_counts

Figures = tuple[float, ...]
"""ms, the origin's J, all nodes' J and, where a quantile of the latency counts, its variance in ms^2; all add up."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tensors carried from one node to another, packed by a codec: the path in node indices, both ends included."""

    path: tuple[int, ...]
    codec: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class _Path:
    """A path over links: fixed ms and variance, and what each byte sent adds to ms, to both energies and to variance.

    The radio's energies are the origin's and all nodes'; the variance grows with the square of the bytes.
    """

    nodes: tuple[int, ...]
    fixed_ms: float
    ms_per_byte: float
    origin_j_per_byte: float
    total_j_per_byte: float
    fixed_variance_ms2: float
    variance_ms2_per_byte2: float

    @property
    def costs(self) -> Figures:
        """All that can make another path better."""
        return (
            self.fixed_ms,
            self.ms_per_byte,
            self.origin_j_per_byte,
            self.total_j_per_byte,
            self.fixed_variance_ms2,
            self.variance_ms2_per_byte2,
        )

    def then(self, hop: "_Path") -> "_Path":
        added = (mine + its for mine, its in zip(self.costs, hop.costs, strict=True))
        return _Path((*self.nodes, hop.nodes[-1]), *added)


def with_return_as_op(problem: Problem) -> Problem:
    """The problem with the way back as the transfer into a last op, N, that takes no time; it belongs on the origin.

    So a plan may take any way back, and the cost model scores it as it scores every transfer.
    """
    model, codecs = problem.model, problem.codecs
    return msgspec.structs.replace(
        problem,
        model=Model(
            name=model.name,
            cut_bytes=(*model.cut_bytes, 0.0),
            weight_mb=(*model.weight_mb, 0.0) if model.weight_mb else (),
            forbidden_cuts=model.forbidden_cuts,
        ),
        nodes=tuple(
            msgspec.structs.replace(
                node,
                op_ms=(*node.op_ms, 0.0),
                op_ms_std=(*node.op_ms_std, 0.0) if node.op_ms_std else (),
            )
            for node in problem.nodes
        ),
        codecs=tuple(
            map(_one_cut_more, codecs if any(codec.name == RAW for codec in codecs) else (*codecs, Codec(name=RAW)))
        ),
    )


def _one_cut_more(codec: Codec) -> Codec:
    """The codec for a model of one more op, before which it is what it was at the output."""
    longer = {
        field: (*figure, figure[-1])
        for field in ("ratio", "encode_ms_per_mb", "decode_ms_per_mb")
        if isinstance(figure := getattr(codec, field), tuple)
    }
    return msgspec.structs.replace(codec, **longer)


class FigureSteps:
    """The tables of one problem by node index: what each op costs on each node, and the transfers at each cut point."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._spread = spread_counts(problem)
        self.count = 4 if self._spread else 3
        """How many figures each step has."""
        origin = problem.origin_index
        self._origin = origin
        self._waiting_w = problem.nodes[origin].idle_w
        self._extra_w = [node.busy_w - node.idle_w for node in problem.nodes]
        self.compute = [self._computes(index, node) for index, node in enumerate(problem.nodes)]
        paths = self._paths()
        self.transfers = [list(self._transfers(paths, cut)) for cut in range(problem.model.ops)]
        into_origin = [path for path in paths if path.nodes[-1] == origin]
        raw, size = Packing(RAW, 1.0, 0.0, 0.0, is_free=True), problem.model.cut_bytes[-1]
        self.transfers.append(list(_unbeaten(self._carried(path, raw, size) for path in into_origin)))

    def _computes(self, index: int, node: Node) -> list[Figures]:
        stds = node.op_ms_std or (0.0,) * len(node.op_ms)
        return [
            self._figures([(index, ms * node.stretch)], 0.0, 0.0, 0.0, (std * node.stretch) ** 2)
            for ms, std in zip(node.op_ms, stds, strict=True)
        ]

    def _figures(
        self,
        computes: Sequence[tuple[int, float]],
        sending_ms: float,
        origin_radio_j: float,
        total_radio_j: float,
        variance_ms2: float,
    ) -> Figures:
        """The figures of a step in which nodes compute for so many ms, load included, and tensors are on their way."""
        ms = sending_ms + sum(compute_ms for _, compute_ms in computes)
        origin_j = origin_radio_j + self._waiting_w * ms / MS_PER_S
        total_j = total_radio_j + self._waiting_w * ms / MS_PER_S
        for node, compute_ms in computes:
            extra_j = self._extra_w[node] * compute_ms / MS_PER_S
            total_j += extra_j
            origin_j += extra_j if node == self._origin else 0.0
        return (ms, origin_j, total_j, variance_ms2) if self._spread else (ms, origin_j, total_j)

    def _paths(self) -> list[_Path]:
        """The simple paths between any two nodes that none other beats at every size."""
        nodes, origin = self._problem.nodes, self._origin
        hops = []
        for link in prices_of(self._problem).hops:
            src, dst = link.src, link.dst
            sent, received = nodes[src].tx_j_per_mb / BYTES_PER_MB, nodes[dst].rx_j_per_mb / BYTES_PER_MB
            origin_j = sent if src == origin else received if dst == origin else 0.0
            variances = (link.fixed_variance_ms2, link.variance_ms2_per_byte2) if self._spread else (0.0, 0.0)
            hops.append(_Path((src, dst), link.fixed_ms, link.ms_per_byte, origin_j, sent + received, *variances))
        kept: dict[tuple[int, int], list[_Path]] = {(hop.nodes[0], hop.nodes[-1]): [hop] for hop in hops}
        frontier = hops
        while frontier:
            longer = []
            for path in frontier:
                for hop in hops:
                    if hop.nodes[0] != path.nodes[-1] or hop.nodes[-1] in path.nodes:
                        continue
                    candidate = path.then(hop)
                    rivals = kept.setdefault((path.nodes[0], hop.nodes[-1]), [])
                    if not any(_beats(rival.costs, candidate.costs) for rival in rivals):
                        rivals[:] = [rival for rival in rivals if not _beats(candidate.costs, rival.costs)]
                        rivals.append(candidate)
                        longer.append(candidate)
            frontier = longer
        return [path for paths in kept.values() for path in paths]

    def _transfers(self, paths: Sequence[_Path], cut: int) -> Iterator[Transfer]:
        if cut in self._problem.model.forbidden_cuts:
            return iter(())
        size, nodes = self._problem.model.cut_bytes[cut], self._problem.nodes
        packings = [packing for codec in self._problem.codecs if (packing := codec.at(cut)) is not None]
        return _unbeaten(
            self._carried(path, packing, size)
            for path in paths
            for packing in packings
            if packs(nodes[path.nodes[0]], packing) and packs(nodes[path.nodes[-1]], packing)
        )

    def _carried(self, path: _Path, packing: Packing, size: float) -> Transfer:
        src, dst = path.nodes[0], path.nodes[-1]
        nodes = self._problem.nodes
        encode_ms, decode_ms = ends_ms(packing, size, nodes[src], nodes[dst])
        computes = [(src, encode_ms * nodes[src].stretch), (dst, decode_ms * nodes[dst].stretch)]
        sent = size * packing.ratio
        figures = self._figures(
            computes,
            path.fixed_ms + sent * path.ms_per_byte,
            sent * path.origin_j_per_byte,
            sent * path.total_j_per_byte,
            path.fixed_variance_ms2 + sent * sent * path.variance_ms2_per_byte2,
        )
        return Transfer(path.nodes, packing.codec, figures)


def _unbeaten(transfers: Iterator[Transfer]) -> Iterator[Transfer]:
    """Those that no other between the same nodes beats; of equals the first."""
    kept: dict[tuple[int, int], list[Transfer]] = {}
    for transfer in transfers:
        rivals = kept.setdefault((transfer.path[0], transfer.path[-1]), [])
        if not any(_beats(rival.figures, transfer.figures) for rival in rivals):
            rivals[:] = [rival for rival in rivals if not _beats(transfer.figures, rival.figures)]
            rivals.append(transfer)
    return (transfer for rivals in kept.values() for transfer in rivals)


def _beats(one: Figures, other: Figures) -> bool:
    """Whether one is as good as another in every figure."""
    return all(mine <= its for mine, its in zip(one, other, strict=True))
