"""The public Python API of who asks a site for inferences: single images, and streams of frames.

with Client(BrokerSettings(host="broker.lan"), site="home") as client:
    photos = client.deployment("photos")
    reply = client.infer(photos, image)
    for answer in client.stream(photos, frames, policy="latest"): ...
"""

import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from broker.errors import NoReplyError
from broker.messages import DeploymentNotice, InferReply, InferRequest
from broker.session import Incoming, Session
from broker.sign_in import BrokerSettings
from broker.topics import DEPLOYMENT, INFER
from splitrail.errors import SplitrailError
from splitrail.frame_feed import Feed, Sent

LOOK_UP_S: Final = 2.0
IN_FLIGHT: Final = 8  # where nothing is said
MOST_IN_FLIGHT: Final = 32  # each has a thread here; of more an origin would refuse some, for no more wait there

Policy = Literal["every", "latest"]


class NoSuchDeploymentError(SplitrailError, LookupError):
    """No one deployment of the site bears this name or runs this model."""


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """What became of one frame of a stream: its reply has classes, or an error, or says that it was dropped."""

    number: int
    """From 0, in the order of the frames."""
    reply: InferReply
    latency_ms: float
    """From the send to the answer, as the client saw it; 0 of a frame that was never sent."""


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
        in_flight: int = IN_FLIGHT,
        top: int = 1,
        timeout_s: float = 60.0,
    ) -> Iterator[FrameAnswer]:
        """The answers to image files, in their order, while `in_flight` (1 to 32) of them are under way at most.

        With `every`, each frame is answered, and `frames` is read as fast as there is room. With `latest`, it is read
        as fast as it gives them, which should be a camera's rate (see `paced`); a frame that has not begun when a newer
        one comes is dropped, here or at the origin. It is read on a thread of its own; what it raises is raised here.
        A frame without an answer in time has a reply whose error says so.
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

        def dropped(number: int) -> FrameAnswer:
            return FrameAnswer(number, InferReply(request_id=uuid.uuid4().hex, dropped=True), 0.0)

        with Feed(frames, ask, in_flight, dropped if policy == "latest" else None) as feed:
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
