"""What an agent counts: its inferences and dropped frames as origin, and of each meter the newest reading.

Kept in memory since this run began, by which threads come; what is told of it is `edge_agent.metrics`'.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from broker.messages import EnergyReading, InferenceReport, Outcome, Telemetry

MAX_METERS: Final = 32
MAX_DEPLOYMENTS: Final = 256
ELSEWHERE: Final = "other"
"""Stands for the deployments beyond the first 256."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything that was counted up to a moment."""

    inferences: tuple[tuple[tuple[str, Outcome], int], ...]
    """By deployment and outcome."""
    latency_s: tuple[tuple[str, float], ...]
    """By deployment: the sum over those that gave a result."""
    frames_dropped: tuple[tuple[str, int], ...]
    """By deployment."""
    readings: tuple[EnergyReading, ...]
    """Of the meters that have not fallen silent."""


class TelemetryCounts:
    """Counts what is published once, and what is not; any thread may tell it one, or ask."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._inferences: Counter[tuple[str, Outcome]] = Counter()
        self._latency_s: dict[str, float] = {}
        self._frames_dropped: Counter[str] = Counter()
        self._readings: dict[str, tuple[float, EnergyReading]] = {}

    def count(self, telemetry: Telemetry) -> None:
        """Count a message that is published for the first time."""
        with self._lock:
            if isinstance(telemetry, InferenceReport):
                self._count_inference(telemetry)
            elif isinstance(telemetry, EnergyReading) and (
                telemetry.meter in self._readings or len(self._readings) < MAX_METERS
            ):
                self._readings[telemetry.meter] = self._monotonic(), telemetry

    def count_dropped(self, deployment: str) -> None:
        """Count a frame of a stream that gave way to a newer one."""
        with self._lock:
            self._frames_dropped[_told_apart(deployment, self._frames_dropped)] += 1

    def counts(self) -> Counts:
        """What was counted so far."""
        with self._lock:
            now_s = self._monotonic()
            newest = (self._readings[meter] for meter in sorted(self._readings))
            return Counts(
                tuple(sorted(self._inferences.items())),
                tuple(sorted(self._latency_s.items())),
                tuple(sorted(self._frames_dropped.items())),
                tuple(reading for read_s, reading in newest if now_s - read_s <= reading.holds_s),
            )

    def _count_inference(self, report: InferenceReport) -> None:
        deployment = _told_apart(report.deployment, {known for known, _ in self._inferences})
        self._inferences[deployment, report.outcome] += 1
        if report.error is None:
            self._latency_s[deployment] = self._latency_s.get(deployment, 0.0) + report.latency_ms / 1e3


def _told_apart(deployment: str, known: Collection[str]) -> str:
    """Under which name it is counted, given those that are known."""
    return deployment if deployment in known or len(known) < MAX_DEPLOYMENTS else ELSEWHERE
