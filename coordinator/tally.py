"""What a coordinator counts of what it hears, each thing once: inferences, plans, and each meter's newest reading.

Kept in memory since this run began; what lasts is the telemetry store's.
"""

import bisect
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, get_args

from broker.messages import EnergyReading, InferenceReport, Outcome, Plan, Telemetry
from broker.session import Incoming, Session
from broker.topics import ENERGY, INFERENCE, LINK, LOAD, MACHINE, MISS, PLAN
from coordinator.reception import NEWS_S
from coordinator.telemetry.ledger import Ledger, Verdict, fold
from coordinator.telemetry.store import reporter_of

LATENCY_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, math.inf)
MAX_METERS: Final = 8_192
MAX_RUNS: Final = 8_192
ELSEWHERE: Final = "other"
"""Stands for every deployment that this coordinator does not have."""

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


@dataclass(frozen=True, slots=True)
class LatencyCounts:
    """How many latencies fell up to each of LATENCY_BOUNDS_S and above the one before, and their sum in s."""

    counts: tuple[int, ...] = (0,) * len(LATENCY_BOUNDS_S)
    sum_s: float = 0.0

    def with_one(self, latency_s: float) -> "LatencyCounts":
        """One latency more."""
        place = bisect.bisect_left(LATENCY_BOUNDS_S, latency_s)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return LatencyCounts(counts, self.sum_s + latency_s)


@dataclass(frozen=True, slots=True)
class HeardReading:
    """A meter's newest reading and when it came, in s since 1970."""

    reading: EnergyReading
    arrived_at: float

    def is_fresh(self, now: float) -> bool:
        """Whether the meter still speaks, `now` in s since 1970."""
        return now - self.arrived_at <= self.reading.holds_s


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything that was counted up to a moment."""

    inferences: tuple[tuple[tuple[str, Outcome], int], ...]
    """By deployment and outcome."""
    latencies: tuple[tuple[tuple[str, bool], LatencyCounts], ...]
    """Of those that gave a result, by deployment and whether an emulated node took part."""
    plan_changes: tuple[tuple[str, int], ...]
    readings: tuple[HeardReading, ...]


class Tally:
    """Counts messages of a site; any thread may tell it one, or ask. `deployments` are those that it tells apart."""

    def __init__(self, deployments: Iterable[str]) -> None:
        self._deployments = frozenset(deployments)
        self._lock = threading.Lock()
        # Told from the start as 0: Prometheus cannot see a first one that has nothing before it.
        self._inferences: Counter[tuple[str, Outcome]] = Counter(
            {(deployment, outcome): 0 for deployment in self._deployments for outcome in OUTCOMES}
        )
        self._latencies: dict[tuple[str, bool], LatencyCounts] = {}
        self._plan_changes: Counter[str] = Counter(dict.fromkeys(self._deployments, 0))
        self._epochs: dict[str, int] = {}
        self._readings: dict[tuple[str, str], HeardReading] = {}
        self._ledgers: dict[tuple[str, str], Ledger] = {}

    def listen(self, session: Session, clock: Callable[[], float]) -> None:
        """Count what comes in over a session; `clock` in s since 1970."""

        def hear(incoming: Incoming[Any]) -> None:
            self.count(incoming.message, clock())

        for topic in (ENERGY, MACHINE, LOAD, LINK, INFERENCE, MISS):
            session.on(topic, hear)
        session.on(PLAN, lambda incoming: self.count_plan(incoming.message))

    def count(self, telemetry: Telemetry, arrived_at: float) -> None:
        """Count all telemetry of a site; what was sent again counts no more, and an old reading is no news."""
        with self._lock:
            if not self._is_new(telemetry):
                return
            if isinstance(telemetry, InferenceReport):
                self._count_inference(telemetry)
            elif isinstance(telemetry, EnergyReading):
                self._keep_reading(telemetry, arrived_at)

    def count_plan(self, plan: Plan) -> None:
        """Count a plan that follows another; the first that is heard of is no change."""
        with self._lock:
            known = self._epochs.get(plan.deployment)
            if plan.deployment not in self._deployments or (known is not None and plan.epoch <= known):
                return
            self._epochs[plan.deployment] = plan.epoch
            if known is not None:
                self._plan_changes[plan.deployment] += 1

    def counts(self) -> Counts:
        """What was counted so far."""
        with self._lock:
            return Counts(
                inferences=tuple(sorted(self._inferences.items())),
                latencies=tuple(sorted(self._latencies.items(), key=lambda item: item[0])),
                plan_changes=tuple(sorted(self._plan_changes.items())),
                readings=tuple(self._readings[key] for key in sorted(self._readings)),
            )

    def _count_inference(self, report: InferenceReport) -> None:
        deployment = report.deployment if report.deployment in self._deployments else ELSEWHERE
        self._inferences[deployment, report.outcome] += 1
        if report.error is None:
            kind = deployment, report.emulated
            self._latencies[kind] = self._latencies.get(kind, LatencyCounts()).with_one(report.latency_ms / 1e3)

    def _is_new(self, telemetry: Telemetry) -> bool:
        mark = telemetry.mark
        if mark is None:
            return True
        run = reporter_of(telemetry), mark.session
        # Popped before, it stands at the end: heard of last.
        self._ledgers[run], verdict = fold(self._ledgers.pop(run, Ledger()), mark)
        if len(self._ledgers) > MAX_RUNS:
            del self._ledgers[next(iter(self._ledgers))]
        return verdict is Verdict.NEW

    def _keep_reading(self, reading: EnergyReading, arrived_at: float) -> None:
        if reading.mark is not None and reading.mark.age_s > NEWS_S:
            return
        self._readings.pop((reading.node, reading.meter), None)
        self._readings[reading.node, reading.meter] = HeardReading(reading, arrived_at)
        if len(self._readings) > MAX_METERS:
            del self._readings[next(iter(self._readings))]
