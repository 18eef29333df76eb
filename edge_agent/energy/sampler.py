"""One thread that looks at meters: now and then while the node idles, at their own period while a stage computes.

What a look does with the meter is its owner's; the samples of the primary meter are kept here.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from edge_agent.energy.shared_meter import SharedMeter
from edge_agent.energy.stage_energy import Sample
from edge_agent.errors import MeterUnavailableError

log = logging.getLogger("splitrail.agent")

IDLE_PERIOD_S: Final = 0.25
LEAST_PERIOD_S: Final = 0.01
SAMPLES_KEPT: Final = 4_096  # 40 s at the least period; no request takes longer unless it is set so


class Sampler:
    """Samples meters that are right only if they are read often, and calls `look` every `look_interval_s`.

    Of `primary`, if there is one, many samples are kept, and taken quickly between `hurry` and `relax`.
    """

    def __init__(
        self,
        sampled: tuple[SharedMeter, ...],
        *,
        primary: SharedMeter | None,
        look: Callable[[], None],
        look_interval_s: float,
    ) -> None:
        self._sampled = sampled
        self._primary = primary
        self._look = look
        self._look_interval_s = look_interval_s
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        self._due_s = dict.fromkeys(sampled, 0.0)
        self._taken_s = 0.0
        """When the primary was last read, or tried."""
        self._look_due_s = time.monotonic() + look_interval_s
        self._changed = threading.Condition()
        self._is_hurried = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="energy", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what it reads now is waited for."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def hurry(self) -> None:
        """A stage begins: sample the primary as soon as it may have news, and then at its own period."""
        with self._changed:
            self._is_hurried = True
            if self._primary is not None:
                soon_s = self._taken_s + self._period_s(self._primary)
                self._due_s[self._primary] = min(self._due_s[self._primary], soon_s)
                self._changed.notify()

    def relax(self) -> None:
        """No stage computes now."""
        self._is_hurried = False

    def take(self, meter: SharedMeter) -> Sample | None:
        """A sample of any meter now, on the thread that calls `look`; None if it cannot be read, as it says itself."""
        if meter in self._due_s:
            with self._changed:
                now_s = time.monotonic()
                self._due_s[meter] = now_s + self._period_s(meter)
                if meter is self._primary:
                    self._taken_s = now_s
        try:
            sample = meter.sample()
        except MeterUnavailableError:
            return None
        if meter is self._primary:
            with self._changed:
                self._samples.append(sample)
        return sample

    def since(self, start_ns: int) -> tuple[Sample, ...]:
        """The primary's samples from the last one before `start_ns` on, the oldest first."""
        kept: list[Sample] = []
        with self._changed:
            for sample in reversed(self._samples):
                kept.append(sample)
                if sample.at_ns <= start_ns:
                    break
        return tuple(reversed(kept))

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_closing:
                    return
                wait_s = min((*self._due_s.values(), self._look_due_s)) - time.monotonic()
                if wait_s > 0.0:
                    self._changed.wait(wait_s)
                    continue
            try:
                self._do_what_is_due()
            except Exception:
                # One meter's fault must not end the thread that reads all the others.
                log.exception("energy could not be read")

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        for meter in self._sampled:
            if self._due_s[meter] <= now_s:
                self.take(meter)
        if self._look_due_s <= now_s:
            # Evenly, yet never twice at once after a pause.
            self._look_due_s = max(self._look_due_s + self._look_interval_s, now_s)
            self._look()

    def _period_s(self, meter: SharedMeter) -> float:
        is_quick = self._is_hurried and meter is self._primary
        return max(meter.meter.period_s, LEAST_PERIOD_S if is_quick else IDLE_PERIOD_S)
