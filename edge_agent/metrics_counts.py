"""What an agent counts of the telemetry that it publishes: its inferences as origin, and each meter's newest reading.

Kept in memory since this run began, by which threads come; what is told of it is `edge_agent.metrics`'.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
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
    readings: tuple[EnergyReading, ...]
    """Of the meters that have not fallen silent."""


class TelemetryCounts:
    """Counts what is published once; any thread may tell it one, or ask."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._inferences: Counter[tuple[str, Outcome]] = Counter()
        self._latency_s: dict[str, float] = {}
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

    def counts(self) -> Counts:
        """What was counted so far."""
        with self._lock:
            now_s = self._monotonic()
            newest = (self._readings[meter] for meter in sorted(self._readings))
            return Counts(
                tuple(sorted(self._inferences.items())),
                tuple(sorted(self._latency_s.items())),
                tuple(reading for read_s, reading in newest if now_s - read_s <= reading.holds_s),
            )

    def _count_inference(self, report: InferenceReport) -> None:
        known = {deployment for deployment, _ in self._inferences}
        is_told_apart = report.deployment in known or len(known) < MAX_DEPLOYMENTS
        deployment = report.deployment if is_told_apart else ELSEWHERE
        self._inferences[deployment, report.outcome] += 1
        if report.error is None:
            self._latency_s[deployment] = self._latency_s.get(deployment, 0.0) + report.latency_ms / 1e3
