import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Literal

import numpy as np
import pytest
from eventually import eventually
from plans import plan_of

from broker.messages import InferenceReport, InferReply, InferRequest, ModelReference, Plan
from edge_agent.executor import Executor
from edge_agent.frame_streams import UNKNOWN_DEPTH
from edge_agent.intake import DECODERS, QUEUE_LENGTH, Intake
from edge_agent.origin import Origin
from edge_agent.request_book import Limits
from edge_agent.wire import StageRecord, TensorsMessage
from models.cache import ModelCache
from models.runtime import Segment


class Desk:
    """An intake whose origin runs the whole model on the spot."""

    def __init__(self, model: Path, directory: Path, longest_wait_s: float = 10.0) -> None:
        cache = ModelCache(directory)
        held = cache.add(model)
        reference = ModelReference(
            sha256=held.sha256, name="m", size_bytes=held.size_bytes, ops=10, url="http://127.0.0.1:1/"
        )
        plan = plan_of(("pi", 0, 10))
        self.plan: Plan | None = Plan(
            **{field: getattr(plan, field) for field in plan.__struct_fields__} | {"model": reference}
        )
        self.segment = Segment(model)
        self.empty_handed = False
        self.reports: Queue[InferenceReport] = Queue()
        self.dropped: list[str] = []
        self.executor = Executor()
        self.run: Callable[[TensorsMessage], object] = self._run
        self.origin = Origin(
            "pi",
            plans=self,
            begin=lambda _, message, __: self.run(message),
            compute=self.executor,
            segment_of=lambda *_: None,
            power=dict,
            limits=Limits(timeout_s=30.0, longest_wait_s=10.0),
            missed=lambda _: None,
            ask=lambda _: None,
            is_loading=lambda _: False,
        )
        self.is_coming = False
        self.intake = Intake(
            self.origin,
            cache,
            active=lambda _: self.plan,
            is_coming=lambda _: self.is_coming,
            longest_wait_s=longest_wait_s,
            reported=self.reports.put,
            dropped=self.dropped.append,
        )

    def active(self, _: str) -> Plan | None:
        """The plan."""
        return self.plan

    def ready_plans(self, _: str) -> tuple[Plan, ...]:
        """The plan."""
        return (self.plan,) if self.plan else ()

    def ask(self, image: bytes, top: int = 3) -> InferReply:
        """One request, to its answer."""
        replies: Queue[InferReply] = Queue()
        self.intake.take("photos", InferRequest(request_id="r1", image=image, top=top), replies.put)
        return replies.get(timeout=30)

    def _run(self, message: TensorsMessage) -> None:
        outputs = [] if self.empty_handed else self.segment.run(message.tensors)
        self.origin.delivered(TensorsMessage(message.route, tuple(outputs), (StageRecord(0, 1_000, 0),)))


@pytest.fixture
def desk(tmp_path: Path, zoo_model: Callable[..., Path]) -> Iterator[Desk]:
    """An intake for MobileNetV2."""
    desk = Desk(zoo_model("mobilenetv2"), tmp_path)
    yield desk
    desk.intake.close()
    desk.executor.close()


def test_a_photograph_is_answered_with_its_best_classes(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """Best first, as many as were asked for, and the inference is reported."""
    reply = desk.ask(photographs[0].read_bytes(), top=4)
    scores = [one.score for one in reply.classes]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert reply.report is not None
    assert desk.reports.get(timeout=10).request_id == reply.report.request_id


def test_what_is_no_image_is_an_error_and_the_next_is_answered(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """One client's bytes do not stop the others'."""
    assert "not an image" in str(desk.ask(b"GIF89a and then nothing").error)
    assert desk.ask(photographs[1].read_bytes()).error is None


def test_a_result_without_tensors_is_an_error(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """Results come over the network, so they may lack what the model promises."""
    desk.empty_handed = True
    assert desk.ask(photographs[0].read_bytes()).error == "the result holds no tensor"


def test_without_a_plan_the_client_is_told(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """It is not left to its timeout."""
    desk.plan = None
    assert "no plan of photos is ready yet" in str(desk.ask(photographs[0].read_bytes()).error)


def test_a_request_waits_for_a_plan_that_is_on_its_way(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """As after the restart of an origin, which loads for a moment what it has computed before."""
    plan, desk.plan, desk.is_coming = desk.plan, None, True
    replies: Queue[InferReply] = Queue()
    desk.intake.take("photos", InferRequest(request_id="r1", image=photographs[0].read_bytes()), replies.put)
    assert eventually(lambda: desk.intake._early)
    desk.intake.sweep()
    assert replies.empty()
    desk.plan, desk.is_coming = plan, False
    desk.intake.sweep()
    assert replies.get(timeout=30).error is None


def test_a_plan_that_does_not_come_is_waited_for_so_long(
    tmp_path: Path, zoo_model: Callable[..., Path], photographs: tuple[Path, ...]
) -> None:
    """The client learns of it before it gives up by itself."""
    desk = Desk(zoo_model("mobilenetv2"), tmp_path, longest_wait_s=0.05)
    desk.plan, desk.is_coming = None, True
    replies: Queue[InferReply] = Queue()
    desk.intake.take("photos", InferRequest(request_id="r1", image=photographs[0].read_bytes()), replies.put)
    assert eventually(lambda: desk.intake.sweep() or not replies.empty())
    assert "no plan of photos is ready yet" in str(replies.get().error)
    desk.intake.close()
    desk.executor.close()


def test_overload_is_answered_before_the_image_is_looked_at(desk: Desk) -> None:
    """With the wait that the request would have had; nothing is reported, for nothing has begun."""
    desk.origin._requests._paces.answered("photos", 0.0, 30.0)
    hold = threading.Event()
    desk.segment.run = lambda arrays: hold.wait(30) and []  # type: ignore[method-assign,assignment,func-returns-value]  # it hangs
    replies: Queue[InferReply] = Queue()
    image = Path(__file__).read_bytes()
    plan = desk.plan
    assert plan is not None
    threading.Thread(target=desk.origin.submit, args=("photos", (), lambda _: None)).start()
    assert eventually(lambda: desk.origin.in_flight == 1)
    desk.intake.take("photos", InferRequest(request_id="r2", image=image, top=1), replies.put)
    reply = replies.get(timeout=10)
    hold.set()
    assert reply.busy_ms is not None
    assert reply.busy_ms > 10_000
    assert str(reply.error).startswith("busy: it would have waited 30.0 s, more than longest_wait_s")
    assert desk.reports.empty()


def test_a_full_queue_of_images_is_answered_busy(
    desk: Desk, photographs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request has its one answer all the same."""
    hold = threading.Event()
    monkeypatch.setattr("models.image_form.load_image", lambda _: hold.wait(30) and None)
    replies: Queue[InferReply] = Queue()
    for number in range(QUEUE_LENGTH + DECODERS + 1):
        desk.intake.take("photos", InferRequest(request_id=f"r{number}", image=b"", top=1), replies.put)
        if number < DECODERS:
            assert eventually(lambda: len(desk.intake._line) == 0)
    busy = replies.get(timeout=10)
    assert str(busy.error).startswith(f"busy: {QUEUE_LENGTH} images wait already")
    assert busy.busy_ms is not None
    hold.set()
    others = {replies.get(timeout=10).request_id for _ in range(QUEUE_LENGTH + DECODERS)}
    assert len({busy.request_id, *others}) == QUEUE_LENGTH + DECODERS + 1


class Slow:
    """Stands in for the plan's stages, which hold each request until it is let go."""

    def __init__(self, desk: Desk) -> None:
        self.begun: Queue[TensorsMessage] = Queue()
        self._origin = desk.origin
        self._outputs = desk.segment.run([np.zeros(spec.shape, spec.dtype) for spec in desk.segment.inputs])
        desk.run = self.begun.put

    def let_go(self) -> None:
        """The request that began first gets its result."""
        message = self.begun.get(timeout=10)
        self._origin.delivered(TensorsMessage(message.route, tuple(self._outputs), (StageRecord(0, 1_000_000, 0),)))


def frames(desk: Desk, photograph: Path, policy: Literal["every", "latest"], numbers: range) -> "Queue[InferReply]":
    """Send frames of one stream; their answers will be in the queue."""
    replies: Queue[InferReply] = Queue()
    for number in numbers:
        request = InferRequest(
            request_id=f"f{number}", image=photograph.read_bytes(), top=1, stream="camera", policy=policy
        )
        desk.intake.take("photos", request, replies.put)
    return replies


def test_a_stale_frame_of_a_live_stream_gives_way(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """It is told so at once, without an error; those that have begun, and the newest, are answered."""
    slow = Slow(desk)
    replies = [frames(desk, photographs[0], "latest", range(1))]
    assert eventually(lambda: slow.begun.qsize() == 1)
    replies += [frames(desk, photographs[0], "latest", range(1, 2))]
    assert eventually(lambda: slow.begun.qsize() == 2)
    later = frames(desk, photographs[0], "latest", range(2, 5))
    dropped = [later.get(timeout=10), later.get(timeout=10)]
    assert [(reply.request_id, reply.dropped, reply.error) for reply in dropped] == [
        ("f2", True, None),
        ("f3", True, None),
    ]
    assert slow.begun.qsize() == 2
    slow.let_go()
    slow.let_go()
    assert [each.get(timeout=10).request_id for each in replies] == ["f0", "f1"]
    slow.let_go()
    newest = later.get(timeout=10)
    assert (newest.request_id, newest.dropped, len(newest.classes)) == ("f4", False, 1)
    assert desk.reports.qsize() == 3
    assert desk.dropped == ["photos", "photos"]


def test_every_frame_of_another_stream_is_answered_in_its_order(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """No more of them are under way than keep the stages busy; the others wait for their turn."""
    slow = Slow(desk)
    replies = frames(desk, photographs[0], "every", range(8))
    for number in range(8):
        assert eventually(slow.begun.qsize)
        assert desk.origin.in_flight <= DECODERS + 3
        slow.let_go()
        reply = replies.get(timeout=10)
        assert (reply.request_id, reply.error, reply.dropped) == (f"f{number}", None, False)


def test_a_stream_holds_up_nobody_else(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """A request that belongs to no stream begins although a stream's frames wait."""
    slow = Slow(desk)
    frames(desk, photographs[0], "every", range(5))
    assert eventually(lambda: slow.begun.qsize() == UNKNOWN_DEPTH)
    desk.intake.take("photos", InferRequest(request_id="r1", image=photographs[0].read_bytes()), lambda _: None)
    assert eventually(lambda: slow.begun.qsize() == UNKNOWN_DEPTH + 1)


def test_a_frame_that_is_no_image_ends_no_stream(desk: Desk, photographs: tuple[Path, ...]) -> None:
    """It is answered with its error, and the next frame in its turn."""
    replies: Queue[InferReply] = Queue()
    for number, image in enumerate((b"noise", photographs[0].read_bytes(), b"noise", photographs[1].read_bytes())):
        request = InferRequest(request_id=f"f{number}", image=image, top=1, stream="camera")
        desk.intake.take("photos", request, replies.put)
    answers = {reply.request_id: reply.error for reply in (replies.get(timeout=10) for _ in range(4))}
    assert [answers[f"f{number}"] is None for number in range(4)] == [False, True, False, True]
    assert eventually(lambda: not desk.intake._line._streams)
