"""Turns images that clients sent into requests of this origin, and their results into the clients' answers.

Decoding takes milliseconds, so it has threads of its own; what waits for them, and in what order, `frame_streams` says.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from broker.messages import ClassScore, InferenceReport, InferReply, InferRequest, Plan
from edge_agent.classifiers import Classifier, Classifiers
from edge_agent.frame_streams import Depth, Frame, Line, depth_of
from edge_agent.origin import Origin
from edge_agent.packing import ImageInput
from edge_agent.request import Finished
from edge_agent.request_book import Busy
from edge_agent.routes import route
from models.cache import ModelCache
from splitrail.errors import SplitrailError

log = logging.getLogger("splitrail.agent")

QUEUE_LENGTH: Final = 32
DECODERS: Final = 2  # so that an image is decoded while another's first stage runs on the thread that decoded it
DEPTHS_KEPT: Final = 256

T = TypeVar("T")

Answer = Callable[[InferReply], object]


@dataclass(frozen=True, slots=True, eq=False)
class _Arrival:
    deployment: str
    request: InferRequest
    answer: Answer
    arrived_s: float
    frame: Frame | None


class Intake:
    """Takes InferRequests for this origin's deployments; `answer` is called once for each, on any thread.

    A request that finds a plan whose nodes still load (`is_coming`) waits for it, `longest_wait_s` at most. Of a stream
    as many frames are under way as fill the plan's stages; of a `latest` one, one more waits, and the rest give way.
    `dropped(deployment)` hears of each of these, `reported` of each that ran.
    """

    def __init__(
        self,
        origin: Origin,
        cache: ModelCache,
        *,
        active: Callable[[str], Plan | None],
        is_coming: Callable[[str], bool],
        longest_wait_s: float,
        reported: Callable[[InferenceReport], None],
        dropped: Callable[[str], None],
    ) -> None:
        self._origin = origin
        self._classifiers = Classifiers(cache)
        self._active = active
        self._is_coming = is_coming
        self._longest_wait_s = longest_wait_s
        self._reported = reported
        self._dropped = dropped
        self._changed = threading.Condition()
        self._line: Line[_Arrival] = Line()
        self._early: list[_Arrival] = []
        self._due: list[_Arrival] = []
        self._depths: OrderedDict[str, Depth] = OrderedDict()
        self._decode_ms = 0.0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"intake-{number}", daemon=True) for number in range(DECODERS)
        ]
        for thread in self._threads:
            thread.start()

    def take(self, deployment: str, request: InferRequest, answer: Answer) -> None:
        """Queue a request; one that would wait for too long, or finds the queue full, is answered at once.

        So is the frame of a stream that gives way to this one.
        """
        frame = None if request.stream is None else Frame(deployment, request.stream, request.policy)
        arrival = _Arrival(deployment, request, answer, time.monotonic(), frame)
        with self._changed:
            waiting, stale = len(self._line), self._line.displaced_by(frame)
            if stale is not None:
                self._line.add(arrival, frame)
        if stale is not None:
            self._dropped(deployment)
            stale.answer(InferReply(request_id=stale.request.request_id, dropped=True))
            return
        busy = self._origin.refusal(deployment, waiting=waiting) or self._queue(arrival)
        if busy is not None:
            answer(InferReply(request_id=request.request_id, error=busy.reason, busy_ms=busy.wait_ms))

    def sweep(self) -> None:
        """Go on with what waits for its plan, once that is there or does not come; called about every 100 ms."""
        with self._changed:
            still = [early for early in self._early if self._must_wait(early)]
            self._due += [early for early in self._early if early not in still]
            self._early = still
            if self._due:
                self._changed.notify_all()

    def close(self) -> None:
        """Finish the images in hand, drop what waits, and end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # --- on the intake's threads

    def _queue(self, arrival: _Arrival) -> Busy | None:
        with self._changed:
            if len(self._line) < QUEUE_LENGTH:
                self._line.add(arrival, arrival.frame)
                self._changed.notify()
                return None
        wait_ms = self._origin.wait_ms(arrival.deployment, waiting=QUEUE_LENGTH)
        return Busy(f"busy: {QUEUE_LENGTH} images wait already, for {wait_ms / 1e3:.1f} s", wait_ms)

    def _serve(self) -> None:
        while (arrival := self._next()) is not None:
            self._begin(arrival)
            del arrival  # an image is not held until the next one comes

    def _next(self) -> _Arrival | None:
        with self._changed:
            while not self._closing:
                arrival = self._due.pop(0) if self._due else self._line.begin(self._depth)
                if arrival is not None:
                    return arrival
                self._changed.wait()
            return None

    def _depth(self, frame: Frame) -> int:
        return self._depths.get(frame.deployment, Depth()).of(frame)

    def _begin(self, arrival: _Arrival) -> None:
        if self._must_wait(arrival):
            with self._changed:
                if len(self._early) < QUEUE_LENGTH:
                    self._early.append(arrival)
                    return
        submit = self._guarded(arrival, lambda: self._prepared(arrival))
        frame = arrival.frame
        if frame is None:
            if submit is not None:
                submit()
            return
        with self._changed:
            self._line.prepared(arrival, frame, submit)
            submit = self._line.to_submit(frame, go_on=False)
        while submit is not None:
            submit()
            with self._changed:
                submit = self._line.to_submit(frame, go_on=True)

    def _prepared(self, arrival: _Arrival) -> Callable[[], None] | None:
        """What submits a request to the origin; None where it has been answered instead."""
        plan = self._active(arrival.deployment)
        if plan is None:
            self._refuse(arrival, f"no plan of {arrival.deployment} is ready yet; `splitrail status` shows why")
            return None
        classifier = self._classifiers.of(plan.model.sha256)
        if classifier is None:
            self._refuse(arrival, f"{plan.model.name} is not in this node's cache yet")
            return None
        started_s = time.monotonic()
        image = classifier.input_of(arrival.request.image, route(plan)[0].codec)
        self._decode_ms = (time.monotonic() - started_s) * 1e3
        return lambda: self._submit(arrival, classifier, image)

    def _submit(self, arrival: _Arrival, classifier: Classifier, image: ImageInput) -> None:
        def answer(finished: Finished) -> None:
            self._answer(arrival, classifier, finished)

        self._guarded(arrival, lambda: self._origin.submit(arrival.deployment, image, answer))

    def _guarded(self, arrival: _Arrival, do: Callable[[], T]) -> T | None:
        """What `do` gives; where it fails, the client hears of it."""
        try:
            return do()
        except SplitrailError as error:
            self._refuse(arrival, str(error))
        except Exception as error:
            log.exception("a request of %s failed", arrival.deployment)
            self._refuse(arrival, f"{type(error).__name__}: {error}")
        return None

    def _must_wait(self, arrival: _Arrival) -> bool:
        """Whether a plan is on its way for an arrival that has none yet and has not waited for too long."""
        waited_s = time.monotonic() - arrival.arrived_s
        return waited_s < self._longest_wait_s and self._is_coming(arrival.deployment)

    # --- answers

    def _answer(self, arrival: _Arrival, classifier: Classifier, finished: Finished) -> None:
        report = finished.report
        if finished.busy_ms is not None:
            self._reply(arrival, error=report.error, busy_ms=finished.busy_ms)
            return
        self._reported(report)
        if finished.outputs is None:
            self._reply(arrival, report=report, error=report.error)
            return
        self._learn(report)
        if not finished.outputs:
            self._reply(arrival, report=report, error="the result holds no tensor")
            return
        try:
            classes = classifier.best(finished.outputs[0], arrival.request.top)
        except SplitrailError as error:
            self._reply(arrival, report=report, error=str(error))
            return
        self._reply(arrival, report=report, classes=classes)

    def _learn(self, report: InferenceReport) -> None:
        depth = depth_of(report, self._decode_ms, DECODERS)
        if depth is not None:
            with self._changed:
                self._depths[report.deployment] = depth
                self._depths.move_to_end(report.deployment)
                if len(self._depths) > DEPTHS_KEPT:
                    self._depths.popitem(last=False)

    def _refuse(self, arrival: _Arrival, reason: str) -> None:
        self._reply(arrival, error=reason)

    def _reply(
        self,
        arrival: _Arrival,
        *,
        classes: tuple[ClassScore, ...] = (),
        report: InferenceReport | None = None,
        error: str | None = None,
        busy_ms: float | None = None,
    ) -> None:
        if arrival.frame is not None:
            with self._changed:
                self._line.ended(arrival.frame)
                self._changed.notify()
        arrival.answer(
            InferReply(
                request_id=arrival.request.request_id,
                classes=classes,
                report=report,
                error=error[:2_000] if error else None,
                busy_ms=busy_ms,
            )
        )
