"""A smart plug as a meter of the wall: its messages are counted up, and held on to until the next.

What is in a message is `edge_agent.energy.plug_payloads`'; hearing them is the agent's.
"""

import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName, PlugSettings
from edge_agent.energy.plug_payloads import PlugKind, PlugReading, read_payload
from edge_agent.errors import MeterUnavailableError

COVERS: Final = "all that the smart plug feeds, power supplies included"
STALE_PERIODS: Final = 3
COARSEST_COUNTER_J: Final = 40.0
"""A counter of larger steps (1 Wh is 3,600 J, twelve minutes of a Raspberry Pi) tells less than the watts do."""
_GAPS_KEPT: Final = 8

_USUAL_PERIOD_S: Final[dict[PlugKind, float]] = {
    "tasmota": 300.0,  # TelePeriod's default: tasmota.github.io/docs/Commands
    "shelly": 60.0,  # at each change, and each minute while power flows
    "zigbee2mqtt": 300.0,  # at changes; how long none may come is the device's choice
}


class PlugMeter:
    """Joules of a smart plug, from its second message on, since the first may be an old one that the broker kept.

    Between messages power goes on as it was last said, for no longer than STALE_PERIODS periods; a fine counter then
    corrects the sum, which never falls. `hear` is called by the broker's thread.
    """

    name: MeterName = "plug"
    source: EnergySource = "measured"
    scope: EnergyScope = "wall"
    is_sampled: Final = False

    def __init__(self, settings: PlugSettings, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Count from now."""
        self._kind: PlugKind = settings.kind
        self._topic = settings.topic
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._began_s = clock_s()
        self._heard: int = 0
        self._last: PlugReading | None = None
        self._last_s = self._began_s
        self._gaps_s: deque[float] = deque(maxlen=_GAPS_KEPT)
        # The finest seen, for a figure that ends in zeros may be written shorter.
        self._energy_step_j = self._power_step_w = math.inf
        self._settled_j = 0.0
        self._told_j = 0.0
        self._uncounted_s = 0.0
        self._failure: MeterUnavailableError | None = None

    @property
    def period_s(self) -> float:
        """The usual time between its messages, as it was of late, in seconds."""
        with self._lock:
            return self._period_s()

    @property
    def resolution_j(self) -> float:
        """The step of its counter, or of its power over a period."""
        with self._lock:
            if self._energy_step_j <= COARSEST_COUNTER_J:
                return self._energy_step_j
            return self._power_step_w * self._period_s() if self._power_step_w < math.inf else 0.0

    @property
    def uncounted_s(self) -> float:
        """Seconds before its second message, and of silences that no counter tells of."""
        with self._lock:
            return self._uncounted_s if self._last is not None else self._clock_s() - self._began_s

    def hear(self, address: str, payload: bytes) -> None:  # noqa: ARG002  # the signature that foreign topics ask for
        """The plug has said something; what is no reading may be why there is none."""
        try:
            reading = read_payload(self._kind, payload)
        except MeterUnavailableError as error:
            with self._lock:
                self._failure = error
            return
        with self._lock:
            now_s = self._clock_s()
            self._heard += 1
            if reading.energy is not None:
                self._energy_step_j = min(self._energy_step_j, reading.energy.step)
            if reading.power is not None:
                self._power_step_w = min(self._power_step_w, reading.power.step)
            if self._heard > 1:
                self._settle(reading, now_s)
                self._gaps_s.append(now_s - self._last_s)
                self._last = reading
            self._last_s, self._failure = now_s, None

    def read_energy_j(self) -> float:
        """Joules since the meter was made. MeterUnavailableError if the plug has been silent for too long."""
        with self._lock:
            silent_s = self._clock_s() - self._last_s
            if self._last is None or silent_s > self._longest_silence_s():
                raise self._failure or self._silence(silent_s)
            self._told_j = max(self._told_j, self._settled_j + self._held_j(self._last, silent_s))
            return self._told_j

    # --- with the lock held

    def _settle(self, reading: PlugReading, now_s: float) -> None:
        """Add what the time since the message before took."""
        last, passed_s = self._last, now_s - self._last_s
        if last is None:
            self._uncounted_s = now_s - self._began_s
            return
        rise_j = _counted_j(last, reading) if self._energy_step_j <= COARSEST_COUNTER_J else None
        if rise_j is not None:
            self._settled_j += rise_j
            return
        self._settled_j += self._held_j(last, passed_s)
        self._uncounted_s += passed_s if last.power is None else max(0.0, passed_s - self._longest_silence_s())

    def _held_j(self, last: PlugReading, passed_s: float) -> float:
        return last.power.value * min(passed_s, self._longest_silence_s()) if last.power is not None else 0.0

    def _period_s(self) -> float:
        return statistics.median(self._gaps_s) if self._gaps_s else _USUAL_PERIOD_S[self._kind]

    def _longest_silence_s(self) -> float:
        period_s = self._period_s()
        # Tasmota speaks evenly; the others speak at changes, so a lively hour says nothing of a quiet one.
        return STALE_PERIODS * (period_s if self._kind == "tasmota" else max(period_s, _USUAL_PERIOD_S[self._kind]))

    def _silence(self, silent_s: float) -> MeterUnavailableError:
        if not self._heard:
            said = f"nothing has come on {self._topic} in {silent_s:.0f} s"
        elif self._last is None:
            said = f"one message has come on {self._topic}, perhaps an old one that the broker kept"
        else:
            said = f"nothing has come on {self._topic} for {silent_s:.0f} s"
        return MeterUnavailableError(
            f"the smart plug is silent: {said}",
            fix="look whether it is connected to this broker, publishes its status there, and this node may read it",
            is_there=self._heard > 0,
        )


def _counted_j(before: PlugReading, after: PlugReading) -> float | None:
    """What a counter rose by; None without one, or where it was set back."""
    if before.energy is None or after.energy is None or after.energy.value < before.energy.value:
        return None
    return after.energy.value - before.energy.value
