"""How long the origin waits for the next sign of a request, by its plan's prediction and by what its nodes really took.

Pure: times come as arguments. What is done when the time is over is `edge_agent.origin`'s part.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker.messages import Plan, StagePrediction
from edge_agent.routes import PLANS_KEPT, route

FACTOR: Final = 3.0
"""On the mean: a stage whose processor others take two thirds of, unknown to the plan, is not late yet."""
DEVIATIONS: Final = 4.0  # of what was predicted or learned; TCP's retransmission timer takes as many (RFC 6298)
FLOOR_MS: Final = 500.0
"""Two lost packets in a row cost a TCP sender 200 + 400 ms at least (Linux's TCP_RTO_MIN, doubled)."""
OVERHEAD_MS: Final = FLOOR_MS / 2.0
"""Of what a leg took beyond its prediction, so much is put down to waiting, which does not grow with the leg."""
LEAST_MEAN_MS: Final = 100.0
"""A leg that is predicted to be shorter teaches as if it were so long: a pair's longer legs are judged by it too."""
MOST_RATIO: Final = 1_000.0
LEARNING: Final = 0.125  # the weights of a new sample in the mean and in the deviation, as RFC 6298 has them
LEARNING_DEVIATION: Final = 0.25
PAIRS_KEPT: Final = 1_024
LONGEST_GRACE_NS: Final = 1_000_000_000
LEAST_GRACE_NS: Final = 100_000_000  # a process that is not scheduled for so long is no rarity on a busy machine
GRACE_ROUND_TRIPS: Final = 4.0  # a record comes one round trip after its tensors; the rest is for lost packets

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Leg:
    """A way of tensors from one node to another, and the compute at `src` that comes before it."""

    hop: int
    """The hop that the tensors go to."""
    src: str
    dst: str
    mean_ms: float | None
    """From the sign before to the arrival at `dst`; None where the plan does not predict its stages."""
    std_ms: float

    @property
    def pair(self) -> Pair:
        """The directed link that it takes."""
        return (self.src, self.dst)


@functools.lru_cache(maxsize=PLANS_KEPT)
def legs(plan: Plan) -> tuple[Leg, ...]:
    """Every leg of a request, in order.

    A leg's time begins with the leg before; one that leaves the origin begins when the origin hands on, so that its own
    compute does not count.
    """
    found: list[Leg] = []
    hops = route(plan)
    relay_first = plan.stages[0].node != plan.origin
    compute = _Time(0.0, 0.0)
    for number, (here, there) in enumerate(itertools.pairwise(hops)):
        if not here.relays:
            stage = _stage(plan, number - relay_first)
            compute = compute.plus(stage.compute_ms, stage.compute_std_ms)
        if here.node == there.node:
            continue
        before = _Time(0.0, 0.0) if here.node == plan.origin else compute
        stage_number = number + 1 - relay_first
        if stage_number < len(plan.stages):
            stage = _stage(plan, stage_number)
            whole = before.plus(stage.transfer_ms, stage.transfer_std_ms)
        else:
            # The way back is predicted as a whole, so each part of it may take as long.
            whole = before.plus(plan.prediction.return_ms, plan.prediction.return_std_ms)
        mean_ms = whole.mean_ms if plan.prediction.stages else None
        found.append(Leg(number + 1, here.node, there.node, mean_ms, whole.variance_ms2**0.5))
        compute = _Time(0.0, 0.0)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Learned:
    """How many times longer than predicted the signs of one pair of nodes take, and how unsteadily."""

    ratio: float = 1.0
    deviation: float = 0.0


NOTHING: Final = Learned()


def learn(known: Learned, leg: Leg, measured_ms: float) -> Learned:
    """What is known of a pair after a sign came, on time or late; a plan without predictions teaches nothing."""
    if leg.mean_ms is None:
        return known
    beyond_ms = max(measured_ms - leg.mean_ms - OVERHEAD_MS, 0.0)
    sample = min(1.0 + beyond_ms / max(leg.mean_ms, LEAST_MEAN_MS), MOST_RATIO)
    away = abs(sample - known.ratio)
    return replace(
        known,
        ratio=known.ratio + LEARNING * (sample - known.ratio),
        deviation=known.deviation + LEARNING_DEVIATION * (away - known.deviation),
    )


def allowed_ms(leg: Leg, learned: Learned) -> float | None:
    """How long the leg may take for the request that is first in its line; None where nothing is predicted.

    So a request behind others waits from their signs on: what the planner knows to be slow, and a queue that moves,
    are no miss.
    """
    if leg.mean_ms is None:
        return None
    predicted_ms = FACTOR * leg.mean_ms + DEVIATIONS * leg.std_ms
    learned_ms = (learned.ratio + DEVIATIONS * learned.deviation) * max(leg.mean_ms, LEAST_MEAN_MS)
    return FLOOR_MS + max(predicted_ms, learned_ms)


def grace_ns(round_trips_ms: Sequence[float | None]) -> int:
    """How long an answer waits for the records of its transfers; a client is not to wait long for one that was lost.

    `round_trips_ms` are those to the nodes that send the records, None where not known.
    """
    known_ms = [round_trip_ms for round_trip_ms in round_trips_ms if round_trip_ms is not None]
    if len(known_ms) < len(round_trips_ms):
        return LONGEST_GRACE_NS
    wanted_ns = round(GRACE_ROUND_TRIPS * max(known_ms, default=0.0) * 1e6)
    return min(LONGEST_GRACE_NS, max(LEAST_GRACE_NS, wanted_ns))


class Experience:
    """What has been learned of each pair of nodes, of the pairs that were asked last."""

    def __init__(self) -> None:
        self._learned: dict[Pair, Learned] = {}

    def allowed_ms(self, leg: Leg) -> float | None:
        """As `allowed_ms`, with what is known of the leg's nodes."""
        return allowed_ms(leg, self._learned.get(leg.pair, NOTHING))

    def measured(self, leg: Leg, measured_ms: float) -> None:
        """A sign of this leg has come after so long; the pair that has been silent for longest is forgotten for it."""
        learned = learn(self._learned.pop(leg.pair, NOTHING), leg, measured_ms)
        if len(self._learned) >= PAIRS_KEPT:
            del self._learned[next(iter(self._learned))]
        self._learned[leg.pair] = learned


@dataclass(frozen=True, slots=True)
class _Time:
    mean_ms: float
    variance_ms2: float

    def plus(self, mean_ms: float, std_ms: float) -> "_Time":
        return _Time(self.mean_ms + mean_ms, self.variance_ms2 + std_ms**2)


_UNPREDICTED = StagePrediction(transfer_ms=0.0, transfer_std_ms=0.0, compute_ms=0.0, compute_std_ms=0.0)


def _stage(plan: Plan, number: int) -> StagePrediction:
    """What is expected of a stage; nothing of the relay at the origin that no stage stands for."""
    stages = plan.prediction.stages
    return stages[number] if 0 <= number < len(stages) else _UNPREDICTED
