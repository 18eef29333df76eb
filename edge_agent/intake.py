"""Turns an image that a client sent into a request of this origin, and its result into the client's answer.

Decoding takes milliseconds, so it has a thread and a bounded queue of its own.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.messages import ClassScore, InferenceReport, InferReply, InferRequest, Plan
from edge_agent.origin import Busy, Finished, Origin
from edge_agent.worker import Worker
from models.cache import ModelCache
from models.classification import top_classes
from models.graph import Tensor, read_graph
from models.images import load_image, to_input
from models.preprocessing import Preprocessing, read_labels, read_preprocessing
from splitrail.errors import SplitrailError

log = logging.getLogger("splitrail.agent")

QUEUE_LENGTH = 32
CLASSIFIERS_KEPT = 16

Answer = Callable[[InferReply], object]


@dataclass(frozen=True, slots=True)
class _Classifier:
    """What a model wants and gives, read once from its file."""

    input: Tensor
    output: Tensor
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Arrival:
    deployment: str
    request: InferRequest
    answer: Answer
    arrived_s: float


class Intake:
    """Takes InferRequests for this origin's deployments; `answer` is called once for each, on any thread.

    A request that finds a plan whose nodes still load (`is_coming`) waits for it, `longest_wait_s` at most.
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
    ) -> None:
        self._origin = origin
        self._cache = cache
        self._active = active
        self._is_coming = is_coming
        self._longest_wait_s = longest_wait_s
        self._lock = threading.Lock()
        self._early: list[_Arrival] = []
        self._reported = reported
        self._classifiers: dict[str, _Classifier] = {}
        self._worker = Worker("intake", QUEUE_LENGTH, self._handle)

    def take(self, deployment: str, request: InferRequest, answer: Answer) -> None:
        """Queue a request; one that would wait for too long, or finds the queue full, is answered at once."""
        busy = self._origin.refusal(deployment, waiting=self._worker.waiting)
        if busy is None and not self._worker.submit(_Arrival(deployment, request, answer, time.monotonic())):
            wait_ms = self._origin.wait_ms(deployment, waiting=QUEUE_LENGTH)
            busy = Busy(f"busy: {QUEUE_LENGTH} images wait already, for {wait_ms / 1e3:.1f} s", wait_ms)
        if busy is not None:
            answer(InferReply(request_id=request.request_id, error=busy.reason, busy_ms=busy.wait_ms))

    def sweep(self) -> None:
        """Go on with what waits for its plan, once that is there or does not come; called about every 100 ms."""
        with self._lock:
            self._early = [early for early in self._early if self._must_wait(early) or not self._worker.submit(early)]

    def close(self) -> None:
        """Finish the image in hand, drop what waits, and end the thread."""
        self._worker.close()

    def _handle(self, arrival: _Arrival) -> None:
        try:
            self._begin(arrival)
        except SplitrailError as error:
            self._refuse(arrival, str(error))
        except Exception as error:
            # The client hears of it too.
            log.exception("a request of %s failed", arrival.deployment)
            self._refuse(arrival, f"{type(error).__name__}: {error}")

    def _begin(self, arrival: _Arrival) -> None:
        if self._must_wait(arrival):
            with self._lock:
                if len(self._early) < QUEUE_LENGTH:
                    self._early.append(arrival)
                    return
        plan = self._active(arrival.deployment)
        if plan is None:
            self._refuse(arrival, f"no plan of {arrival.deployment} is ready yet; `splitrail status` shows why")
            return
        classifier = self._classifier(plan.model.sha256)
        if classifier is None:
            self._refuse(arrival, f"{plan.model.name} is not in this node's cache yet")
            return
        tensor = to_input(
            load_image(arrival.request.image),
            classifier.input.shape,
            classifier.input.dtype,
            classifier.input.quantization,
            classifier.preprocessing,
        )
        self._origin.submit(arrival.deployment, (tensor,), lambda done: self._answer(arrival, classifier, done))

    def _must_wait(self, arrival: _Arrival) -> bool:
        """Whether a plan is on its way for an arrival that has none yet and has not waited for too long."""
        waited_s = time.monotonic() - arrival.arrived_s
        return waited_s < self._longest_wait_s and self._is_coming(arrival.deployment)

    def _answer(self, arrival: _Arrival, classifier: _Classifier, finished: Finished) -> None:
        if finished.busy_ms is not None:
            self._reply(arrival, error=finished.report.error, busy_ms=finished.busy_ms)
            return
        self._reported(finished.report)
        if finished.outputs is None:
            self._reply(arrival, report=finished.report, error=finished.report.error)
            return
        if not finished.outputs:
            self._reply(arrival, report=finished.report, error="the result holds no tensor")
            return
        try:
            best = top_classes(
                finished.outputs[0], arrival.request.top, classifier.labels, classifier.output.quantization
            )
        except SplitrailError as error:
            self._reply(arrival, report=finished.report, error=str(error))
            return
        classes = tuple(ClassScore(index=one.index, label=one.label, score=one.score) for one in best)
        self._reply(arrival, report=finished.report, classes=classes)

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
        arrival.answer(
            InferReply(
                request_id=arrival.request.request_id,
                classes=classes,
                report=report,
                error=error[:2_000] if error else None,
                busy_ms=busy_ms,
            )
        )

    def _classifier(self, sha256: str) -> _Classifier | None:
        known = self._classifiers.get(sha256)
        if known is not None:
            return known
        path = self._cache.get(sha256)
        if path is None:
            return None
        graph = read_graph(path)
        classifier = _Classifier(
            graph.tensors[graph.inputs[0]],
            graph.tensors[graph.outputs[0]],
            read_preprocessing(path),
            read_labels(path),
        )
        if len(self._classifiers) >= CLASSIFIERS_KEPT:
            del self._classifiers[next(iter(self._classifiers))]
        self._classifiers[sha256] = classifier
        return classifier
