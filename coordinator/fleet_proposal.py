"""What a proposer of plans is asked and answers; the one for any problem asks the exact planner.

Its quick colleague for many plain problems at once is fleet_paths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from coordinator import exact
from coordinator.cost import Stage
from coordinator.errors import PlanInfeasibleError
from coordinator.fleet_footprint import Footprint, Tariff, footprint_of
from coordinator.fleet_load import FULL, Member
from coordinator.problem import Problem


@dataclass(frozen=True, slots=True)
class Question:
    """Which plan would suit a member best under these prices; a figure for each of its nodes, in their order."""

    member: int
    stretch: tuple[float, ...]
    """Of its compute, by all others' plans."""
    toll: tuple[float, ...]
    """What the fleet asks for a ms of unstretched compute, beyond what the member's own objective counts."""
    toll_mb: tuple[float, ...]
    """What it asks for a MB of weights."""
    room_mb: tuple[float | None, ...]


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


class Proposer(Protocol):
    """Answers questions; None where a member has no plan within its own bounds."""

    def __call__(self, questions: Sequence[Question]) -> list[Proposal | None]:
        """The plan for each question."""
        ...


@dataclass(frozen=True, slots=True)
class ExactProposer:
    """Asks coordinator.exact, one member after the other, telling it the tolls as higher loads."""

    members: Sequence[Member]
    tariffs: Sequence[Tariff]

    def __call__(self, questions: Sequence[Question]) -> list[Proposal | None]:
        """The plan for each question."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Proposal | None:
        member, tariff = self.members[question.member], self.tariffs[question.member]
        tolled = tuple(
            # The load under which compute costs the member what it costs all; where it costs it nothing, no load does.
            stretch + toll / price if price > 0.0 else stretch
            for stretch, toll, price in zip(question.stretch, question.toll, tariff.compute_price, strict=True)
        )
        # A load that stands for a toll makes the member late in appearance only.
        for factors in dict.fromkeys((tolled, question.stretch)):
            try:
                stages = exact.plan(_problem(member, question, factors)).stages
            except PlanInfeasibleError:
                continue
            return Proposal(Ready(stages), footprint_of(member, tariff, stages))
        return None


def _problem(member: Member, question: Question, factors: Sequence[float]) -> Problem:
    problem = member.problem
    return msgspec.structs.replace(
        problem,
        nodes=tuple(
            msgspec.structs.replace(node, load=min(1.0 - 1.0 / factor, FULL), memory_mb=room_mb)
            for node, factor, room_mb in zip(problem.nodes, factors, question.room_mb, strict=True)
        ),
    )
