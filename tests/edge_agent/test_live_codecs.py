"""Two agents, their broker and their sockets: an image answered under every codec of the transfer between them."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from eventually import eventually
from PIL import Image
from plans import plan_of

from broker.messages import (
    CodecName,
    DeploymentNotice,
    InferReply,
    InferRequest,
    ModelReference,
    NodeProfile,
    Plan,
    PlanReady,
    TensorScale,
)
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import DEPLOYMENT, INFER, PLAN, PROFILE, READY
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, TensorSettings
from models.cache import ModelCache
from models.codec_figures import NAMES
from models.graph import read_graph

WIDE_SCALE = TensorScale(scale=0.05, zero_point=-100)


class Pair:
    """A Pi, where the requests begin, and a PC; both hold the branchy model already."""

    def __init__(self, mosquitto: PrivateMosquitto, model: Path, directory: Path) -> None:
        self.graph = read_graph(model)
        self.ops = len(self.graph.ops)
        self.cut = next(cut.k for cut in self.graph.cuts[1:-1] if cut.allowed)
        self.ready: list[PlanReady] = []
        self.profiles: dict[str, NodeProfile] = {}
        self.agents = []
        for node in ("pi", "pc"):
            cached = ModelCache(directory / node).add(model)
            self.agents.append(
                Agent(
                    AgentSettings(
                        site="codecs",
                        node=node,
                        tier="edge",
                        broker=mosquitto.settings,
                        cache=directory / node,
                        tensors=TensorSettings(listen="tcp://127.0.0.1:0"),
                    )
                )
            )
        self.model = ModelReference(
            sha256=cached.sha256,
            name="branchy",
            size_bytes=cached.size_bytes,
            ops=self.ops,
            url="http://127.0.0.1:1/none",
        )
        self.session = Session(mosquitto.settings, site="codecs", client_id="coordinator")
        self._epoch = 0

    def start(self) -> None:
        """Both profile the model."""
        for agent in self.agents:
            agent.start()
        self.session.start()
        self.session.on(READY, lambda incoming: self.ready.append(incoming.message))
        self.session.on(PROFILE, lambda incoming: self.profiles.__setitem__(incoming.message.node, incoming.message))
        notice = DeploymentNotice(deployment="photos", model=self.model, origin="pi")
        self.session.publish(DEPLOYMENT, notice, "photos")
        assert eventually(lambda: len(self.profiles) == 2, 60)

    def close(self) -> None:
        self.session.close()
        for agent in self.agents:
            agent.close()

    def adopt(self, plan: Plan) -> None:
        """Both are ready for the plan, as the next epoch."""
        self._epoch += 1
        plan = msgspec.structs.replace(plan, model=self.model, epoch=self._epoch)
        self.session.publish(PLAN, plan, "photos")
        assert eventually(lambda: {told.node for told in self.ready if told.epoch == self._epoch} == {"pi", "pc"}, 30)
        assert all(told.ready for told in self.ready), self.ready

    def ask(self, image: bytes) -> InferReply:
        """One request, sent until it runs under the newest plan."""
        replies: list[InferReply] = []

        def answered() -> bool:
            request = InferRequest(request_id=f"r{len(replies)}-{self._epoch}", image=image, top=4)
            replies.append(self.session.request(INFER, request, "photos", timeout_s=20, node="pi"))
            report = replies[-1].report
            return report is not None and report.epoch == self._epoch

        for agent in self.agents:
            agent.tick()
        assert eventually(answered, 30), replies[-1]
        return replies[-1]


@pytest.fixture
def pair(mosquitto: PrivateMosquitto, small_model: Callable[[str], Path], tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(mosquitto, small_model("branchy"), tmp_path)
    try:
        pair.start()
        yield pair
    finally:
        pair.close()


def photograph() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def scores(reply: InferReply) -> list[float]:
    assert reply.error is None, reply.error
    assert reply.report is not None
    assert reply.report.outcome == "answered", reply.report
    return [one.score for one in sorted(reply.classes, key=lambda one: one.index)]


def test_an_image_has_its_answer_under_every_codec(pair: Pair) -> None:
    """At an inner cut and at the input, each within its loss of the raw answer; the reports say what packing took."""
    assert all(tuple(speed.codec for speed in profile.codecs) == NAMES for profile in pair.profiles.values())
    inner = plan_of(("pi", 0, pair.cut), ("pc", pair.cut, pair.ops), way_back=("pc", "pi"))
    whole = plan_of(("pc", 0, pair.ops), way_back=("pc", "pi"))
    pair.adopt(inner)
    image = photograph()
    expected = scores(pair.ask(image))
    for codec in NAMES:
        for plan in (inner, whole):
            is_inner = plan is inner
            if is_inner and codec in ("uint8", "jpeg"):
                continue
            pair.adopt(with_codec(plan, codec, floats=len(pair.graph.cuts[pair.cut if is_inner else 0].tensors)))
            reply = pair.ask(image)
            loss = 0.1 if codec.startswith("int8") else 0.01 if codec.startswith("fp16") else 0.0
            np.testing.assert_allclose(scores(reply), expected, atol=loss + 1e-6)
            assert reply.report is not None
            assert all(stage.codec_ms <= stage.compute_ms for stage in reply.report.stages)
            if "+" in codec or codec in ("uint8", "jpeg"):
                assert reply.report.stages[-1].codec_ms > 0.0


def with_codec(plan: Plan, codec: CodecName, floats: int) -> Plan:
    """The plan whose last stage takes tensors in this codec."""
    *before, last = plan.stages
    scales = (WIDE_SCALE if len(plan.stages) > 1 else TensorScale(scale=0.008, zero_point=0),) * floats
    packed = msgspec.structs.replace(last, codec=codec, scales=scales if codec.startswith("int8") else ())
    return msgspec.structs.replace(plan, stages=(*before, packed))
