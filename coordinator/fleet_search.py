"""Plans for all members of a fleet: each pays for the waiting that it causes to others, until no one plan can gain.

A move counts by its true change of the joint objective; the proposers only suggest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from coordinator.fleet_footprint import Footprint
from coordinator.fleet_ledger import Ledger, Obstacle, Weighed
from coordinator.fleet_proposal import Proposal, Proposer, Question

MOST_ROUNDS = 60
MOST_RETRIES = 6
"""Rounds in a row that only ask again those whose best plan by the prices did not hold."""
LEAST_GAIN = 1e-9
"""Of a member's objective; less is rounding."""
DEARER = 4.0
"""By how much a machine's price rises for a member each time that its plan does not fit there."""


@dataclass(slots=True)
class _Nudge:
    """What a member is told beside the common prices, after its proposal did not hold."""

    toll: tuple[float, ...] | None = None
    """In place of the common tolls: what the whole step would have cost the others, per ms."""
    push: dict[int, float] = field(default_factory=dict)
    """More for a ms on these of its nodes, where its plan did not fit."""
    push_mb: dict[int, float] = field(default_factory=dict)


class Search:
    """A fleet's plans while they are being found."""

    def __init__(self, ledger: Ledger, propose: Proposer) -> None:
        self.ledger = ledger
        self.plans: list[Proposal | None] = [None] * len(ledger.tariffs)
        self.obstacles: dict[int, Obstacle | None] = {}
        """Why those members that have no plan have none: None where no plan keeps their own bounds."""
        self._propose = propose
        self._nudges: dict[int, _Nudge] = {}

    def start(self, plans: Sequence[Proposal | None]) -> None:
        """Put plans in force, but for those that break a bound together."""
        self.plans = list(plans)
        self._book_all()
        for member in self.ledger.broken():
            self.plans[member] = None
        self._book_all()

    def improve(self, *, selfish: bool = False) -> int:
        """Move members to better plans until none is found; with `selfish` each looks at its own objective alone.

        Returns the number of rounds. Members without a plan take any that fits first.
        """
        everyone = range(len(self.plans))
        asked: Sequence[int] = everyone
        idle = 0
        for made in range(MOST_ROUNDS):
            moved = self._round(asked, selfish=selfish)
            idle = 0 if moved else idle + 1
            asked = everyone if moved else sorted(self._nudges)
            if not asked or idle > MOST_RETRIES:
                return made + 1
        return MOST_ROUNDS

    def _book_all(self) -> None:
        self.ledger.book_all([None if plan is None else plan.footprint for plan in self.plans])

    def _round(self, asked: Sequence[int], *, selfish: bool) -> bool:
        questions = [self._question(member, selfish=selfish) for member in asked]
        proposals = self._propose(questions)
        hopes: list[tuple[float, int, Proposal]] = []
        nudges, self._nudges = self._nudges, {}
        for question, proposal in zip(questions, proposals, strict=True):
            member = question.member
            if proposal is None:
                if self.ledger.booked[member] is None:
                    self.obstacles[member] = None
                continue
            hope = self._hope(question, self.ledger.booked[member], proposal.footprint)
            if hope > 0.0 or member in nudges:
                hopes.append((hope, member, proposal))
        hopes.sort(key=lambda item: -item[0])
        moved = False
        for _, member, proposal in hopes:
            moved |= self._try(member, proposal, nudges.get(member), selfish=selfish)
        return moved

    def _question(self, member: int, *, selfish: bool) -> Question:
        ledger = self.ledger
        tariff = ledger.tariffs[member]
        nudge = self._nudges.get(member)
        none = (0.0,) * len(tariff.machines)
        if selfish:
            toll = none
        elif nudge is not None and nudge.toll is not None:
            toll = nudge.toll
        else:
            toll = tuple(rise * tariff.load_per_ms for rise in ledger.slopes(member))
        toll_mb = none
        if nudge is not None:
            toll = tuple(price + nudge.push.get(node, 0.0) for node, price in enumerate(toll))
            toll_mb = tuple(nudge.push_mb.get(node, 0.0) for node in range(len(toll)))
        return Question(member, ledger.stretch(member), toll, toll_mb, ledger.room_mb(member))

    def _hope(self, question: Question, now: Footprint | None, proposed: Footprint) -> float:
        """The gain by the prices asked: no less than the true gain, since waiting rises ever faster with load."""
        if now is None:
            return math.inf
        tariff = self.ledger.tariffs[question.member]
        if not tariff.simple:
            return math.inf if now != proposed else 0.0
        gain = now.price - proposed.price
        for node, price in enumerate(tariff.compute_price):
            a_ms = price * question.stretch[node] + question.toll[node]
            gain += (now.compute_ms[node] - proposed.compute_ms[node]) * a_ms
        return gain if gain > LEAST_GAIN * abs(self.ledger.objective(question.member)) else 0.0

    def _try(self, member: int, proposal: Proposal, nudge: _Nudge | None, *, selfish: bool) -> bool:
        """Book a proposal if it gains, else remember what spoke against it."""
        weighed = self.ledger.weigh(member, proposal.footprint)
        planned = self.ledger.booked[member] is not None
        if weighed.obstacle is not None:
            if not planned:
                self.obstacles[member] = weighed.obstacle
            self._nudges[member] = self._pushed(member, proposal, weighed.obstacle, nudge)
            return False
        change = weighed.own if selfish else weighed.own + sum(weighed.others)
        if planned and change > -LEAST_GAIN * abs(self.ledger.objective(member)):
            if not selfish and nudge is None:
                self._nudges[member] = self._secant(member, proposal, weighed)
            return False
        self.ledger.book(member, proposal.footprint)
        self.plans[member] = proposal
        self.obstacles.pop(member, None)
        return True

    def _secant(self, member: int, proposal: Proposal, weighed: Weighed) -> _Nudge:
        """The tolls at which the step would have been priced right."""
        ledger = self.ledger
        tariff, now = ledger.tariffs[member], ledger.booked[member]
        tolls = [rise * tariff.load_per_ms for rise in ledger.slopes(member)]
        for node, change in enumerate(weighed.others):
            extra_ms = proposal.footprint.compute_ms[node] - (now.compute_ms[node] if now else 0.0)
            if extra_ms and change:
                tolls[node] = max(0.0, change / extra_ms)
        return _Nudge(toll=tuple(tolls))

    def _pushed(self, member: int, proposal: Proposal, obstacle: Obstacle, nudge: _Nudge | None) -> _Nudge:
        """Dearer where the plan did not fit; for a deadline, of whatever it would have slowed down, everywhere."""
        tariff = self.ledger.tariffs[member]
        pushed = nudge or _Nudge()
        nodes = [node for node, number in enumerate(tariff.machines) if number == obstacle.number]
        if obstacle.bound == "deadline_ms":
            nodes = [node for node, ms in enumerate(proposal.footprint.compute_ms) if ms]
        for node in nodes:
            if obstacle.bound == "memory_mb":
                least = 0.01 / max(proposal.footprint.weight_mb[node], 1e-9)
                pushed.push_mb[node] = max(least, DEARER * pushed.push_mb.get(node, 0.0))
            else:
                least = max(tariff.compute_price) * max(self.ledger.stretch(member))
                pushed.push[node] = max(least, DEARER * pushed.push.get(node, 0.0))
        return pushed
