"""All plans of one member that may be best under some load of the nodes: what a price for each node cannot tell.

Exact while they are few; beyond that, plans that take nearly the same of every node are told by the cheapest of them.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coordinator.fleet_footprint import Footprint, Tariff
from coordinator.fleet_load import FULL, Capacity, Member
from coordinator.fleet_paths import Moves, Tables
from coordinator.fleet_proposal import Proposal, Proposals, Proposer, Questions
from coordinator.problem import Problem

FEW_LABELS = 128
"""Up to so many partial plans for an op and node are compared each with each."""
MOST_CELLS = 32
"""Beyond that, so many are kept, of one cell of a grid each."""

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a member's plan may take of each of its nodes: ms of compute per inference, and MB."""

    compute_ms: tuple[float, ...]
    weight_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Labels:
    """Partial plans whose last op is on one node; a row each."""

    price: Floats
    """What no load changes."""
    taken: Floats
    """ms of each node, then MB of each node."""
    node_before: Integers
    row_before: Integers
    codec: Integers
    """Of the transfer before the last op; -1 where there was none."""


def choice(problem: Problem, tariff: Tariff, limits: Limits) -> list[Proposal]:
    """The plans within the limits that no other beats in price and in what it takes; none if nothing fits.

    For a member that fleet_paths.suits, memory apart, and whose compute costs it something on every node.
    """
    return _Choice(problem, tariff, limits).plans()


class ChoiceProposer:
    """Answers for confined members with the best of all plans that its nodes can do, where a price would overshoot.

    That takes a tenth of a second per member of many ops, once. Others are answered for otherwise.
    """

    def __init__(
        self,
        members: Sequence[Member],
        tariffs: Sequence[Tariff],
        machines: Sequence[Capacity],
        confined: Set[int],
        otherwise: Proposer,
    ) -> None:
        self._members, self._tariffs, self._machines = members, tariffs, machines
        self._confined, self._otherwise = confined, otherwise
        self._choices: dict[int, tuple[list[Proposal], Floats, Floats, Floats]] = {}

    def __call__(self, questions: Questions) -> Proposals:
        """The plan for each question."""
        answers = self._otherwise(questions)
        price, compute_ms = answers.price.copy(), answers.compute_ms.copy()
        chosen: dict[int, Proposal] = {}
        for row, index in enumerate(questions.members):
            if index not in self._confined:
                continue
            tariff = self._tariffs[index]
            plans, prices, taken_ms, taken_mb = self._choice(index)
            if not plans:
                continue
            nodes = taken_ms.shape[1]
            a_ms = np.array(tariff.compute_price) * questions.stretch[row, :nodes] + questions.toll[row, :nodes]
            best = int((prices + taken_ms @ a_ms + taken_mb @ questions.toll_mb[row, :nodes]).argmin())
            chosen[row] = plans[best]
            price[row], compute_ms[row, :nodes] = prices[best], taken_ms[best]
        return Proposals(price, compute_ms, lambda row: chosen[row] if row in chosen else answers.proposal(row))

    def _choice(self, index: int) -> tuple[list[Proposal], Floats, Floats, Floats]:
        if index not in self._choices:
            member, tariff = self._members[index], self._tariffs[index]
            plans: list[Proposal] = []
            if tariff.simple and min(tariff.compute_price) > 0.0:
                plans = choice(member.problem, tariff, own_limits(tariff, self._machines))
            self._choices[index] = (
                plans,
                np.array([plan.footprint.price for plan in plans]),
                np.array([plan.footprint.compute_ms for plan in plans]),
                np.array([plan.footprint.weight_mb for plan in plans]),
            )
        return self._choices[index]


def own_limits(tariff: Tariff, machines: Sequence[Capacity]) -> Limits:
    """What a member may take of its nodes when nobody else does."""
    own = [machines[number] for number in tariff.machines]
    rooms = [max(FULL - capacity.load, 0.0) for capacity in own]
    return Limits(
        tuple(room / tariff.load_per_ms if tariff.load_per_ms else math.inf for room in rooms),
        tuple(math.inf if capacity.memory_mb is None else capacity.memory_mb for capacity in own),
    )


class _Choice:
    def __init__(self, problem: Problem, tariff: Tariff, limits: Limits) -> None:
        self._problem, self._tariff = problem, tariff
        self._tables = Tables([problem], [tariff])
        self._nodes = range(len(problem.nodes))
        self._limits = np.array([*limits.compute_ms, *limits.weight_mb])
        weights = problem.model.weight_mb or (0.0,) * problem.model.ops
        whole = [*(math.fsum(node.op_ms) for node in problem.nodes), *[math.fsum(weights)] * len(problem.nodes)]
        self._whole = np.maximum(np.array(whole), 1e-12)
        # MB count only where they may be too many.
        self._counts = np.array([True] * len(problem.nodes) + [self._whole[-1] > mb for mb in limits.weight_mb])
        # What a plan costs where nobody else is.
        self._guide = np.array(
            [
                *(price * node.stretch for price, node in zip(tariff.compute_price, problem.nodes, strict=True)),
                *[0.0] * len(problem.nodes),
            ]
        )

    def plans(self) -> list[Proposal]:
        columns = 2 * len(self._nodes)
        nowhere = _Labels(np.empty(0), np.empty((0, columns)), *(np.empty(0, dtype=np.intp) for _ in range(3)))
        here = _Labels(np.zeros(1), np.zeros((1, columns)), *(np.full(1, -1) for _ in range(3)))
        origin = self._problem.origin_index
        done = [[here if node == origin else nowhere for node in self._nodes]]
        for op in range(self._problem.model.ops):
            done.append([self._step(done[-1], op, node) for node in self._nodes])
        ended = [
            (labels.price[row] + self._tables.back[node, 0], labels.taken[row], node, row)
            for node, labels in enumerate(done[-1])
            for row in range(len(labels.price))
            if self._tables.back[node, 0] < np.inf
        ]
        if not ended:
            return []
        price, taken = np.array([end[0] for end in ended]), np.stack([end[1] for end in ended])
        return [
            self._proposal(done, float(price[at]), taken[at], *ended[at][2:])
            for at in self._unbeaten(price, taken).tolist()
        ]

    def _step(self, before: Sequence[_Labels], op: int, node: int) -> _Labels:
        """The partial plans that run an op on a node."""
        parts = [self._arrived(before[src], op, src, node, codec) for src, codec in self._ways(op, node)]
        price = np.concatenate([part.price for part in parts])
        taken = np.concatenate([part.taken for part in parts])
        taken[:, node] += self._tables.op_ms[op, node, 0]
        taken[:, len(self._nodes) + node] += self._tables.weight_mb[op, 0]
        fits = np.nonzero((taken <= self._limits * (1.0 + 1e-9)).all(1) & (price < np.inf))[0]
        kept = fits[self._thinned(price[fits], taken[fits])]
        return _Labels(
            price[kept],
            taken[kept],
            np.concatenate([part.node_before for part in parts])[kept],
            np.concatenate([part.row_before for part in parts])[kept],
            np.concatenate([part.codec for part in parts])[kept],
        )

    def _ways(self, op: int, node: int) -> list[tuple[int, int]]:
        """From which node and by which codec an op's tensors may come; -1 for those that are there."""
        codecs = range(len(self._problem.codecs))
        moves = [(src, codec) for src in self._nodes for codec in codecs if src != node]
        return [
            (node, -1),
            *((src, codec) for src, codec in moves if self._tables.carry[codec][op, src, node, 0] < np.inf),
        ]

    def _arrived(self, labels: _Labels, op: int, src: int, node: int, codec: int) -> _Labels:
        rows = len(labels.price)
        price, taken = labels.price, labels.taken
        if codec >= 0:
            price = price + self._tables.carry[codec][op, src, node, 0]
            taken = taken.copy()
            tables, size_mb = self._tables, self._tables.size_mb[op, 0]
            taken[:, src] += size_mb * tables.encode_ms[codec, op, 0] * tables.codec_factor[src, 0]
            taken[:, node] += size_mb * tables.decode_ms[codec, op, 0] * tables.codec_factor[node, 0]
        return _Labels(price, taken, np.full(rows, src), np.arange(rows), np.full(rows, codec))

    def _thinned(self, price: Floats, taken: Floats) -> Integers:
        """The rows to keep: the unbeaten where there are few, else the cheapest of each cell of a grid."""
        if len(price) <= FEW_LABELS:
            return self._unbeaten(price, taken)
        order = np.argsort(price + taken @ self._guide, kind="stable")
        shares = (taken[:, self._counts] / self._whole[self._counts])[order]
        steps = MOST_CELLS
        while True:
            # Figures of one cell are alike to a share of 1/steps, and none is more than a few times the whole.
            cells = np.floor(shares * steps) @ (4.0 * MOST_CELLS) ** np.arange(shares.shape[1])
            _, first = np.unique(cells, return_index=True)
            if len(first) <= MOST_CELLS or steps == 1:
                return np.asarray(order[first], dtype=np.intp)
            steps = max(1, steps * 3 // 4)

    def _unbeaten(self, price: Floats, taken: Floats) -> Integers:
        """The rows that no other beats in price and in all that counts, the first of equals."""
        figures = np.column_stack([price, taken[:, self._counts]])
        order = np.lexsort(figures.T[::-1])
        figures = figures[order]
        kept: list[Integers] = []
        # In this order only an earlier one can beat a later one; so a block at a time needs no table of them all.
        for at in range(0, len(order), FEW_LABELS):
            block = figures[at : at + FEW_LABELS]
            known = np.concatenate([*(figures[rows] for rows in kept), block])
            beaten = np.all(known[:, None] <= block * (1.0 + 1e-12), axis=-1)
            itself = len(known) - len(block)
            beats = np.concatenate([beaten[:itself], beaten[itself:] & np.tri(len(block), k=-1, dtype=bool).T])
            kept.append(at + np.nonzero(~beats.any(0))[0])
        return np.asarray(order[np.concatenate([np.empty(0, dtype=np.intp), *kept])], dtype=np.intp)

    def _proposal(
        self, done: Sequence[Sequence[_Labels]], price: float, taken: Floats, node: int, row: int
    ) -> Proposal:
        moves: list[tuple[int, int, int]] = []
        for op in range(self._problem.model.ops - 1, -1, -1):
            labels = done[op + 1][node]
            if labels.codec[row] >= 0:
                moves.append((op, node, int(labels.codec[row])))
            node, row = int(labels.node_before[row]), int(labels.row_before[row])
        half = len(self._nodes)
        footprint = Footprint(tuple(taken[:half].tolist()), tuple(taken[half:].tolist()), price)
        return Proposal(Moves(self._problem, self._tariff, tuple(reversed(moves))), footprint)
