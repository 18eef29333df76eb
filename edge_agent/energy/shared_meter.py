"""One meter that several threads read: in turns, and not at all for a while after it has failed.

Which threads, and what for, is `edge_agent.instruments`' part.
"""

import logging
import threading
import time
from typing import Final

from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.stage_energy import Primary, Sample
from edge_agent.errors import MeterUnavailableError

log = logging.getLogger("splitrail.agent")

FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 30.0
AT_ONCE_S: Final = 0.000_25
"""A reading that takes longer would be felt where tensors wait for it."""
_TRIES: Final = 3


class SharedMeter:
    """A meter behind a lock; its failures are logged once, and it is tried again, ever more seldom."""

    def __init__(self, meter: EnergyMeter, *, without: str) -> None:
        """`without` says what there is while it fails, for the log."""
        self.meter = meter
        self._without = without
        self._lock = threading.Lock()
        self._was_read = False
        self._failure: MeterUnavailableError | None = None
        self._rest_s = FIRST_RETRY_S
        self._rests_until_s = 0.0

    @property
    def primary(self) -> Primary:
        """What a stage's energy is told by."""
        meter = self.meter
        return Primary(meter.name, meter.scope, meter.resolution_j, meter.period_s)

    @property
    def is_available(self) -> bool:
        """Whether the last reading succeeded."""
        return self._was_read and self._failure is None

    def is_read_at_once(self) -> bool:
        """Whether this is a counter that goes on by itself and is read within AT_ONCE_S, by a few readings now."""
        if self.meter.is_sampled:
            return False
        times_s = []
        for _ in range(_TRIES):
            begun_ns = time.monotonic_ns()
            try:
                self.sample()
            except MeterUnavailableError:
                return False
            times_s.append((time.monotonic_ns() - begun_ns) / 1e9)
        return min(times_s) <= AT_ONCE_S

    def sample(self) -> Sample:
        """The counter as of now, between the begin and the end of the reading. MeterUnavailableError while it rests."""
        with self._lock:
            begun_ns = time.monotonic_ns()
            if self._failure is not None and begun_ns < self._rests_until_s * 1e9:
                raise self._failure
            try:
                energy_j = self.meter.read_energy_j()
                uncounted_s = self.meter.uncounted_s
            except MeterUnavailableError as error:
                raise self._failed(error) from None
            except Exception as fault:  # a driver's library has errors of its own; none may cost an inference
                reason = f"{self.meter.name}: {type(fault).__name__}: {fault}"
                raise self._failed(MeterUnavailableError(reason, is_there=True)) from None
            ended_ns = time.monotonic_ns()
            self._succeeded()
        return Sample((begun_ns + ended_ns) // 2, energy_j, uncounted_s)

    def _failed(self, error: MeterUnavailableError) -> MeterUnavailableError:
        if self._failure is None:
            # One that was never read, such as a plug that has not spoken yet, is no news to worry about.
            level = logging.WARNING if self._was_read else logging.INFO
            log.log(level, "%s until %s can be read, which is tried again: %s", self._without, self.meter.name, error)
        self._failure, self._rests_until_s = error, time.monotonic() + self._rest_s
        self._rest_s = min(2 * self._rest_s, LAST_RETRY_S)
        return error

    def _succeeded(self) -> None:
        if self._failure is not None:
            log.info("%s can be read", self.meter.name)
        self._failure, self._was_read, self._rest_s = None, True, FIRST_RETRY_S
