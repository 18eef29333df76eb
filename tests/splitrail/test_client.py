"""The Python API of who asks a site, with a real broker and an origin of the test's own."""

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from eventually import eventually

from broker.messages import ClassScore, DeploymentNotice, InferReply, InferRequest, ModelReference
from broker.mosquitto import PrivateMosquitto
from broker.session import Incoming, Session
from broker.topics import DEPLOYMENT, INFER, REPLY
from splitrail.cli import main
from splitrail.client import MOST_IN_FLIGHT, Client, FrameAnswer, NoSuchDeploymentError, paced

pytestmark = pytest.mark.usefixtures("nothing_left")

MODEL = ModelReference(sha256="a" * 64, name="mobilenetv2", size_bytes=1, ops=3, url="http://127.0.0.1:1/m")
NOTICE = DeploymentNotice(deployment="photos", model=MODEL, origin="pi")


class Origin:
    """Answers the deployment `photos` on demand, or at once."""

    def __init__(self, mosquitto: PrivateMosquitto, site: str) -> None:
        self.begun: queue.Queue[Incoming[InferRequest]] = queue.Queue()
        self.seen: list[InferRequest] = []
        self.answers_at_once = True
        self.session = Session(mosquitto.settings, site=site, client_id=f"{site}-pi")
        self.session.on(INFER, self._take)
        self.session.start()
        self.session.publish(DEPLOYMENT, NOTICE, "photos")

    def _take(self, incoming: Incoming[InferRequest]) -> None:
        self.seen.append(incoming.message)
        if self.answers_at_once:
            self.answer(incoming)
        else:
            self.begun.put(incoming)

    def answer(self, incoming: Incoming[InferRequest], *, dropped: bool = False) -> None:
        """What the image says is its class; or that it was dropped."""
        request = incoming.message
        label = ClassScore(index=0, label=request.image.decode(), score=1.0)
        reply = InferReply(request_id=request.request_id, classes=() if dropped else (label,), dropped=dropped)
        self.session.reply(incoming, REPLY, reply)


@pytest.fixture
def origin(mosquitto: PrivateMosquitto, site: str) -> Iterator[Origin]:
    """An origin that serves `photos`."""
    origin = Origin(mosquitto, site)
    yield origin
    origin.session.close()


@pytest.fixture
def client(mosquitto: PrivateMosquitto, site: str) -> Iterator[Client]:
    """A client of the test's site."""
    with Client(mosquitto.settings, site=site) as client:
        yield client


def frames(count: int) -> Iterator[bytes]:
    """Frames that say their number."""
    for number in range(count):
        yield str(number).encode()


@pytest.mark.parametrize("wanted", ["photos", "mobilenetv2"])
def test_a_deployment_is_found_by_its_name_or_its_model_s(origin: Origin, client: Client, wanted: str) -> None:
    """And asked for a single image."""
    assert client.deployment(wanted) == NOTICE
    assert client.infer(NOTICE, b"7").classes[0].label == "7"
    assert origin.seen[0].stream is None


def test_what_is_not_there_is_told_with_what_is(origin: Origin, client: Client) -> None:
    """A typing error is seen at once."""
    assert origin.session.connected
    with pytest.raises(NoSuchDeploymentError, match="no deployment 'foto'; there are: photos"):
        client.deployment("foto")


def test_frames_are_sent_and_answered_in_their_order(origin: Origin, client: Client) -> None:
    """All of them under one name and policy, whichever thread asks."""
    answers = list(client.stream(NOTICE, frames(40), in_flight=8))
    assert [answer.number for answer in answers] == list(range(40))
    assert [answer.reply.classes[0].label for answer in answers] == [str(number) for number in range(40)]
    assert [request.image for request in origin.seen] == list(frames(40))
    assert len({request.stream for request in origin.seen}) == 1
    assert {request.policy for request in origin.seen} == {"every"}
    assert all(answer.latency_ms > 0.0 for answer in answers)


def test_no_more_are_under_way_than_were_asked_for(origin: Origin, client: Client) -> None:
    """The next frame goes out when one of them has its answer."""
    origin.answers_at_once = False
    told = Told(client.stream(NOTICE, frames(3), in_flight=2))
    assert eventually(lambda: origin.begun.qsize() == 2)
    assert len(origin.seen) == 2
    origin.answer(origin.begun.get())
    assert eventually(lambda: len(origin.seen) == 3)
    for _ in range(2):
        origin.answer(origin.begun.get())
    assert told.numbers() == [0, 1, 2]


def test_a_live_stream_drops_what_finds_nobody_free_and_what_the_origin_drops(origin: Origin, client: Client) -> None:
    """A camera does not wait: of the frames that come meanwhile the newest goes out, and every one has its word."""
    origin.answers_at_once = False
    came: queue.Queue[bytes | None] = queue.Queue()
    taken: list[bytes] = []

    def camera() -> Iterator[bytes]:
        for frame in iter(came.get, None):
            yield frame
            taken.append(frame)

    told = Told(client.stream(NOTICE, camera(), in_flight=1, policy="latest"))
    came.put(b"0")
    assert eventually(lambda: origin.begun.qsize() == 1)
    for number in range(1, 6):
        came.put(str(number).encode())
    assert eventually(lambda: len(taken) == 6)
    origin.answer(origin.begun.get())
    origin.answer(origin.begun.get(timeout=10), dropped=True)
    came.put(None)
    assert told.numbers() == list(range(6))
    assert [answer.reply.dropped for answer in told.answers] == [False, True, True, True, True, True]
    assert [request.image for request in origin.seen] == [b"0", b"5"]
    assert [answer.latency_ms > 0.0 for answer in told.answers] == [True, False, False, False, False, True]


class Told:
    """Takes a stream's answers on a thread of its own."""

    def __init__(self, answers: Iterator[FrameAnswer]) -> None:
        self.answers: list[FrameAnswer] = []
        self._thread = threading.Thread(target=lambda: self.answers.extend(answers))
        self._thread.start()

    def numbers(self) -> list[int]:
        """The numbers of all frames that were answered, at the end."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return [answer.number for answer in self.answers]


def test_a_frame_without_an_answer_says_so_and_the_others_have_theirs(origin: Origin, client: Client) -> None:
    """One lost frame ends no stream."""
    origin.answers_at_once = False
    answers = client.stream(NOTICE, frames(2), in_flight=1, timeout_s=0.2)
    first = next(answers)
    assert "no reply within 0.2 s" in str(first.reply.error)
    origin.answers_at_once = True
    assert [answer.reply.error for answer in answers] == [None]


def test_a_fault_of_the_frames_is_the_caller_s(origin: Origin, client: Client) -> None:
    """After the answers to those before it."""
    assert origin.session.connected

    def broken() -> Iterator[bytes]:
        yield b"0"
        raise OSError("the camera is gone")

    answers = client.stream(NOTICE, broken())
    assert next(answers).number == 0
    with pytest.raises(OSError, match="the camera is gone"):
        next(answers)


def test_a_stream_may_be_left_at_any_time(origin: Origin, client: Client) -> None:
    """However many frames there would be; nothing of it stays."""
    answers = client.stream(NOTICE, frames(10**9), in_flight=4)
    assert next(answers).number == 0
    answers.close()
    sent = len(origin.seen)
    assert client.infer(NOTICE, b"7").error is None
    assert len(origin.seen) == sent + 1


@pytest.mark.parametrize("in_flight", [0, MOST_IN_FLIGHT + 1])
def test_how_many_may_be_under_way_is_bounded(client: Client, in_flight: int) -> None:
    """Each takes a thread."""
    with pytest.raises(ValueError, match=f"in_flight is {in_flight}"):
        next(client.stream(NOTICE, frames(1), in_flight=in_flight))


def test_paced_frames_come_no_sooner_than_they_are_due() -> None:
    """At a camera's rate."""
    started_s = time.monotonic()
    assert list(paced(frames(5), 100.0)) == list(frames(5))
    assert time.monotonic() - started_s >= 0.04


def test_the_command_sends_a_directory_s_images_as_a_stream(
    origin: Origin, mosquitto: PrivateMosquitto, site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, again and again up to the frames that are asked for; its figures may be had as JSON."""
    from PIL import Image  # noqa: PLC0415  # what images need is loaded where they are

    for name in ("b.png", "a.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    origin.session.close()
    origin.answers_at_once = False
    where = ["--broker", f"127.0.0.1:{mosquitto.port}", "--site", site]
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-other")

    def answer(incoming: Incoming[InferRequest]) -> None:
        reply = InferReply(request_id=incoming.message.request_id, dropped=len(origin.seen) == 1)
        origin.seen.append(incoming.message)
        session.reply(incoming, REPLY, reply)

    session.on(INFER, answer)
    with session:
        options = ["--stream", "--frames", "5", "--fps", "1000", "--in-flight", "2", "--json"]
        assert main(["infer", "photos", str(tmp_path), *options, *where]) == 0
    figures = msgspec.json.decode(capsys.readouterr().out)
    assert (figures["frames"], figures["answered"], figures["dropped"], figures["failed"]) == (5, 4, 1, 0)
    pictures = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    assert [request.image for request in origin.seen] == [pictures[number % 2] for number in range(5)]
    assert {request.policy for request in origin.seen} == {"every"}


def test_a_live_stream_needs_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one, all but a few frames would be dropped."""
    assert main(["infer", "photos", "china.jpg", "--stream", "--policy", "latest"]) == 2
    assert "name it with --fps" in capsys.readouterr().err


def test_a_directory_without_images_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is connected to."""
    assert main(["infer", "photos", str(tmp_path), "--stream"]) == 2
    assert "no image is in this directory" in capsys.readouterr().err
