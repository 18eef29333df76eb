"""Plans for all members of a fleet: each pays for the waiting that it causes to others, until no one plan can gain.

A move counts by its true change of the joint objective; the proposers only suggest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from coordinator.fleet_footprint import Footprint
from coordinator.fleet_ledger import Ledger, Obstacle, Weighed
from coordinator.fleet_proposal import Proposal, Proposals, Proposer, Questions

MOST_ROUNDS = 60
MOST_RETRIES = 12
"""Rounds in a row that only ask again those whose best plan by the prices did not hold."""
LEAST_GAIN = 1e-9
"""Of a member's objective; less is rounding."""
ENOUGH = 1e-5
"""Of the joint objective; a round of all members that gains less is the last."""
DEARER = 2.0
"""By how much a machine's price rises for a member each time that its plan does not fit there."""

MOST_RESCUES = 10
"""How often what is full is made dearer for all, so that those make room who can."""
RESCUE_DEARER = 4.0

Floats = NDArray[np.float64]


@dataclass(slots=True)
class _Nudge:
    """What a member is told beside the common prices, after its proposal did not hold."""

    toll: dict[int, float] = field(default_factory=dict)
    """On these of its nodes, in place of the common toll: what the whole step would have cost the others, per ms."""
    push: dict[int, float] = field(default_factory=dict)
    """More for a ms on these of its nodes, where its plan did not fit."""
    push_mb: dict[int, float] = field(default_factory=dict)


class Search:
    """A fleet's plans while they are being found."""

    def __init__(self, ledger: Ledger, propose: Proposer) -> None:
        self.ledger = ledger
        self.plans: list[Proposal | None] = [None] * len(ledger.tariffs)
        self.obstacles: dict[int, Obstacle] = {}
        """What the members' latest proposals met, for those that have no plan; none where they have no proposal."""
        self.confined: set[int] = set()
        """Members whose best plan by the prices has asked more of a machine than it has, were nobody else there."""
        self.propose = propose
        self._nudges: dict[int, _Nudge] = {}
        self._full, self._full_mb = np.zeros(len(ledger.machines) + 1), np.zeros(len(ledger.machines) + 1)
        """What all pay for the load, and the MB, that they put on each machine beside others' waiting, to make room."""
        tariffs = ledger.tariffs
        widest = max(len(tariff.machines) for tariff in tariffs)
        self._compute_price = np.zeros((len(tariffs), widest))
        for member, tariff in enumerate(tariffs):
            self._compute_price[member, : len(tariff.machines)] = tariff.compute_price
        self._load_per_ms = np.array([tariff.load_per_ms for tariff in tariffs])
        self._simple = np.array([tariff.simple for tariff in tariffs])
        self._now_ms = np.zeros_like(self._compute_price)
        self._now_price = np.full(len(tariffs), np.inf)

    @property
    def stuck(self) -> bool:
        """Whether a member has no plan yet."""
        return any(plan is None for plan in self.plans)

    def start(self, plans: Sequence[Proposal | None]) -> None:
        """Put plans in force, but for those that break a bound together."""
        self.ledger.book_all([None if plan is None else plan.footprint for plan in plans])
        broken = self.ledger.broken()
        self.plans = [None if member in broken else plan for member, plan in enumerate(plans)]
        if broken:
            self.ledger.book_all([None if plan is None else plan.footprint for plan in self.plans])
        self._nudges = {}
        for member, plan in enumerate(self.plans):
            self._note(member, None if plan is None else plan.footprint)

    def improve(self, *, selfish: bool = False) -> int:
        """Move members to better plans until none is found; with `selfish` each looks at its own objective alone.

        Returns the number of rounds. Members without a plan take any that fits.
        """
        everyone = range(len(self.plans))
        asked: Sequence[int] = everyone
        idle = 0
        smooth: Questions | None = None
        for made in range(MOST_ROUNDS):
            true = self._questions(asked, selfish=selfish)
            # Where all answer the latest prices at once, loads swing; the mean with earlier prices calms them.
            told = true if smooth is None or len(asked) < len(everyone) else true.halfway(smooth)
            gained = self._round(true, self._nudged(told), selfish=selfish)
            if gained:
                smooth, asked, idle = (told if len(asked) == len(everyone) else None), everyone, 0
            elif told is not true:
                smooth = None
            else:
                asked, idle = sorted(self._nudges), idle + 1
            if not asked or idle > MOST_RETRIES:
                return made + 1
        return MOST_ROUNDS

    def rescue(self) -> int:
        """Find plans for members that have none, by having the others make room; the rounds that it took."""
        rounds = 0
        price = abs(self.ledger.total()) + 1.0
        for _ in range(MOST_RESCUES):
            waiting = [member for member, plan in enumerate(self.plans) if plan is None]
            met = [self.obstacles[member] for member in waiting if member in self.obstacles]
            full = {obstacle.number for obstacle in met if obstacle.bound == "requests_per_s"}
            # Whoever would be late is so for the load on one of its nodes.
            late = [obstacle.number for obstacle in met if obstacle.bound == "deadline_ms"]
            full.update(number for member in late for number in self.ledger.tariffs[member].machines)
            full_mb = {obstacle.number for obstacle in met if obstacle.bound == "memory_mb"}
            if not full and not full_mb:
                break
            for number in full:
                self._full[number] = max(price, RESCUE_DEARER * self._full[number])
            for number in full_mb:
                least = price / max(self.ledger.machines[number].total_mb, 1e-9)
                self._full_mb[number] = max(least, RESCUE_DEARER * self._full_mb[number])
            rounds += self.improve()
        self._full.fill(0.0)
        self._full_mb.fill(0.0)
        return rounds + self.improve()

    def _note(self, member: int, footprint: Footprint | None) -> None:
        self._now_price[member] = np.inf if footprint is None else footprint.price
        if footprint is not None:
            self._now_ms[member, : len(footprint.compute_ms)] = footprint.compute_ms

    def _round(self, true: Questions, told: Questions, *, selfish: bool) -> bool:
        """Ask for plans by the prices told and book those that gain; whether that was worth it."""
        proposals = self.propose(told)
        hopes = self._hopes(true, proposals)
        if self._full_mb.any():
            hopes.fill(np.inf)  # the prices of MB are not among the figures that hopes compare
        nudges, self._nudges = self._nudges, {}
        gained = 0.0
        unsure = selfish or bool(self._full.any()) or bool(self._full_mb.any())
        for row in np.argsort(-hopes, kind="stable").tolist():
            member = told.members[row]
            nudge = nudges.get(member)
            price = float(proposals.price[row])
            if price == np.inf or (nudge is None and hopes[row] <= 0.0):
                continue
            # Others have moved since the prices were asked.
            if (
                unsure
                or nudge is not None
                or self.ledger.may_gain(member, price, proposals.compute_ms[row].tolist(), LEAST_GAIN)
            ):
                gained += self._try(member, proposals.proposal(row), nudge, selfish=selfish)
        return gained > ENOUGH * abs(self.ledger.total())

    def _questions(self, asked: Sequence[int], *, selfish: bool) -> Questions:
        """At the prices that the plans in force make."""
        conditions = self.ledger.conditions(asked)
        asked_for = np.zeros_like(conditions.slope) if selfish else conditions.slope + self._full[conditions.machine]
        toll = asked_for * self._load_per_ms[asked, None]
        return Questions(asked, conditions.stretch, toll, self._full_mb[conditions.machine], conditions.room_mb)

    def _nudged(self, questions: Questions) -> Questions:
        """With what members are told beside the common prices."""
        if not self._nudges:
            return questions
        toll, toll_mb = questions.toll.copy(), questions.toll_mb.copy()
        for row, member in enumerate(questions.members):
            nudge = self._nudges.get(member)
            if nudge is not None:
                for node, price in nudge.toll.items():
                    toll[row, node] = price
                for node, price in nudge.push.items():
                    toll[row, node] += price
                for node, price in nudge.push_mb.items():
                    toll_mb[row, node] += price
        return replace(questions, toll=toll, toll_mb=toll_mb)

    def _hopes(self, questions: Questions, proposals: Proposals) -> Floats:
        """The gains by the prices asked, no less than the true ones, since waiting rises ever faster with load.

        Infinite for members that have no plan, or whose objective is no sum; 0 where there is nothing to gain.
        """
        asked = np.array(questions.members, dtype=np.intp)
        a_ms = self._compute_price[asked] * questions.stretch + questions.toll
        now_ms, now_price = self._now_ms[asked], self._now_price[asked]
        with np.errstate(invalid="ignore"):  # neither now nor proposed: infinite less infinite
            gains = now_price - proposals.price + ((now_ms - proposals.compute_ms) * a_ms).sum(1)
        least = LEAST_GAIN * np.abs(now_price + (now_ms * a_ms).sum(1))
        hopes = np.where(gains > least, gains, 0.0)
        other = (now_price != proposals.price) | (now_ms != proposals.compute_ms).any(1)
        return np.where((now_price == np.inf) | (~self._simple[asked] & other), np.inf, hopes)

    def _try(self, member: int, proposal: Proposal, nudge: _Nudge | None, *, selfish: bool) -> float:
        """Book a proposal if it gains, else remember what spoke against it; the gain, infinite for a first plan."""
        weighed = self.ledger.weigh(member, proposal.footprint)
        planned = self.plans[member] is not None
        if weighed.obstacle is not None:
            if weighed.obstacle.alone:
                self.confined.add(member)
            if not planned:
                self.obstacles[member] = weighed.obstacle
            self._nudges[member] = self._pushed(member, proposal, weighed.obstacle, nudge or _Nudge())
            return 0.0
        change = weighed.own
        if not selfish:
            change += sum(weighed.others) + self._room_taken(member, proposal.footprint)
        if planned and change > -LEAST_GAIN * abs(self.ledger.objective(member)):
            if not selfish and nudge is None:
                self._nudges[member] = self._secant(member, proposal, weighed)
            return 0.0
        self.ledger.book(member, proposal.footprint)
        self._note(member, proposal.footprint)
        self.plans[member] = proposal
        return -change if planned else np.inf

    def _room_taken(self, member: int, footprint: Footprint) -> float:
        """What a plan pays more than the member's present one for what is full."""
        if not self._full.any() and not self._full_mb.any():
            return 0.0
        now, tariff = self.ledger.booked[member], self.ledger.tariffs[member]
        paid = 0.0
        for node, number in enumerate(tariff.machines):
            more_ms = footprint.compute_ms[node] - (now.compute_ms[node] if now else 0.0)
            more_mb = footprint.weight_mb[node] - (now.weight_mb[node] if now else 0.0)
            paid += float(self._full[number]) * tariff.load_per_ms * more_ms + float(self._full_mb[number]) * more_mb
        return paid

    def _secant(self, member: int, proposal: Proposal, weighed: Weighed) -> _Nudge:
        """The tolls at which the step would have been priced right."""
        now_ms = self._now_ms[member].tolist()
        tolls = {}
        for node, change in enumerate(weighed.others):
            extra_ms = proposal.footprint.compute_ms[node] - now_ms[node]
            if extra_ms and change:
                tolls[node] = max(0.0, change / extra_ms)
        return _Nudge(toll=tolls)

    def _pushed(self, member: int, proposal: Proposal, obstacle: Obstacle, nudge: _Nudge) -> _Nudge:
        """Dearer where the plan did not fit; for a deadline, wherever it computes."""
        tariff = self.ledger.tariffs[member]
        for node, number in enumerate(tariff.machines):
            if obstacle.bound == "memory_mb" and number == obstacle.number:
                # A hundredth of the objective for what is stored is felt, and four times as much each time ends soon.
                least = 0.01 / max(proposal.footprint.weight_mb[node], 1e-9)
                nudge.push_mb[node] = max(least, DEARER * nudge.push_mb.get(node, 0.0))
            elif number == obstacle.number or (obstacle.bound == "deadline_ms" and proposal.footprint.compute_ms[node]):
                least = max(tariff.compute_price) * max(self.ledger.stretch(member))
                nudge.push[node] = max(least, DEARER * nudge.push.get(node, 0.0))
        return nudge
