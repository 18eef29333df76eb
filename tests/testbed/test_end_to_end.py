"""The whole system as separate processes over a real Mosquitto: it moves its split and answers every request."""

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from eventually import eventually

from broker.messages import InferReply, InferRequest, Plan
from broker.session import Incoming, Session
from broker.topics import INFER, PLAN
from coordinator.configuration import DeploymentSettings, PlanningSettings
from edge_agent.configuration import PowerSettings
from edge_agent.probes import LinkSettings
from edge_agent.routes import named_nodes
from models.images import load_image, to_input
from models.preprocessing import read_preprocessing
from models.runtime import Segment
from testbed.continuum import Continuum, EmulatedNode
from testbed.shaping import LinkShape
from testbed.traces import constant

POWER = PowerSettings(idle_w=2.7, busy_w=6.4)
# A slow origin beside two quick nodes: what it sends away, it sends because of the links.
NODES = (
    EmulatedNode("pi", "edge", 20.0, POWER, "emulated: 20 times slower"),
    EmulatedNode("laptop", "fog", 1.0, POWER, "emulated: as quick as this machine"),
    EmulatedNode("pc", "cloud", 1.0, POWER, "emulated: as quick as this machine"),
)
GOOD_MBPS, BAD_MBPS = 200.0, 0.5
PAIRS = (("pi", "laptop"), ("laptop", "pi"), ("pi", "pc"), ("pc", "pi"), ("laptop", "pc"), ("pc", "laptop"))


class Stream:
    """A steady stream of requests, one after the other, and every reply to them."""

    def __init__(self, continuum: Continuum, image: bytes) -> None:
        self._continuum = continuum
        self._image = image
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="stream")
        self.asked = 0
        self.replies: list[InferReply] = []

    def __enter__(self) -> "Stream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with self._continuum.session(f"stream-{uuid.uuid4().hex[:8]}") as session:
            while not self._stop.is_set():
                request = InferRequest(request_id=uuid.uuid4().hex, image=self._image, top=3)
                self.asked += 1
                self.replies.append(session.request(INFER, request, "photos", timeout_s=40.0))


def test_the_split_moves_with_the_link_and_every_request_is_answered(
    tmp_path: Path, zoo_model: Callable[..., Path], photographs: tuple[Path, ...]
) -> None:
    """On a good link the origin sends work away, on a bad one it keeps it; no reply is missing or different."""
    model = zoo_model("mobilenetv2")
    image = photographs[0].read_bytes()
    shapes = tuple(LinkShape(src, dst, constant(GOOD_MBPS), 1.0) for src, dst in PAIRS)
    deployment = DeploymentSettings(name="photos", model=model, origin="pi")
    plans: list[Plan] = []

    def latest_names_others() -> bool:
        return bool(plans) and named_nodes(plans[-1]) != {"pi"}

    with Continuum(
        NODES,
        shapes,
        (deployment,),
        tmp_path,
        planning=PlanningSettings(interval_s=1.0),
        probing=LinkSettings(probe_interval_s=1.0, max_probe_bytes_per_minute=20_000_000),
    ) as continuum:
        watcher = continuum.session("watcher")
        watcher.on(PLAN, lambda incoming: _collect(plans, incoming))
        with watcher:
            assert eventually(latest_names_others, 60), "no plan uses the good links"
            assert eventually(lambda: _is_answered(watcher, image), 60), "the first plan never gets ready"
            with Stream(continuum, image) as stream:
                assert eventually(lambda: len(stream.replies) >= 5, 60)
                for src, dst in PAIRS:
                    continuum.links.set_link(src, dst, trace=constant(BAD_MBPS))
                assert eventually(lambda: not latest_names_others(), 60), "the split did not come home"
                settled = plans[-1].epoch
                assert eventually(lambda: _answered_under(stream, settled), 60)
                for src, dst in PAIRS:
                    continuum.links.set_link(src, dst, trace=constant(GOOD_MBPS))
                assert eventually(latest_names_others, 60), "the split did not go out again"
                recovered = plans[-1].epoch
                assert eventually(lambda: _answered_under(stream, recovered), 60)
        continuum.check()

    assert len(stream.replies) == stream.asked
    assert [reply.error for reply in stream.replies if reply.error] == []
    assert len({reply.request_id for reply in stream.replies}) == stream.asked
    epochs = [plan.epoch for plan in plans]
    assert epochs == sorted(set(epochs))
    # Whatever the split, the chain gives the unsplit model's answer.
    answers = {tuple((one.index, one.score) for one in reply.classes) for reply in stream.replies}
    assert answers == {_unsplit_answer(model, image)}


def _collect(plans: list[Plan], incoming: Incoming[Plan]) -> None:
    plans.append(incoming.message)


def _is_answered(client: Session, image: bytes) -> bool:
    request = InferRequest(request_id=uuid.uuid4().hex, image=image)
    return client.request(INFER, request, "photos", timeout_s=40.0).error is None


def _answered_under(stream: Stream, epoch: int) -> bool:
    return any(reply.report is not None and reply.report.epoch >= epoch for reply in stream.replies)


def _unsplit_answer(model: Path, image: bytes) -> tuple[tuple[int, float], ...]:
    segment = Segment(model)
    [spec] = segment.inputs
    [scores] = segment.run([to_input(load_image(image), spec.shape, spec.dtype, None, read_preprocessing(model))])
    best = (-scores[0]).argsort(kind="stable")[:3]
    return tuple((int(index), float(scores[0][index])) for index in best)
