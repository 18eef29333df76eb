"""Best plans for many members at once: the shortest path over (cut point, node), on arrays over the members.

For problems that are sums over stages and hops; it answers as fleet_proposal.ExactProposer does, only sooner.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coordinator.cost import Stage
from coordinator.errors import PlanError
from coordinator.fleet_footprint import Footprint, Tariff
from coordinator.fleet_load import Member
from coordinator.fleet_proposal import ExactProposer, Proposal, Proposals, Questions, Ready
from coordinator.packing import ends_ms, packing_of, packs
from coordinator.prices import Hop
from coordinator.problem import BYTES_PER_MB, Problem

MOST_AT_ONCE = 1_024
"""Members whose tables for one op stay in a processor's second-level cache."""

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


def suits(member: Member, tariff: Tariff) -> bool:
    """Whether the shortest path decides a member's plan: its bounds, if any, bind only through what others take."""
    weight_mb = sum(member.problem.model.weight_mb)
    return tariff.simple and all(node.memory_mb is None or node.memory_mb >= weight_mb for node in member.problem.nodes)


class QuickestProposer:
    """Answers by shortest paths where they suit, those of one shape together, and else by the exact planner."""

    def __init__(self, members: Sequence[Member], tariffs: Sequence[Tariff]) -> None:
        self._exactly = ExactProposer(members, tariffs)
        by_shape: dict[tuple[int, int, int], list[int]] = {}
        for index, (member, tariff) in enumerate(zip(members, tariffs, strict=True)):
            if suits(member, tariff):
                problem = member.problem
                by_shape.setdefault((problem.model.ops, len(problem.nodes), len(problem.codecs)), []).append(index)
        self._tables: list[Tables] = []
        self._table = np.full(len(members), -1)
        """The table of each member, or -1 for the exact planner."""
        self._column = np.zeros(len(members), dtype=np.intp)
        for alike in by_shape.values():
            for at in range(0, len(alike), MOST_AT_ONCE):
                part = alike[at : at + MOST_AT_ONCE]
                self._table[part], self._column[part] = len(self._tables), np.arange(len(part))
                self._tables.append(Tables([members[i].problem for i in part], [tariffs[i] for i in part]))

    def __call__(self, questions: Questions) -> Proposals:
        """The plan for each question."""
        asked = np.array(questions.members, dtype=np.intp)
        price, compute_ms = np.empty(len(asked)), np.zeros_like(questions.stretch)
        parts: list[Proposals] = []
        part_of, place_of = np.empty(len(asked), dtype=np.intp), np.empty(len(asked), dtype=np.intp)
        for number in np.unique(self._table[asked]).tolist():
            rows = np.nonzero(self._table[asked] == number)[0]
            part = questions.some(rows.tolist())
            if number < 0:
                answers = self._exactly(part)
            else:
                answers = self._tables[number].answers(self._column[asked[rows]], part)
            price[rows], compute_ms[rows, : answers.compute_ms.shape[1]] = answers.price, answers.compute_ms
            part_of[rows], place_of[rows] = len(parts), np.arange(len(rows))
            parts.append(answers)
        return Proposals(price, compute_ms, lambda row: parts[part_of[row]].proposal(int(place_of[row])))

    def kept(self, member: int, stages: Sequence[Stage]) -> Proposal | None:
        """A plan that is in force, by the way that suits it best now; None where it is no plan any more."""
        number = int(self._table[member])
        if number >= 0:
            return self._tables[number].kept(int(self._column[member]), stages)
        try:
            return Proposal(Ready(tuple(stages)), self._exactly.footprint(member, stages))
        except PlanError:
            return None


class Tables:
    """What plans of some members of one shape are made of; the last axis is the member, ops come first."""

    def __init__(self, problems: Sequence[Problem], tariffs: Sequence[Tariff]) -> None:
        self.problems, self.tariffs = problems, tariffs
        nodes = range(len(problems[0].nodes))
        self.op_ms = np.stack([_columns([problem.nodes[node].op_ms for problem in problems]) for node in nodes], axis=1)
        no_weights = (0.0,) * problems[0].model.ops
        self.weight_mb = _columns([problem.model.weight_mb or no_weights for problem in problems])
        sizes = _columns([problem.model.cut_bytes for problem in problems])
        self.size_mb = sizes[:-1] / BYTES_PER_MB
        self.compute_price = _columns([tariff.compute_price for tariff in tariffs])
        self.origin = np.array([problem.origin_index for problem in problems])
        ratio, self.encode_ms, self.decode_ms = _packings(problems)
        """By codec, cut point and member; a ratio is not a number where the codec is not allowed."""
        self.codec_factor = _columns([[node.codec_factor or 0.0 for node in problem.nodes] for problem in problems])

        fixed = np.full((len(nodes), len(nodes), len(problems)), np.inf)
        per_byte = np.zeros_like(fixed)
        for column, tariff in enumerate(tariffs):
            for hop in tariff.hops:
                fixed[hop.src, hop.dst, column] = hop.fixed_price
                per_byte[hop.src, hop.dst, column] = hop.price_per_byte
        self.carry = [
            _over_relays(fixed + per_byte * (sizes[:-1] * np.nan_to_num(packed))[:, None, None]) for packed in ratio
        ]
        """By codec: the price of a transfer at each cut, from and to each node, but for the codec's own compute."""
        cuts = [(cut, column) for column, problem in enumerate(problems) for cut in problem.model.forbidden_cuts]
        if cuts:
            at_cut, at_column = np.array(cuts).T
            for carried in self.carry:
                carried[at_cut, :, :, at_column] = np.where(np.eye(len(nodes), dtype=bool), 0.0, np.inf)
        moving = ~np.eye(len(nodes), dtype=bool)
        for number, packed in enumerate(ratio):
            self.carry[number][np.isnan(packed)[:, None, None] & moving[..., None]] = np.inf
            raw_only = _columns(
                [[not packs(node, problem.codecs[number]) for node in problem.nodes] for problem in problems]
            )
            either = (raw_only[:, None] + raw_only).astype(bool) & moving[..., None]
            self.carry[number][:, either] = np.inf
        back = _over_relays((fixed + per_byte * sizes[-1])[None])[0]
        self.back = back[:, self.origin, np.arange(len(problems))]

    def answers(self, columns: Integers, questions: Questions) -> Proposals:
        """The plan for each question, which asks for the member of that column."""
        everyone = np.arange(len(columns))
        at = slice(None) if len(columns) == len(self.problems) else columns
        nodes = self.compute_price.shape[0]
        price = (self.compute_price[:, at].T * questions.stretch[:, :nodes] + questions.toll[:, :nodes]).T
        op_ms, weight_mb, size_mb = self.op_ms[..., at], self.weight_mb[:, at], self.size_mb[:, at]
        encode_ms, decode_ms = self.encode_ms[..., at], self.decode_ms[..., at]
        factor = self.codec_factor[:, at]
        packing = price * factor
        compute = op_ms * price
        if questions.toll_mb.any():
            compute += weight_mb[:, None] * questions.toll_mb.T[:nodes]
        by_codec = [
            _staying_free(
                carried[..., at]
                + (size_mb * encode)[:, None, None] * packing[:, None]
                + (size_mb * decode)[:, None, None] * packing
            )
            if encode.any() or decode.any()
            else carried[..., at]
            for carried, encode, decode in zip(self.carry, encode_ms, decode_ms, strict=True)
        ]
        origin = self.origin[at]
        op_nodes = _cheapest(_least(by_codec), compute, self.back[:, at], origin)

        # Both sorted by member, so that the moves of each lie side by side.
        mover, cut = np.nonzero((np.concatenate([origin[None], op_nodes[:-1]]) != op_nodes).T)
        dst = op_nodes[cut, mover]
        src = np.where(cut > 0, op_nodes[cut - 1, mover], origin[mover])
        codec = np.stack([carried[cut, src, dst, mover] for carried in by_codec]).argmin(0)
        fixed_price = self.back[:, at][op_nodes[-1], everyone]
        for number, carried in enumerate(self.carry):
            took = codec == number
            np.add.at(fixed_price, mover[took], carried[..., at][cut[took], src[took], dst[took], mover[took]])
        taken_ms = np.stack([(ms * (op_nodes == node)).sum(0) for node, ms in enumerate(op_ms.swapaxes(0, 1))])
        np.add.at(taken_ms, (src, mover), size_mb[cut, mover] * encode_ms[codec, cut, mover] * factor[src, mover])
        np.add.at(taken_ms, (dst, mover), size_mb[cut, mover] * decode_ms[codec, cut, mover] * factor[dst, mover])
        begins = np.searchsorted(mover, np.arange(len(columns) + 1))

        def proposal(row: int) -> Proposal:
            own = slice(begins[row], begins[row + 1])
            moves = tuple(zip(cut[own].tolist(), dst[own].tolist(), codec[own].tolist(), strict=True))
            column = columns[row]
            weights = np.bincount(op_nodes[:, row], weight_mb[:, row], nodes).tolist()
            footprint = Footprint(tuple(taken_ms[:, row].tolist()), tuple(weights), float(fixed_price[row]))
            return Proposal(Moves(self.problems[column], self.tariffs[column], moves), footprint)

        return Proposals(fixed_price, taken_ms.T, proposal)

    def kept(self, column: int, stages: Sequence[Stage]) -> Proposal | None:
        """The plan of some stages for the member of a column; None where they are no plan."""
        problem, tariff = self.problems[column], self.tariffs[column]
        nodes = {node.name: number for number, node in enumerate(problem.nodes)}
        codecs = {codec.name: number for number, codec in enumerate(problem.codecs)}
        taken_ms, taken_mb = [0.0] * len(nodes), [0.0] * len(nodes)
        moves: list[tuple[int, int, int]] = []
        at, done, price = problem.origin_index, 0, 0.0
        for stage in stages:
            to, codec = nodes.get(stage.node), codecs.get(stage.codec or "")
            if to is None or stage.start != done or stage.stop > problem.model.ops:
                return None
            if stage.start == stage.stop:
                continue
            if to != at:
                if codec is None:
                    return None
                price += float(self.carry[codec][done, at, to, column])
                if not price < math.inf:
                    return None
                packing, size = packing_of(problem.codecs[codec], done), problem.model.cut_bytes[done]
                encode_ms, decode_ms = ends_ms(packing, size, problem.nodes[at], problem.nodes[to])
                taken_ms[at] += encode_ms
                taken_ms[to] += decode_ms
                moves.append((done, to, codec))
            taken_ms[to] += math.fsum(problem.nodes[to].op_ms[stage.start : stage.stop])
            taken_mb[to] += math.fsum(problem.model.weight_mb[stage.start : stage.stop])
            at, done = to, stage.stop
        price += float(self.back[at, column])
        if done != problem.model.ops or not price < math.inf:
            return None
        return Proposal(Moves(problem, tariff, tuple(moves)), Footprint(tuple(taken_ms), tuple(taken_mb), price))


@dataclass(frozen=True, slots=True)
class Moves:
    """A plan by where it moves: the cut point, the node that it moves to and the codec, the last two by index."""

    problem: Problem
    tariff: Tariff
    moves: tuple[tuple[int, int, int], ...]

    def stages(self) -> tuple[Stage, ...]:
        """The plan's stages, relays included."""
        return tuple(self._stages())

    def _stages(self) -> Iterator[Stage]:
        nodes, codecs, ops = self.problem.nodes, self.problem.codecs, self.problem.model.ops
        node, packed, start = self.problem.origin_index, None, 0
        for cut, to, codec in (*self.moves, (ops, -1, 0)):
            if cut > start:
                yield Stage(nodes[node].name, start, cut, packed)
            if cut < ops:
                packed = codecs[codec].name
                size = self.problem.model.cut_bytes[cut] * packing_of(codecs[codec], cut).ratio
                for relay in _way(self.tariff.hops, node, to, size)[1:-1]:
                    yield Stage(nodes[relay].name, cut, cut, packed)
                node, start = to, cut


def _packings(problems: Sequence[Problem]) -> Floats:
    """The ratio and the ms per MB of encoding and decoding; axes figure, codec, cut point 0..N-1, member."""
    cuts = range(problems[0].model.ops)
    nowhere = (math.nan, 0.0, 0.0)
    figures = [
        [[packing[1:4] if (packing := codec.at(cut)) else nowhere for cut in cuts] for codec in problem.codecs]
        for problem in problems
    ]
    return np.ascontiguousarray(np.moveaxis(np.array(figures, dtype=np.float64), (0, 3), (3, 0)))


def _columns(rows: Sequence[Sequence[float]]) -> Floats:
    """The transpose of some rows, laid out by its own rows."""
    return np.ascontiguousarray(np.array(rows, dtype=np.float64).T)


def _over_relays(direct: Floats) -> Floats:
    """The least price over any relays; axes cut point, from, to, member. Staying is free."""
    prices = _staying_free(direct)
    for relay in range(prices.shape[1]):
        np.minimum(prices, prices[:, :, relay, None] + prices[:, relay, None], out=prices)
    return prices


def _staying_free(prices: Floats) -> Floats:
    for node in range(prices.shape[1]):
        prices[:, node, node] = 0.0
    return prices


def _least(by_codec: Sequence[Floats]) -> Floats:
    """The price of each transfer by the codec that suits it best."""
    least = by_codec[0]
    for prices in by_codec[1:]:
        least = np.minimum(least, prices)
    return least


def _cheapest(carry: Floats, compute: Floats, back: Floats, origin: Integers) -> Integers:
    """The node of each op on each member's shortest path; axes op, member."""
    ops, nodes, members = compute.shape
    everyone = np.arange(members)
    spent = np.full((ops + 1, nodes, members), np.inf)
    spent[0, origin, everyone] = 0.0
    for op in range(ops):
        spent[op + 1] = (spent[op, :, None] + carry[op]).min(0) + compute[op]
    node = (spent[ops] + back).argmin(0)
    op_nodes = np.empty((ops, members), dtype=np.intp)
    for op in range(ops - 1, -1, -1):
        op_nodes[op] = node
        node = (spent[op] + carry[op][:, node, everyone]).argmin(0)
    return op_nodes


def _way(hops: Sequence[Hop], src: int, dst: int, size: float) -> tuple[int, ...]:
    """The nodes of the cheapest way for so many bytes, both ends included."""
    queue: list[tuple[float, tuple[int, ...]]] = [(0.0, (src,))]
    while True:
        price, nodes = heapq.heappop(queue)
        if nodes[-1] == dst:
            return nodes
        for hop in hops:
            if hop.src == nodes[-1] and hop.dst not in nodes:
                heapq.heappush(queue, (price + hop.fixed_price + size * hop.price_per_byte, (*nodes, hop.dst)))
