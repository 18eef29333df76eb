"""The energy model: idle power, busy power by load, and joules per MB over the radio. Never a measurement."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from broker.messages import EnergyScope, EnergySource, PowerModel
from edge_agent.configuration import MeterName


@dataclass(frozen=True, slots=True)
class Traffic:
    """Cumulative bytes over a node's radio."""

    sent_bytes: int
    received_bytes: int


class ModelledMeter:
    """`idle_w` all the time, `busy_w - idle_w` more for every busy second, and the radio's joules per MB.

    `busy_s` and `traffic` are cumulative: busy seconds of the whole node (all cores busy for 1 s is 1 s), and bytes.
    """

    name: MeterName = "modelled"
    source: EnergySource = "modelled"
    scope: EnergyScope = "board"
    is_sampled: Final = False  # busy seconds and bytes are counted elsewhere
    uncounted_s: Final = 0.0

    def __init__(
        self,
        power: PowerModel,
        busy_s: Callable[[], float],
        traffic: Callable[[], Traffic],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        busy_resolution_s: float = 0.0,
    ) -> None:
        """Count from now; `busy_resolution_s` is the smallest step of `busy_s` in seconds, 0 if it has none."""
        self._power = power
        self._busy_s, self._traffic, self._clock_s = busy_s, traffic, clock_s
        self._last_clock_s, self._last_busy_s, self._last_traffic = clock_s(), busy_s(), traffic()
        self._energy_j = 0.0
        self.resolution_j = (power.busy_w - power.idle_w) * busy_resolution_s
        self.period_s = busy_resolution_s

    def read_energy_j(self) -> float:
        """Joules since the meter was made, by the model."""
        clock_s, busy_s, traffic = self._clock_s(), self._busy_s(), self._traffic()
        passed_s = max(clock_s - self._last_clock_s, 0.0)
        busy_now_s = min(max(busy_s - self._last_busy_s, 0.0), passed_s)
        # A counter that restarts (an interface that went away) adds nothing rather than taking energy back.
        sent_mb = max(traffic.sent_bytes - self._last_traffic.sent_bytes, 0) / 1e6
        received_mb = max(traffic.received_bytes - self._last_traffic.received_bytes, 0) / 1e6
        self._last_clock_s, self._last_busy_s, self._last_traffic = clock_s, busy_s, traffic
        power = self._power
        self._energy_j += power.idle_w * passed_s + max(power.busy_w - power.idle_w, 0.0) * busy_now_s
        self._energy_j += power.tx_j_per_mb * sent_mb + power.rx_j_per_mb * received_mb
        return self._energy_j


def machine_busy_s() -> float:
    """Busy seconds of this machine since its boot, divided by its cores (all cores busy for 1 s is 1 s)."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts a guest's time in user time too, so the fields cannot just be summed.
    guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - guests_s - idle_s) / (psutil.cpu_count() or 1)


def machine_traffic() -> Traffic:
    """Bytes over all interfaces of this machine but the loopback."""
    interfaces = psutil.net_io_counters(pernic=True)
    outward = [counters for name, counters in interfaces.items() if name != "lo"]
    return Traffic(
        sent_bytes=sum(counters.bytes_sent for counters in outward),
        received_bytes=sum(counters.bytes_recv for counters in outward),
    )
