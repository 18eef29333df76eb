"""Who takes how much of which machine, and what another plan of one deployment would change for all.

It weighs and books; which plans are tried, and in which order, is fleet_search's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coordinator.fleet_footprint import Footprint, Tariff, late_ms, objective, slope
from coordinator.fleet_load import FULL, Capacity
from coordinator.prices import within

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a plan cannot be booked: the bound, and the number of the machine or, for a deadline, of the member."""

    bound: str
    number: int
    alone: bool = False
    """Whether the plan would break it were nobody else there."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What booking a plan would change: the member's own objective, and the others' by each of its nodes."""

    own: float
    others: tuple[float, ...]
    obstacle: Obstacle | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the plans in force mean for some members; a row each, a figure for each of a member's nodes."""

    machine: Integers
    """The number of each node's machine; one more than there are for nodes that a member does not have."""
    stretch: Floats
    """What the others' plans and the machines' own loads stretch its compute by."""
    slope: Floats
    """What the others' objectives rise by per unit of load that it adds."""
    room_mb: Floats
    """The MB that the others' plans leave; infinite where nothing bounds them."""


class _Machine:
    """A machine and what its members take of it, each in a place of its arrays, which are parts of the ledger's."""

    def __init__(self, name: str, capacity: Capacity, ledger: "Ledger", places: slice) -> None:
        self.name, self.load, self.memory_mb = name, capacity.load, capacity.memory_mb
        self.stored_mb, self.use = ledger.stored_mb[places], ledger.use[places]
        self.worth, self.left = ledger.worth[places], ledger.left[places]
        self.total = self.total_mb = self.slope = 0.0

    def reckon(self) -> None:
        """Add up again after a change."""
        self.total = self.load + float(self.use.sum())
        self.total_mb = float(self.stored_mb.sum())
        np.maximum(self.use + (1.0 - self.total), 1.0 - FULL, out=self.left)
        self.slope = float((self.worth / (self.left * self.left)).sum())

    def change(self, place: int, more: float) -> float:
        """What the simple members but one pay more where that one takes `more` of the machine."""
        changes = self.worth * (more / (self.left * (self.left - more)))
        return float(changes.sum() - changes[place])


class Ledger:
    """The plans in force of a fleet's members, by their footprints, and the machines that they share.

    What a member takes of a machine has a place in the arrays below, those of one machine side by side.
    """

    def __init__(self, tariffs: Sequence[Tariff], names: Sequence[str], capacities: Sequence[Capacity]) -> None:
        self.tariffs = tariffs
        self.booked: list[Footprint | None] = [None] * len(tariffs)
        using: list[list[tuple[int, int]]] = [[] for _ in names]
        for member, tariff in enumerate(tariffs):
            for node, number in enumerate(tariff.machines):
                using[number].append((member, node))
        places = sum(map(len, using))
        widest = max(len(tariff.machines) for tariff in tariffs)
        # One more place, on a machine of its own, stands for the nodes that a member has fewer than others.
        self.stored_mb, self.use, self.worth = (np.zeros(places + 1) for _ in range(3))
        self.price = np.zeros(len(tariffs))
        """The part of each simple member's objective that no load changes."""
        self.left = np.ones(places + 1)
        """What a member finds left of a machine when the others' plans run."""
        self._place = np.full((len(tariffs), widest), places)
        self._number = np.full((len(tariffs), widest), len(names))
        self.machines: list[_Machine] = []
        self._curved: list[tuple[int, ...]] = []
        end = 0
        for number, (users, name, capacity) in enumerate(zip(using, names, capacities, strict=True)):
            start, end = end, end + len(users)
            self.machines.append(_Machine(name, capacity, self, slice(start, end)))
            self._curved.append(tuple(member for member, _ in users if not tariffs[member].simple))
            if users:
                members, nodes = np.array(users).T
                self._place[members, nodes] = np.arange(start, end)
                self._number[members, nodes] = number
        starts = np.cumsum([0, *map(len, using)]).tolist()
        self._places = [
            tuple((number, row[node], row[node] - starts[number]) for node, number in enumerate(tariff.machines))
            for tariff, row in zip(tariffs, self._place.tolist(), strict=True)
        ]
        """For each node of each member its machine, the place in the ledger's arrays and that in the machine's."""
        self._any_curved = any(self._curved)

    def conditions(self, members: Sequence[int]) -> Conditions:
        """What the plans in force mean for some members."""
        places, numbers = self._place[members], self._number[members]
        left = self.left[places]
        total_slope = np.array([*(machine.slope for machine in self.machines), 0.0])
        slopes = total_slope[numbers] - self.worth[places] / (left * left)
        if self._any_curved:
            bent = [self._curved_slopes(number) for number in range(len(self.machines))]
            for row, member in enumerate(members):
                for node, number in enumerate(self.tariffs[member].machines):
                    slopes[row, node] += sum(rise for other, rise in bent[number].items() if other != member)
        bounds = [np.inf if machine.memory_mb is None else machine.memory_mb for machine in self.machines]
        free_mb = np.array([bound - machine.total_mb for bound, machine in zip(bounds, self.machines, strict=True)])
        room_mb = np.append(free_mb, np.inf)[numbers] + self.stored_mb[places]
        return Conditions(numbers, 1.0 / left, np.maximum(slopes, 0.0), np.maximum(room_mb, 0.0))

    def _curved_slopes(self, number: int) -> dict[int, float]:
        """What the objective of each member of a machine that is not simple rises by per unit of its load."""
        rises = {}
        for member in self._curved[number]:
            footprint, tariff = self.booked[member], self.tariffs[member]
            if footprint is not None:
                rises[member] = slope(tariff, footprint, self.stretch(member), tariff.machines.index(number))
        return rises

    def stretch(self, member: int, more: Mapping[int, float] | None = None) -> tuple[float, ...]:
        """What a member's compute is stretched by, where `more` is taken of machines than is booked."""
        if not more:
            return tuple([1.0 / float(self.left[place]) for _, place, _ in self._places[member]])
        return tuple(
            [
                1.0 / max(float(self.left[place]) - more.get(number, 0.0), 1.0 - FULL)
                for number, place, _ in self._places[member]
            ]
        )

    def objective(self, member: int) -> float:
        """A member's objective under the plans in force; 0 while it has none."""
        footprint = self.booked[member]
        return 0.0 if footprint is None else objective(self.tariffs[member], footprint, self.stretch(member))

    def may_gain(self, member: int, price: float, compute_ms: Sequence[float], least: float) -> bool:
        """Whether a plan of these figures could make all better off by more than `least` of the member's objective.

        Waiting rises ever faster with load, so what the latest prices promise is no less than the truth.
        """
        now, tariff = self.booked[member], self.tariffs[member]
        if now is None or self._any_curved:
            return True
        gain, worth = now.price - price, now.price
        for node, (number, place, _) in enumerate(self._places[member]):
            left = float(self.left[place])
            slope = self.machines[number].slope - float(self.worth[place]) / (left * left)
            own = tariff.compute_price[node] / left
            gain += (now.compute_ms[node] - compute_ms[node]) * (own + tariff.load_per_ms * slope)
            worth += now.compute_ms[node] * own
        return gain > least * abs(worth)

    def weigh(self, member: int, footprint: Footprint) -> Weighed:
        """What booking this plan would change, were it to replace the member's present one."""
        tariff = self.tariffs[member]
        more: dict[int, float] = {}
        others = [0.0] * len(tariff.machines)
        for node, (number, at, place) in enumerate(self._places[member]):
            machine = self.machines[number]
            extra = footprint.compute_ms[node] * tariff.load_per_ms - float(self.use[at])
            if extra > 0.0 and machine.total + extra >= FULL:
                alone = footprint.compute_ms[node] * tariff.load_per_ms >= FULL - machine.load
                return Weighed(0.0, (), Obstacle("requests_per_s", number, alone))
            if machine.memory_mb is not None:
                extra_mb = footprint.weight_mb[node] - float(self.stored_mb[at])
                if extra_mb > 0.0 and not within(machine.total_mb + extra_mb, machine.memory_mb):
                    return Weighed(0.0, (), Obstacle("memory_mb", number))
            if extra and len(machine.use) > 1:
                more[number] = extra
                others[node] = machine.change(place, extra)
        factors = self.stretch(member)
        if late_ms(tariff, footprint, factors):
            return Weighed(0.0, (), Obstacle("deadline_ms", member))
        if self._any_curved:
            late = self._curved_changes(member, more, others)
            if late is not None:
                return Weighed(0.0, (), Obstacle("deadline_ms", late))
        return Weighed(objective(tariff, footprint, factors) - self.objective(member), tuple(others), None)

    def _curved_changes(self, member: int, more: Mapping[int, float], others: list[float]) -> int | None:
        """Add to `others` what members that are not simple pay more; returns the first that is late then, if any."""
        for node, number in enumerate(self.tariffs[member].machines):
            if number not in more:
                continue
            for other in self._curved[number]:
                theirs, tariff = self.booked[other], self.tariffs[other]
                if other == member or theirs is None:
                    continue
                changed = self.stretch(other, more)
                if more[number] > 0.0 and late_ms(tariff, theirs, changed):
                    return other
                # One that shares several of the machines would otherwise be counted at each.
                shared = sum(1 for at in tariff.machines if at in more)
                others[node] += (objective(tariff, theirs, changed) - self.objective(other)) / shared
        return None

    def book(self, member: int, footprint: Footprint) -> None:
        """Put a plan in force."""
        self.booked[member] = footprint
        for number in self._enter(member, footprint):
            self.machines[number].reckon()

    def book_all(self, footprints: Sequence[Footprint | None]) -> None:
        """Put all members' plans in force, in place of those that were."""
        self.booked = list(footprints)
        for figures in (self.stored_mb, self.use, self.worth, self.price):
            figures.fill(0.0)
        for member, footprint in enumerate(footprints):
            if footprint is not None:
                self._enter(member, footprint)
        for machine in self.machines:
            machine.reckon()

    def _enter(self, member: int, footprint: Footprint) -> list[int]:
        """Note what a plan takes of its machines, and return those where that is new."""
        tariff, changed = self.tariffs[member], []
        self.price[member] = footprint.price if tariff.simple else 0.0
        for node, (number, place, _) in enumerate(self._places[member]):
            ms, stored_mb = footprint.compute_ms[node], footprint.weight_mb[node]
            use = ms * tariff.load_per_ms
            worth = ms * tariff.compute_price[node] if tariff.simple else 0.0
            if (use, stored_mb, worth) != (self.use[place], self.stored_mb[place], self.worth[place]):
                self.use[place], self.stored_mb[place], self.worth[place] = use, stored_mb, worth
                changed.append(number)
        return changed

    def broken(self) -> set[int]:
        """The members whose plans take part in overloading a machine, or that miss their deadlines."""
        found: set[int] = set()
        for member, places in enumerate(self._places):
            footprint, tariff = self.booked[member], self.tariffs[member]
            if footprint is None:
                continue
            overloads = any(self.use[place] and self.machines[number].total >= FULL for number, place, _ in places)
            overfills = any(
                self.stored_mb[place] and not within(self.machines[number].total_mb, self.machines[number].memory_mb)
                for number, place, _ in places
            )
            if overloads or overfills or late_ms(tariff, footprint, self.stretch(member)):
                found.add(member)
        return found

    def total(self) -> float:
        """The sum of the members' objectives under the plans in force."""
        simple = float(self.price.sum() + (self.worth / self.left).sum())
        curved = {member for members in self._curved for member in members}
        return simple + sum(self.objective(member) for member in curved)
