"""What a proposer of plans is asked and answers; the one for any problem asks the exact planner.

Its quick colleague for many plain problems at once is fleet_paths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from coordinator import exact
from coordinator.cost import Stage
from coordinator.errors import PlanInfeasibleError
from coordinator.fleet_footprint import Footprint, Tariff, footprint_of
from coordinator.fleet_load import FULL, Member
from coordinator.problem import Problem

MOST_LABELS = 20_000
"""Partial plans after which a search within bounds ends with the best found: a proposal need not be the best."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Questions:
    """Which plans would suit some members best; a row for each, with a figure for each of a member's nodes."""

    members: Sequence[int]
    stretch: Floats
    """What their compute is stretched by."""
    toll: Floats
    """What the fleet asks for a ms of unstretched compute, beyond what the member's own objective counts."""
    toll_mb: Floats
    """What it asks for a MB of weights."""
    room_mb: Floats
    """The MB that others leave; infinite where nothing bounds them."""

    def some(self, rows: Sequence[int]) -> "Questions":
        """Some of the questions."""
        at = np.array(rows, dtype=np.intp)
        members = [self.members[row] for row in rows]
        return Questions(members, self.stretch[at], self.toll[at], self.toll_mb[at], self.room_mb[at])

    def halfway(self, other: "Questions") -> "Questions":
        """The same questions at the mean of their prices and those of other questions about the same members."""
        return replace(self, stretch=(self.stretch + other.stretch) / 2, toll=(self.toll + other.toll) / 2)


class Draft(Protocol):
    """A plan whose stages are made when they are wanted."""

    def stages(self) -> tuple[Stage, ...]:
        """The plan's stages."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """A draft whose stages are there already."""

    made: tuple[Stage, ...]

    def stages(self) -> tuple[Stage, ...]:
        """The plan's stages."""
        return self.made


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan and what it takes."""

    draft: Draft
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Proposals:
    """The answers to some questions, a row for each."""

    price: Floats
    """The part of each plan's objective that no load changes; infinite where a member has no plan in its own bounds."""
    compute_ms: Floats
    """What each plan takes of each node; nodes that a member does not have take nothing."""
    proposal: Callable[[int], Proposal]
    """The plan of a row, where there is one."""


class Proposer(Protocol):
    """Answers questions."""

    def __call__(self, questions: Questions) -> Proposals:
        """The plan for each question."""
        ...


@dataclass(frozen=True, slots=True)
class ExactProposer:
    """Asks coordinator.exact, one member after the other, telling it the tolls as higher loads."""

    members: Sequence[Member]
    tariffs: Sequence[Tariff]

    def __call__(self, questions: Questions) -> Proposals:
        """The plan for each question."""
        found = [
            self._answer(member, stretch, toll, room_mb)
            for member, stretch, toll, room_mb in zip(
                questions.members,
                questions.stretch.tolist(),
                questions.toll.tolist(),
                questions.room_mb.tolist(),
                strict=True,
            )
        ]
        price, compute_ms = np.full(len(found), np.inf), np.zeros_like(questions.stretch)
        for row, proposal in enumerate(found):
            if proposal is not None:
                price[row] = proposal.footprint.price
                compute_ms[row, : len(proposal.footprint.compute_ms)] = proposal.footprint.compute_ms
        made = {row: proposal for row, proposal in enumerate(found) if proposal is not None}
        return Proposals(price, compute_ms, made.__getitem__)

    def _answer(
        self, index: int, stretch: Sequence[float], toll: Sequence[float], room_mb: Sequence[float]
    ) -> Proposal | None:
        member, tariff = self.members[index], self.tariffs[index]
        nodes = range(len(tariff.machines))
        # The load under which compute costs the member what it costs all; where it costs it nothing, no load does.
        tolled = [
            stretch[node] + (toll[node] / tariff.compute_price[node] if tariff.compute_price[node] > 0.0 else 0.0)
            for node in nodes
        ]
        # A load that stands for a toll makes the member late in appearance only.
        for factors in (tolled, stretch):
            try:
                stages = exact.plan(_problem(member.problem, factors, room_mb), most_labels=MOST_LABELS).stages
            except PlanInfeasibleError:
                continue
            return Proposal(Ready(stages), self.footprint(index, stages))
        return None

    def footprint(self, index: int, stages: Sequence[Stage]) -> Footprint:
        """What a plan of a member takes. PlanError if the stages are no plan."""
        return footprint_of(self.members[index], self.tariffs[index], stages)


def _problem(problem: Problem, factors: Sequence[float], room_mb: Sequence[float]) -> Problem:
    return msgspec.structs.replace(
        problem,
        nodes=tuple(
            msgspec.structs.replace(
                node,
                load=min(1.0 - 1.0 / factors[index], FULL),
                memory_mb=None if node.memory_mb is None else room_mb[index],
            )
            for index, node in enumerate(problem.nodes)
        ),
    )
