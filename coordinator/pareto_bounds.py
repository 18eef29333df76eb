"""What a partial plan comes to at least, where memory is scarce: so that plans known to be beaten are not pursued.

Lower bounds are on weighted sums of the figures, with memory turned into prices (Lagrangian relaxation); what they are
compared with is the region that known plans leave open (Klamroth, Lacour, Vanderpooten, EJOR 245 (2015), 767-778).
"""

from itertools import product

import numpy as np
import numpy.typing as npt

from coordinator.pareto_dominance import Points, beaten_by, non_dominated
from coordinator.pareto_tables import COMPARED, LATENCY, Tables

PARTS = 4
"""Into how many parts the weights of the figures are divided: 15 ways to weigh three figures."""
ROUNDS = 60
STRIDE_HALVES_AFTER = 4
UNBOUNDED = 1e200
"""More than any figure, and finite, so that a weight of 0 makes it count for nothing."""
PRICED_ROUNDING = 1e-9
"""Relative; what prices add and take away again leaves more rounding than a sum of figures does."""


class Prospects:
    """Lower bounds of partial plans: on each figure a front compares, then on weighted sums of these."""

    def __init__(self, tables: Tables, known: Points) -> None:
        """`known` are the compared figures of some plans, which scale the weights and the steps to good prices."""
        self._tables = tables
        scale = 1.0 / np.maximum(np.abs(known).mean(axis=0), 1e-12)
        shares = [share for share in product(range(PARTS + 1), repeat=COMPARED) if sum(share) == PARTS]
        self._weights = np.array(shares) / PARTS * scale
        self._moves = [self._moves_at(op) for op in range(tables.ops + 1)]
        self._mb_prices, self._to_go = self._priced((known @ self._weights.T).min(axis=0))

    def of(self, spent: Points, done: int, node: int) -> Points:
        """The bounds of rows that have done so many ops, the last on a node."""
        tables = self._tables
        whole = tables.compared(spent[:, : tables.figures] + tables.to_go[done][node])
        room_mb = tables.room_mb - spent[:, tables.figures :]
        sums = spent[:, :COMPARED] @ self._weights.T + self._to_go[done][:, node] - room_mb @ self._mb_prices.T
        # The sums are of mean latencies; the deviation that is certain by now comes on top.
        mean_ms = spent[:, LATENCY] + tables.to_go[done][node][LATENCY]
        sums += np.outer(whole[:, LATENCY] - mean_ms, self._weights[:, LATENCY])
        return np.hstack([whole, sums])

    def ceilings(self, known: Points) -> Points:
        """The corners of the region that known plans leave open, weighed as the bounds of `of`.

        A plan that none of the known ones beats has bounds at or below one of the corners.
        """
        corners = np.full((1, COMPARED), UNBOUNDED)
        for point in known:
            inside = (point < corners).all(axis=1)
            split = []
            for figure in range(COMPARED):
                moved = corners[inside]
                moved[:, figure] = point[figure]
                split.append(moved)
            corners = np.concatenate([corners[~inside], *split])
            corners = corners[non_dominated(-corners)]
        return np.hstack([corners, corners @ self._weights.T])

    def _moves_at(self, op: int) -> tuple[npt.NDArray[np.intp], Points]:
        """Where tensors can go from each node before an op, and what each weighting counts for it.

        Both are padded to equal length: (nodes, moves) and (weightings, nodes, moves).
        """
        tables = self._tables
        leaving = [[(node, np.zeros(COMPARED))] for node in tables.nodes]
        for transfer in tables.transfers[op]:
            leaving[transfer.path[0]].append((transfer.path[-1], np.array(transfer.figures[:COMPARED])))
        most = max(map(len, leaving))
        goals = np.zeros((len(leaving), most), dtype=np.intp)
        costs = np.full((len(self._weights), len(leaving), most), np.inf)
        for node, moves in enumerate(leaving):
            for number, (goal, figures) in enumerate(moves):
                goals[node, number] = goal
                costs[:, node, number] = self._weights @ figures
        return goals, costs

    def _priced(self, targets: Points) -> tuple[Points, list[Points]]:
        """For each weighting, the price of a MB on each tight node that makes the bound high, and the sums to go.

        A subgradient ascent towards `targets`, which no bound can exceed.
        """
        tables = self._tables
        prices = np.zeros((len(targets), len(tables.tight)))
        best_prices, best = prices, np.full(len(targets), -np.inf)
        best_to_go: list[Points] = []
        stride, idle = np.ones(len(targets)), np.zeros(len(targets))
        for _ in range(ROUNDS):
            to_go, stored_mb = self._shortest(prices)
            values = to_go[0][:, tables.origin] - prices @ tables.room_mb
            better = values > best
            best = np.where(better, values, best)
            best_prices = np.where(better[:, None], prices, best_prices)
            best_to_go = [
                np.where(better[:, None], now, before) for now, before in zip(to_go, best_to_go or to_go, strict=True)
            ]
            idle = np.where(better, 0, idle + 1)
            stride = np.where(idle == STRIDE_HALVES_AFTER, stride / 2, stride)
            idle[idle == STRIDE_HALVES_AFTER] = 0
            over_mb = stored_mb - tables.room_mb
            slopes = np.where((over_mb > 0.0) | (prices > 0.0), over_mb, 0.0)
            steepness = np.maximum((slopes * slopes).sum(axis=1), 1e-18)
            length = stride * np.maximum(targets - values, 1e-6 * np.abs(targets)) / steepness
            prices = np.maximum(0.0, prices + length[:, None] * slopes)
        return best_prices, best_to_go

    def _shortest(self, prices: Points) -> tuple[list[Points], Points]:
        """For each weighting, the least sums to go by ops done (weightings, nodes), and the MB of its shortest path."""
        tables = self._tables
        rows = np.arange(len(prices))[:, None]
        to_go = np.full((len(prices), len(tables.nodes)), np.inf)
        to_go[:, tables.origin] = 0.0
        stored_mb = np.zeros((len(prices), len(tables.nodes), len(tables.tight)))
        found = [to_go]
        for op in range(tables.ops, -1, -1):
            run = found[-1] + self._weights @ tables.compute[op, :, :COMPARED].T
            for slot, node in enumerate(tables.tight):
                run[:, node] += prices[:, slot] * tables.weight_mb[op]
                stored_mb[:, node, slot] += tables.weight_mb[op]
            goals, costs = self._moves[op]
            sums = run[:, goals] + costs
            chosen = sums.argmin(axis=2)
            found.append(np.take_along_axis(sums, chosen[:, :, None], axis=2)[:, :, 0])
            stored_mb = stored_mb[rows, goals[np.arange(len(goals)), chosen]]
        return found[::-1], stored_mb[:, tables.origin]


def open_to(bounds: Points, ceilings: Points) -> npt.NDArray[np.bool_]:
    """Which rows of bounds are at or below some ceiling in all columns, and so may be of a plan that is not beaten."""
    found: npt.NDArray[np.bool_] = np.any(beaten_by(ceilings, bounds, rounding=PRICED_ROUNDING), axis=0)
    return found
