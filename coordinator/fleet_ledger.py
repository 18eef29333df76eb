"""Who takes how much of which machine, and what another plan of one deployment would change for all.

It weighs and books; which plans are tried, and in which order, is fleet_search's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coordinator.fleet_footprint import Footprint, Tariff, late_ms, objective, slope
from coordinator.fleet_load import FULL
from coordinator.prices import within

NOTHING = 0.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a plan cannot be booked: the bound and the machine, or for a deadline the member, that it breaks it on."""

    bound: str
    number: int


@dataclass(frozen=True, slots=True)
class Weighed:
    """What booking a plan would change: the member's own objective, and each of its machines for the others."""

    own: float
    others: tuple[float, ...]
    obstacle: Obstacle | None


class _Machine:
    """One machine and what the members that can use it take of it; members by their place in its list."""

    def __init__(self, name: str, load: float, memory_mb: float | None, members: Sequence[int]) -> None:
        self.name = name
        self.load = load
        self.memory_mb = memory_mb
        self.members = members
        self.stored_mb = np.zeros(len(members))
        self.use = np.zeros(len(members))
        self.worth = np.zeros(len(members))
        """What unstretched compute there comes to in the objectives of simple members; 0 for the others."""
        self.reckon()

    def reckon(self) -> None:
        """Add up again after a change."""
        self.total = self.load + float(self.use.sum())
        self.total_mb = float(self.stored_mb.sum())
        # What each member finds left of the machine when the others' plans run.
        self.left = np.maximum(1.0 - self.total + self.use, 1.0 - FULL)
        self.slope = float((self.worth / self.left**2).sum())

    def clear(self) -> None:
        """Take all plans off it."""
        for figures in (self.stored_mb, self.use, self.worth):
            figures.fill(NOTHING)

    def enter(self, place: int, use: float, stored_mb: float, worth: float) -> bool:
        """Note what a member takes; whether that is new."""
        if (use, stored_mb, worth) == (self.use[place], self.stored_mb[place], self.worth[place]):
            return False
        self.use[place], self.stored_mb[place], self.worth[place] = use, stored_mb, worth
        return True

    def change(self, place: int, more: float) -> float:
        """What the simple members but one pay more where that one takes `more` of the machine."""
        changes = self.worth * (more / (self.left * (self.left - more)))
        return float(changes.sum() - changes[place])


class Ledger:
    """The plans in force of a fleet's members, by their footprints, and the machines that they share."""

    def __init__(self, tariffs: Sequence[Tariff], machines: Sequence[tuple[str, float, float | None]]) -> None:
        self.tariffs = tariffs
        self.booked: list[Footprint | None] = [None] * len(tariffs)
        using: list[list[int]] = [[] for _ in machines]
        self._places: list[tuple[int, ...]] = []
        for member, tariff in enumerate(tariffs):
            self._places.append(tuple(len(using[number]) for number in tariff.machines))
            for number in tariff.machines:
                using[number].append(member)
        self.machines = [
            _Machine(name, load, memory_mb, members)
            for (name, load, memory_mb), members in zip(machines, using, strict=True)
        ]
        self._curved = [
            tuple(member for member in machine.members if not tariffs[member].simple) for machine in self.machines
        ]

    def stretch(self, member: int, more: Mapping[int, float] | None = None) -> tuple[float, ...]:
        """What the others' plans and the machines' own loads stretch a member's compute by, node by node.

        `more` is what is taken of machines beyond what is booked.
        """
        factors = []
        for number, place in zip(self.tariffs[member].machines, self._places[member], strict=True):
            left = float(self.machines[number].left[place])
            if more:
                left = max(left - more.get(number, NOTHING), 1.0 - FULL)
            factors.append(1.0 / left)
        return tuple(factors)

    def slopes(self, member: int) -> tuple[float, ...]:
        """What the others' objectives rise by per unit of load that the member adds to each of its nodes."""
        rises = []
        for number, place in zip(self.tariffs[member].machines, self._places[member], strict=True):
            machine = self.machines[number]
            rise = machine.slope - float(machine.worth[place] / machine.left[place] ** 2)
            for other in self._curved[number]:
                footprint = self.booked[other]
                if other != member and footprint is not None:
                    tariff = self.tariffs[other]
                    rise += slope(tariff, footprint, self.stretch(other), tariff.machines.index(number))
            rises.append(max(rise, NOTHING))
        return tuple(rises)

    def room_mb(self, member: int) -> tuple[float | None, ...]:
        """The MB that the others' plans leave on each of a member's nodes; None where nothing bounds them."""
        rooms: list[float | None] = []
        for number, place in zip(self.tariffs[member].machines, self._places[member], strict=True):
            machine = self.machines[number]
            taken = machine.total_mb - float(machine.stored_mb[place])
            rooms.append(None if machine.memory_mb is None else max(0.0, machine.memory_mb - taken))
        return tuple(rooms)

    def objective(self, member: int) -> float:
        """A member's objective under the plans in force; 0 while it has none."""
        footprint = self.booked[member]
        return NOTHING if footprint is None else objective(self.tariffs[member], footprint, self.stretch(member))

    def weigh(self, member: int, footprint: Footprint) -> Weighed:
        """What booking this plan would change, were it to replace the member's present one."""
        tariff = self.tariffs[member]
        more: dict[int, float] = {}
        others = [NOTHING] * len(tariff.machines)
        for node, (number, place) in enumerate(zip(tariff.machines, self._places[member], strict=True)):
            machine = self.machines[number]
            extra = footprint.compute_ms[node] * tariff.load_per_ms - float(machine.use[place])
            if extra > NOTHING and machine.total + extra >= FULL:
                return Weighed(NOTHING, (), Obstacle("requests_per_s", number))
            if machine.memory_mb is not None:
                extra_mb = footprint.weight_mb[node] - float(machine.stored_mb[place])
                if extra_mb > NOTHING and not within(machine.total_mb + extra_mb, machine.memory_mb):
                    return Weighed(NOTHING, (), Obstacle("memory_mb", number))
            if extra and len(machine.members) > 1:
                more[number] = extra
                others[node] = machine.change(place, extra)
        factors = self.stretch(member)
        if late_ms(tariff, footprint, factors):
            return Weighed(NOTHING, (), Obstacle("deadline_ms", member))
        for node, number in enumerate(tariff.machines):
            if number not in more:
                continue
            for other in self._curved[number]:
                theirs = self.booked[other]
                if other == member or theirs is None:
                    continue
                changed = self.stretch(other, more)
                if late_ms(self.tariffs[other], theirs, changed) and more[number] > NOTHING:
                    return Weighed(NOTHING, (), Obstacle("deadline_ms", other))
                shared = sum(1 for at in self.tariffs[other].machines if at in more)
                change = objective(self.tariffs[other], theirs, changed) - self.objective(other)
                # One that shares several of the machines would otherwise be counted at each.
                others[node] += change / shared
        own = objective(tariff, footprint, factors) - self.objective(member)
        return Weighed(own, tuple(others), None)

    def book(self, member: int, footprint: Footprint) -> None:
        """Put a plan in force."""
        self.booked[member] = footprint
        for number in self._enter(member, footprint):
            self.machines[number].reckon()

    def _enter(self, member: int, footprint: Footprint) -> list[int]:
        """Note what a plan takes of its machines, and return those where that is new."""
        tariff, changed = self.tariffs[member], []
        for node, (number, place) in enumerate(zip(tariff.machines, self._places[member], strict=True)):
            machine, ms = self.machines[number], footprint.compute_ms[node]
            worth = ms * tariff.compute_price[node] if tariff.simple else NOTHING
            if machine.enter(place, ms * tariff.load_per_ms, footprint.weight_mb[node], worth):
                changed.append(number)
        return changed

    def book_all(self, footprints: Sequence[Footprint | None]) -> None:
        """Put all members' plans in force, in place of those that were."""
        self.booked = list(footprints)
        for machine in self.machines:
            machine.clear()
        for member, footprint in enumerate(footprints):
            if footprint is not None:
                self._enter(member, footprint)
        for machine in self.machines:
            machine.reckon()

    def broken(self) -> set[int]:
        """The members whose plans take part in overloading a machine, or that miss their deadlines."""
        found: set[int] = set()
        for machine in self.machines:
            if machine.total >= FULL:
                found.update(member for place, member in enumerate(machine.members) if machine.use[place])
            if not within(machine.total_mb, machine.memory_mb):
                found.update(member for place, member in enumerate(machine.members) if machine.stored_mb[place])
        for member, (tariff, footprint) in enumerate(zip(self.tariffs, self.booked, strict=True)):
            if tariff.deadline_ms is not None and footprint is not None:
                late = late_ms(tariff, footprint, self.stretch(member))
                found.update([member] if late else [])
        return found

    def total(self) -> float:
        """The sum of the members' objectives under the plans in force."""
        return sum(self.objective(member) for member in range(len(self.tariffs)))
