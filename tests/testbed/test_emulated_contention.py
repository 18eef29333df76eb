"""Contention on a node of the running system: its site hears of it, and its compute is stretched."""

import statistics
import uuid
from collections.abc import Callable
from pathlib import Path

from eventually import eventually

from broker.messages import InferReply, InferRequest, NodeLoad, Plan
from broker.session import Session
from broker.topics import INFER, LOAD, PLAN
from coordinator.configuration import DeploymentSettings, PlanningSettings
from edge_agent.configuration import PowerSettings
from testbed.continuum import Continuum, EmulatedNode
from testbed.shaping import LinkShape
from testbed.traces import constant

POWER = PowerSettings(idle_w=2.7, busy_w=6.4)
NODES = (
    EmulatedNode("pi", "edge", 40.0, POWER, "emulated: 40 times slower"),
    EmulatedNode("laptop", "fog", 5.0, POWER, "emulated: 5 times slower"),
    EmulatedNode("pc", "cloud", 10.0, POWER, "emulated: 10 times slower"),
)
SHAPES = tuple(LinkShape(src.name, dst.name, constant(200.0), 1.0) for src in NODES for dst in NODES if src is not dst)
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
    quick = PlanningSettings(settle_s=1.0)
    with (
        Continuum(NODES, SHAPES, (deployment,), tmp_path, planning=quick) as continuum,
        continuum.session("watcher") as watcher,
    ):
        watcher.on(LOAD, lambda incoming: loads.update({incoming.message.node: incoming.message}))
        assert eventually(lambda: len(loads) == 3)
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


def test_the_split_leaves_a_node_under_contention_and_returns(
    tmp_path: Path, zoo_model: Callable[..., Path], photographs: tuple[Path, ...]
) -> None:
    """The quickest node loses its part when others take most of it, and gets it back when they have gone."""
    image = photographs[0].read_bytes()
    deployment = DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi")
    plans: list[Plan] = []

    def answered_with(client: Session, *, laptop: bool) -> bool:
        """Whether a request is answered by a plan that computes on the laptop, or by one that does not."""
        report = ask(client, image).report
        return report is not None and any(stage.node == "laptop" for stage in report.stages) == laptop

    with Continuum(NODES, SHAPES, (deployment,), tmp_path) as continuum, continuum.session("watcher") as watcher:
        watcher.on(PLAN, lambda incoming: plans.append(incoming.message))
        assert eventually(lambda: ask(watcher, image).error is None, 60), "the first plan never gets ready"
        assert eventually(lambda: answered_with(watcher, laptop=True), 60), "no plan uses the quickest node"
        continuum.set_load("laptop", 0.9)
        assert eventually(lambda: answered_with(watcher, laptop=False), 60), f"the split stayed: {plans[-1]}"
        continuum.set_load("laptop", 0.0)
        assert eventually(lambda: answered_with(watcher, laptop=True), 60), f"the split did not return: {plans[-1]}"
