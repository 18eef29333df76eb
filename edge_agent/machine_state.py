"""The state of this machine as its site hears of it: every ten seconds, and at once when throttling changes.

What the kernel shows of temperature and throttling is `edge_agent.machine_temperature`'s and `machine_throttling`'s.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import psutil

from broker.messages import MachineReading
from edge_agent.energy.sysfs import Host
from edge_agent.machine_temperature import processor_temperature_c
from edge_agent.machine_throttling import Throttled, ThrottlingWatch

LOOK_INTERVAL_S: Final = 1.0
PUBLISH_INTERVAL_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 3.0

log = logging.getLogger("splitrail.agent")


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Seconds of all cores together since the machine started: those that were busy, and all."""

    busy_s: float
    all_s: float


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory in MB of 10^6 bytes: what is taken of the machine's, all of it, and this process's resident set."""

    used_mb: float
    total_mb: float
    own_mb: float


class Machine(Protocol):
    """What is looked at; each call looks anew."""

    def processor(self) -> ProcessorTimes:
        """The processor's times."""

    def memory(self) -> MemoryUse:
        """The memory."""

    def temperature_c(self) -> float | None:
        """The processor's temperature; None where nothing shows it."""

    def throttled(self) -> Throttled | None:
        """What holds the processor back now; None where nothing tells."""


class ThisMachine:
    """The machine that we run on, by psutil and the kernel's files."""

    def __init__(self) -> None:
        self._host = Host()
        self._throttling = ThrottlingWatch(self._host)
        self._process = psutil.Process()

    def processor(self) -> ProcessorTimes:
        """The processor's times; what a disk is waited for is idle, what a hypervisor takes is busy."""
        times = psutil.cpu_times()
        busy_s = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        return ProcessorTimes(busy_s, busy_s + times.idle + times.iowait)

    def memory(self) -> MemoryUse:
        """The memory; what the kernel can give back at once is not taken."""
        memory = psutil.virtual_memory()
        return MemoryUse(
            (memory.total - memory.available) / 1e6, memory.total / 1e6, self._process.memory_info().rss / 1e6
        )

    def temperature_c(self) -> float | None:
        """The processor's temperature."""
        return processor_temperature_c(self._host)

    def throttled(self) -> Throttled | None:
        """What holds the processor back now."""
        return self._throttling.now()


class MachineReadings:
    """When the site should hear of a machine. `clock` tells the node's wall clock, `clock_s` monotonic time."""

    def __init__(
        self,
        machine: Machine,
        *,
        node: str,
        session: str,
        emulated: bool,
        clock: Callable[[], float],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._node, self._session, self._emulated = node, session, emulated
        self._clock, self._clock_s = clock, clock_s
        self._processor = machine.processor()
        self._throttled = machine.throttled()
        # The first share of the processor is one over time, which begins now.
        self._looked_s = clock_s()
        self._published_s = -PUBLISH_INTERVAL_S

    def due(self) -> MachineReading | None:
        """A reading, if the site should have one now; what is returned counts as published."""
        now_s = self._clock_s()
        if now_s - self._looked_s < LOOK_INTERVAL_S:
            return None
        self._looked_s = now_s
        throttled = self._machine.throttled()
        if throttled == self._throttled and now_s - self._published_s < PUBLISH_INTERVAL_S:
            return None
        self._throttled, self._published_s = throttled, now_s
        processor, before = self._machine.processor(), self._processor
        self._processor = processor
        memory = self._machine.memory()
        return MachineReading(
            node=self._node,
            session=self._session,
            at=self._clock(),
            cpu=_share(before, processor),
            memory_used_mb=memory.used_mb,
            memory_total_mb=memory.total_mb,
            agent_memory_mb=memory.own_mb,
            temperature_c=self._machine.temperature_c(),
            throttled=throttled,
            emulated=self._emulated,
        )


class MachineWatch:
    """A thread of its own that publishes readings: a Raspberry Pi's firmware may take seconds to answer."""

    def __init__(self, readings: MachineReadings, publish: Callable[[MachineReading], None]) -> None:
        self._readings = readings
        self._publish = publish
        self._closing = threading.Event()
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="machine", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_INTERVAL_S):
            try:
                reading = self._readings.due()
            except Exception:
                # psutil raises what /proc makes it raise; the next look may do better.
                if not self._has_failed:
                    log.exception("the state of this machine cannot be read")
                self._has_failed = True
                continue
            if reading is not None:
                self._publish(reading)


def _share(before: ProcessorTimes, after: ProcessorTimes) -> float:
    """The share of the time between two looks that was busy, 0 to 1; 0 where the kernel has counted no time."""
    whole_s = after.all_s - before.all_s
    return min(1.0, max(0.0, (after.busy_s - before.busy_s) / whole_s)) if whole_s > 0.0 else 0.0
