"""Small fleets: the best pair of plans of each two deployments at once, from all that may be any good.

It finds what no single change does, such as who of two leaves a full node; larger fleets do without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from coordinator.fleet_choice import Limits, choice
from coordinator.fleet_footprint import Tariff
from coordinator.fleet_load import FULL, Member
from coordinator.fleet_proposal import Proposal

MOST_MEMBERS = 8
MOST_PASSES = 10
LEAST_GAIN = 1e-9

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has: its load without the fleet, and the MB that it holds, infinite without a bound."""

    load: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class _Choices:
    """The plans that a member chooses from: a row each, a figure for each machine."""

    proposals: Sequence[Proposal]
    price: Floats
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
    """Plans that no change of one or two of them betters, from the present ones on; None if a member has none.

    They overload nothing if that is found; else they are those that overload least.
    """
    choices = []
    for member, tariff, now in zip(members, tariffs, present, strict=True):
        rooms = [(1.0 - machines[number].load, machines[number].memory_mb) for number in tariff.machines]
        most_ms = tuple(room / tariff.load_per_ms if tariff.load_per_ms else np.inf for room, _ in rooms)
        plans = choice(member.problem, tariff, Limits(most_ms, tuple(room_mb for _, room_mb in rooms)))
        plans += [now] if now is not None else []
        if not plans:
            return None
        choices.append(_choices(tariff, plans, len(machines)))
    taken = [
        len(own.proposals) - 1 if now is not None else int((own.price + own.worth.sum(1)).argmin())
        for own, now in zip(choices, present, strict=True)
    ]
    base = np.array([machine.load for machine in machines])
    bound_mb = np.array([machine.memory_mb for machine in machines])
    if len(members) == 1:
        choices, taken = [*choices, _nobody(len(machines))], [*taken, 0]
    pairs = list(combinations(range(len(choices)), 2))
    best = (np.inf, np.inf)
    for _ in range(MOST_PASSES):
        before = best
        for one, other in pairs:
            found, rows = _best_pair(choices, taken, (one, other), base, bound_mb)
            if found[0] < best[0] - LEAST_GAIN or (
                found[0] <= best[0] + LEAST_GAIN and found[1] < best[1] - LEAST_GAIN * abs(best[1])
            ):
                best = found
                taken[one], taken[other] = rows
        if before == best:
            break
    return [own.proposals[row] for own, row in zip(choices, taken, strict=True) if own.proposals]


def _choices(tariff: Tariff, plans: Sequence[Proposal], machines: int) -> _Choices:
    numbers = np.array(tariff.machines)
    compute_ms, stored_mb = np.zeros((len(plans), machines)), np.zeros((len(plans), machines))
    compute_ms[:, numbers] = [plan.footprint.compute_ms for plan in plans]
    stored_mb[:, numbers] = [plan.footprint.weight_mb for plan in plans]
    compute_price = np.zeros(machines)
    compute_price[numbers] = tariff.compute_price
    price = np.array([plan.footprint.price for plan in plans])
    return _Choices(plans, price, compute_ms * tariff.load_per_ms, compute_ms * compute_price, stored_mb)


def _nobody(machines: int) -> _Choices:
    nothing = np.zeros((1, machines))
    return _Choices((), np.zeros(1), nothing, nothing, nothing)


def _best_pair(
    choices: Sequence[_Choices], taken: Sequence[int], pair: tuple[int, int], base: Floats, bound_mb: Floats
) -> tuple[tuple[float, float], tuple[int, int]]:
    """The best plans of two members while the others keep theirs: by how much too much they take, what they cost."""
    one, other = choices[pair[0]], choices[pair[1]]
    rest = [(own, row) for index, (own, row) in enumerate(zip(choices, taken, strict=True)) if index not in pair]
    cost = one.price[:, None] + other.price + sum(float(own.price[row]) for own, row in rest)
    over = np.zeros_like(cost)
    for machine in range(len(base)):
        used, stored_mb = one.use[:, machine, None], one.stored_mb[:, machine, None]
        also_used, also_stored_mb = other.use[:, machine], other.stored_mb[:, machine]
        held = float(base[machine]) + sum(float(own.use[row, machine]) for own, row in rest)
        held_mb = sum(float(own.stored_mb[row, machine]) for own, row in rest)
        total = held + used + also_used
        over += np.maximum(total - FULL, 0.0)
        if bound_mb[machine] < np.inf:
            excess_mb = held_mb + stored_mb + also_stored_mb - bound_mb[machine] * (1.0 + 1e-9)
            over += np.maximum(excess_mb, 0.0) / max(float(bound_mb[machine]), 1e-9)
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
