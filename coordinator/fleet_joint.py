"""Small fleets: the best pair of plans of each two deployments at once, from all that may be any good.

It finds what no single change does, such as who of two leaves a full node; larger fleets do without it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from coordinator.fleet_choice import choice, own_limits
from coordinator.fleet_footprint import Tariff
from coordinator.fleet_load import FULL, Capacity, Member
from coordinator.fleet_proposal import Proposal

MOST_MEMBERS = 8
MOST_PASSES = 10
LEAST_GAIN = 1e-9

MOST_TRIED = 400
"""Combinations of plans of all but two members that are all tried; of more, some are started from."""

Floats = NDArray[np.float64]
_Outcome = tuple[tuple[float, float], list[int]]
"""By how much too much is taken of the machines and what all plans cost; and each member's row."""


@dataclass(frozen=True, slots=True)
class _Choices:
    """The plans that a member chooses from: a row each, a figure for each machine that is shared."""

    proposals: Sequence[Proposal]
    price: Floats
    """What the others do not change: the machines that are the member's own included."""
    use: Floats
    worth: Floats
    """What its unstretched compute comes to in the member's objective."""
    stored_mb: Floats


def jointly(
    members: Sequence[Member],
    tariffs: Sequence[Tariff],
    machines: Sequence[Capacity],
    present: Sequence[Proposal | None],
) -> list[Proposal] | None:
    """Plans that no change of one or two of them betters, the best combination where few are; None if there is none.

    They overload nothing if that is found; else they are those that overload least.
    """
    counts = Counter(number for tariff in tariffs for number in tariff.machines)
    shared = [number for number, count in counts.items() if count > 1]
    choices = []
    for member, tariff, now in zip(members, tariffs, present, strict=True):
        plans = choice(member.problem, tariff, own_limits(tariff, machines))
        plans += [now] if now is not None else []
        if not plans:
            return None
        choices.append(_choices(tariff, plans, machines, shared))
    capacities = [machines[number] for number in shared]
    if len(members) == 1:
        choices.append(_nobody(len(shared)))
    *fewer, one, other = sorted(range(len(choices)), key=lambda member: len(choices[member].price))
    if math.prod(len(choices[member].price) for member in fewer) <= MOST_TRIED:
        found: Iterable[_Outcome] = _every(choices, fewer, (one, other), capacities)
    else:
        starts = _starts(choices, capacities)
        if all(plan is not None for plan in present):
            starts.append([len(plans.proposals) - 1 for plans in choices])
        found = (_descent(choices, start, capacities) for start in starts)
    # Overloads within rounding of each other count as equal.
    _, taken = min(found, key=lambda outcome: (round(outcome[0][0], 9), outcome[0][1]))
    return [own.proposals[row] for own, row in zip(choices, taken, strict=True) if own.proposals]


def _every(
    choices: Sequence[_Choices], fewer: Sequence[int], pair: tuple[int, int], capacities: Sequence[Capacity]
) -> Iterator[_Outcome]:
    """The best plans of a pair beside every combination of plans of all others."""
    taken = [0] * len(choices)
    for rows in product(*(range(len(choices[member].price)) for member in fewer)):
        for member, row in zip(fewer, rows, strict=True):
            taken[member] = row
        best, (taken[pair[0]], taken[pair[1]]) = _best_pair(choices, taken, pair, capacities)
        yield best, list(taken)


def _starts(choices: Sequence[_Choices], capacities: Sequence[Capacity]) -> list[list[int]]:
    """Where to start from: everyone's best alone, everyone's least use of what is shared, and all but one the best."""
    alone = np.array([1.0 / (1.0 - capacity.load) for capacity in capacities])
    best = [int((own.price + own.worth @ alone).argmin()) for own in choices]
    least = [int(np.lexsort((own.price + own.worth @ alone, own.use.sum(1)))[0]) for own in choices]
    starts = [best, least]
    if len(choices) > 2:
        starts += [[*best[:member], least[member], *best[member + 1 :]] for member in range(len(choices))]
    return [list(start) for start in dict.fromkeys(map(tuple, starts))]


def _descent(choices: Sequence[_Choices], start: Sequence[int], capacities: Sequence[Capacity]) -> _Outcome:
    """Change two plans at a time until that gains nothing."""
    taken, best = list(start), (np.inf, np.inf)
    pairs = list(combinations(range(len(choices)), 2))
    for _ in range(MOST_PASSES):
        before = best
        for one, other in pairs:
            found, rows = _best_pair(choices, taken, (one, other), capacities)
            if found[0] < best[0] - LEAST_GAIN or (
                found[0] <= best[0] + LEAST_GAIN and found[1] < best[1] - LEAST_GAIN * abs(best[1])
            ):
                best = found
                taken[one], taken[other] = rows
        if before == best:
            break
    return best, taken


def _choices(
    tariff: Tariff, plans: Sequence[Proposal], machines: Sequence[Capacity], shared: Sequence[int]
) -> _Choices:
    compute_ms = np.array([plan.footprint.compute_ms for plan in plans])
    worth = compute_ms * tariff.compute_price
    weight_mb = np.array([plan.footprint.weight_mb for plan in plans])
    price = np.array([plan.footprint.price for plan in plans])
    for node, number in enumerate(tariff.machines):
        if number not in shared:
            price += worth[:, node] / (1.0 - machines[number].load)
    # The column of each machine that others may use too, one of zeros for those that the member has no use for.
    nodes = [tariff.machines.index(number) if number in tariff.machines else len(tariff.machines) for number in shared]

    def at_shared(figures: Floats) -> Floats:
        return np.column_stack([figures, np.zeros(len(plans))])[:, nodes]

    return _Choices(plans, price, at_shared(compute_ms * tariff.load_per_ms), at_shared(worth), at_shared(weight_mb))


def _nobody(machines: int) -> _Choices:
    nothing = np.zeros((1, machines))
    return _Choices((), np.zeros(1), nothing, nothing, nothing)


def _best_pair(
    choices: Sequence[_Choices], taken: Sequence[int], pair: tuple[int, int], capacities: Sequence[Capacity]
) -> tuple[tuple[float, float], tuple[int, int]]:
    """The best plans of two members while the others keep theirs: by how much too much they take, what they cost."""
    one, other = choices[pair[0]], choices[pair[1]]
    rest = [(own, row) for index, (own, row) in enumerate(zip(choices, taken, strict=True)) if index not in pair]
    cost = one.price[:, None] + other.price + sum(float(own.price[row]) for own, row in rest)
    over = np.zeros_like(cost)
    for machine, capacity in enumerate(capacities):
        used, stored_mb = one.use[:, machine, None], one.stored_mb[:, machine, None]
        also_used, also_stored_mb = other.use[:, machine], other.stored_mb[:, machine]
        held = capacity.load + sum(float(own.use[row, machine]) for own, row in rest)
        held_mb = sum(float(own.stored_mb[row, machine]) for own, row in rest)
        total = held + used + also_used
        over += np.maximum(total - FULL, 0.0)
        if capacity.memory_mb is not None:
            excess_mb = held_mb + stored_mb + also_stored_mb - capacity.memory_mb * (1.0 + 1e-9)
            over += np.maximum(excess_mb, 0.0) / max(capacity.memory_mb, 1e-9)
        cost += one.worth[:, machine, None] / np.maximum(1.0 - held - also_used, 1.0 - FULL)
        cost += other.worth[:, machine] / np.maximum(1.0 - held - used, 1.0 - FULL)
        for own, row in rest:
            if own.worth[row, machine]:
                cost += own.worth[row, machine] / np.maximum(1.0 - total + own.use[row, machine], 1.0 - FULL)
    least = float(over.min())
    cost[over > least + LEAST_GAIN] = np.inf
    at = int(cost.argmin())
    rows = at // cost.shape[1], at % cost.shape[1]
    return (float(over[rows]), float(cost[rows])), rows
