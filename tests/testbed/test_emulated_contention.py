"""Contention on a node of the running system: its site hears of it, and its compute is stretched."""

import statistics
import uuid
from collections.abc import Callable
from pathlib import Path

from eventually import eventually

from broker.messages import InferReply, InferRequest, NodeLoad
from broker.session import Session
from broker.topics import INFER, LOAD
from coordinator.configuration import DeploymentSettings
from edge_agent.configuration import PowerSettings
from testbed.continuum import Continuum, EmulatedNode
from testbed.shaping import LinkShape
from testbed.traces import constant

POWER = PowerSettings(idle_w=2.7, busy_w=6.4)
NODES = (
    EmulatedNode("pi", "edge", 20.0, POWER, "emulated: 20 times slower"),
    EmulatedNode("laptop", "fog", 5.0, POWER, "emulated: 5 times slower"),
)
SHAPES = tuple(LinkShape(src, dst, constant(200.0), 1.0) for src, dst in (("pi", "laptop"), ("laptop", "pi")))
REQUESTS = 5


def ask(client: Session, image: bytes) -> InferReply:
    request = InferRequest(request_id=uuid.uuid4().hex, image=image)
    return client.request(INFER, request, "photos", timeout_s=40.0)


def compute_ms(client: Session, image: bytes) -> float:
    """The laptop's compute for a request, the median of a few."""
    times = []
    for _ in range(REQUESTS):
        report = ask(client, image).report
        assert report is not None
        [stage] = [stage for stage in report.stages if stage.node == "laptop"]
        times.append(stage.compute_ms)
    return statistics.median(times)


def test_contention_is_told_and_stretches_compute(
    tmp_path: Path, zoo_model: Callable[..., Path], photographs: tuple[Path, ...]
) -> None:
    """Each node starts undisturbed; a load of three quarters makes compute four times longer, until it is gone."""
    image = photographs[0].read_bytes()
    deployment = DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi", strategy="fog-only")
    loads: dict[str, NodeLoad] = {}
    with Continuum(NODES, SHAPES, (deployment,), tmp_path) as continuum, continuum.session("watcher") as watcher:
        watcher.on(LOAD, lambda incoming: loads.update({incoming.message.node: incoming.message}))
        assert eventually(lambda: len(loads) == 2)
        assert all(load.emulated and load.load == 0.0 for load in loads.values())
        assert eventually(lambda: ask(watcher, image).error is None, 60), "the first plan never gets ready"
        alone_ms = compute_ms(watcher, image)

        continuum.set_load("laptop", 0.75)
        assert eventually(lambda: loads["laptop"].load == 0.75)
        assert loads["pi"].load == 0.0
        # Both rest on the CPU time of the very same op, which varies by far less than the factor of four.
        assert compute_ms(watcher, image) > 2.0 * alone_ms

        continuum.set_load("laptop", 0.0)
        assert eventually(lambda: loads["laptop"].load == 0.0)
        assert compute_ms(watcher, image) < 2.0 * alone_ms
