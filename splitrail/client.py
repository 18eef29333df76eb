"""The public Python API of who asks a site for inferences: single images, and streams of frames.

with Client(BrokerSettings(host="broker.lan"), site="home") as client:
    photos = client.deployment("photos")
    reply = client.infer(photos, image)
    for answer in client.stream(photos, frames, policy="latest"): ...
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from broker.errors import NoReplyError
from broker.messages import DeploymentNotice, InferReply, InferRequest
from broker.session import BrokerSettings, Incoming, Session
from broker.topics import DEPLOYMENT, INFER
from splitrail.errors import SplitrailError

LOOK_UP_S: Final = 2.0
MOST_IN_FLIGHT: Final = 64  # each has a thread here; an origin takes no more either
MOST_UNTAKEN: Final = 256

Policy = Literal["every", "latest"]
Sent = Callable[[], None]


class NoSuchDeploymentError(SplitrailError, LookupError):
    """No one deployment of the site bears this name or runs this model."""


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """What became of one frame of a stream: its reply has classes, or an error, or says that it was dropped."""

    number: int
    """From 0, in the order of the frames."""
    reply: InferReply
    latency_ms: float
    """From the send to the answer, as the client saw it."""


class Client:
    """A user's session with a site; its methods may be called from any thread.

    They raise BrokerError where the broker is away or refuses, and where the origin does not answer in time.
    """

    def __init__(self, broker: BrokerSettings, *, site: str = "home") -> None:
        self._site = site
        self._session = Session(broker, site=site, client_id=f"infer-{uuid.uuid4().hex[:12]}")

    def __enter__(self) -> Self:
        self._session.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def deployment(self, wanted: str) -> DeploymentNotice:
        """The deployment of this name, else the only one that runs a model of this name.

        NoSuchDeploymentError tells which there are.
        """
        notices: dict[str, DeploymentNotice] = {}
        named = threading.Event()

        def collect(incoming: Incoming[DeploymentNotice]) -> None:
            notices[incoming.message.deployment] = incoming.message
            if incoming.message.deployment == wanted:
                named.set()

        self._session.on(DEPLOYMENT, collect)
        named.wait(LOOK_UP_S)
        found = dict(notices)
        if wanted in found:
            return found[wanted]
        of_model = [notice for notice in found.values() if notice.model.name == wanted]
        match of_model:
            case [only]:
                return only
            case []:
                there = ", ".join(sorted(found)) or "none; does its coordinator run?"
                raise NoSuchDeploymentError(f"the site {self._site!r} has no deployment {wanted!r}; there are: {there}")
            case _:
                names = ", ".join(sorted(notice.deployment for notice in of_model))
                raise NoSuchDeploymentError(f"several deployments run {wanted!r}: name one of {names}")

    def infer(self, deployment: DeploymentNotice, image: bytes, *, top: int = 5, timeout_s: float = 60.0) -> InferReply:
        """The answer to one image file (JPEG, PNG, ...), with its `top` classes."""
        request = InferRequest(request_id=uuid.uuid4().hex, image=image, top=top)
        return self._ask(deployment, request, timeout_s, lambda: None)

    def stream(
        self,
        deployment: DeploymentNotice,
        frames: Iterable[bytes],
        *,
        policy: Policy = "every",
        in_flight: int = 8,
        top: int = 1,
        timeout_s: float = 60.0,
    ) -> Iterator[FrameAnswer]:
        """The answers to image files, in their order, while `in_flight` (1 to 64) of them are under way at most.

        Each frame is answered (`every`), or those that have not begun when a newer one comes are dropped (`latest`).
        `frames` is read on a thread of its own, as fast as there is room: `paced` slows it to a camera's rate. What it
        raises is raised here. A frame without an answer in time has a reply whose error says so.
        """
        if not 1 <= in_flight <= MOST_IN_FLIGHT:
            raise ValueError(f"in_flight is {in_flight}: it must be from 1 to {MOST_IN_FLIGHT}")
        stream = uuid.uuid4().hex

        def ask(number: int, image: bytes, sent: Sent) -> FrameAnswer:
            request = InferRequest(request_id=uuid.uuid4().hex, image=image, top=top, stream=stream, policy=policy)
            started_s = time.perf_counter()
            try:
                reply = self._ask(deployment, request, timeout_s, sent)
            except NoReplyError as error:
                reply = InferReply(request_id=request.request_id, error=str(error))
            return FrameAnswer(number, reply, (time.perf_counter() - started_s) * 1e3)

        with _Feed(frames, ask, in_flight) as feed:
            yield from feed.answers()

    def _ask(self, deployment: DeploymentNotice, request: InferRequest, timeout_s: float, sent: Sent) -> InferReply:
        return self._session.request(
            INFER, request, deployment.deployment, timeout_s=timeout_s, node=deployment.origin, sent=sent
        )


def paced(frames: Iterable[bytes], frames_per_s: float) -> Iterator[bytes]:
    """The frames at a camera's rate; one that is late comes at once."""
    started_s = time.monotonic()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, started_s + number / frames_per_s - time.monotonic()))
        yield frame


class _Feed:
    """Reads frames on a thread of its own and asks for each on another, so many at once; `sent` keeps their order."""

    def __init__(self, frames: Iterable[bytes], ask: Callable[[int, bytes, Sent], FrameAnswer], in_flight: int) -> None:
        self._frames = frames
        self._ask = ask
        self._pool = ThreadPoolExecutor(in_flight, "stream")
        self._free = threading.Semaphore(in_flight)
        self._untaken = threading.Semaphore(MOST_UNTAKEN)
        self._asked: queue.SimpleQueue[Future[FrameAnswer] | BaseException | None] = queue.SimpleQueue()
        self._is_ending = False
        self._reader = threading.Thread(target=self._read, name="stream-reader", daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask for no more, and wait for what is under way."""
        self._is_ending = True
        self._free.release()
        self._untaken.release()
        self._reader.join()
        self._pool.shutdown()

    def answers(self) -> Iterator[FrameAnswer]:
        """In the order of the frames, to their end; what reading or asking raises is raised in its turn."""
        while (asked := self._asked.get()) is not None:
            if isinstance(asked, BaseException):
                raise asked
            yield asked.result()
            self._untaken.release()

    def _read(self) -> None:
        try:
            for number, image in enumerate(self._frames):
                self._untaken.acquire()
                self._free.acquire()
                if self._is_ending:
                    return
                sent = threading.Event()
                self._asked.put(self._pool.submit(self._ask_and_free, number, image, sent))
                sent.wait()
        except BaseException as error:  # of the frames' owner, whose thread should hear of it
            self._asked.put(error)
        else:
            self._asked.put(None)

    def _ask_and_free(self, number: int, image: bytes, sent: threading.Event) -> FrameAnswer:
        try:
            return self._ask(number, image, sent.set)
        finally:
            sent.set()
            self._free.release()
