"""Contention on a node of the running system: its site hears of it, and its compute is stretched."""

import statistics
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
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


# One deployment stays where it is, the other goes where it is quickest.
STILL, MOVING = "still", "moving"


@pytest.fixture(scope="module")
def continuum(tmp_path_factory: pytest.TempPathFactory, zoo_model: Callable[..., Path]) -> Iterator[Continuum]:
    """The site, started once: each test leaves its nodes undisturbed."""
    model = zoo_model("mobilenetv2")
    deployments = (
        DeploymentSettings(name=STILL, model=model, origin="pi", strategy="fog-only"),
        DeploymentSettings(name=MOVING, model=model, origin="pi"),
    )
    quick = PlanningSettings(settle_s=1.0)
    with Continuum(NODES, SHAPES, deployments, tmp_path_factory.mktemp("site"), planning=quick) as running:
        yield running


@pytest.fixture
def watcher(continuum: Continuum) -> Iterator[Session]:
    """Who asks and listens; when it has gone, so has the load."""
    with continuum.session("watcher") as session:
        yield session
    continuum.set_load("laptop", 0.0)


@pytest.fixture
def image(photographs: tuple[Path, ...]) -> bytes:
    """What is asked about."""
    return photographs[0].read_bytes()


def ask(client: Session, deployment: str, image: bytes) -> InferReply:
    request = InferRequest(request_id=uuid.uuid4().hex, image=image)
    return client.request(INFER, request, deployment, timeout_s=40.0)


def compute_ms(client: Session, image: bytes) -> float:
    """The laptop's compute for a request, the median of a few."""
    times = []
    for _ in range(REQUESTS):
        report = ask(client, STILL, image).report
        assert report is not None
        [stage] = [stage for stage in report.stages if stage.node == "laptop"]
        times.append(stage.compute_ms)
    return statistics.median(times)


def test_contention_is_told_and_stretches_compute(continuum: Continuum, watcher: Session, image: bytes) -> None:
    """Each node starts undisturbed; a load of three quarters makes compute four times longer, until it is gone."""
    loads: dict[str, NodeLoad] = {}
    watcher.on(LOAD, lambda incoming: loads.update({incoming.message.node: incoming.message}))
    assert eventually(lambda: len(loads) == 3)
    assert all(load.emulated and load.load == 0.0 for load in loads.values())
    assert eventually(lambda: ask(watcher, STILL, image).error is None, 60), "the first plan never gets ready"
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
    continuum: Continuum, watcher: Session, image: bytes
) -> None:
    """The quickest node loses its part when others take most of it, and gets it back when they have gone."""
    plans: list[Plan] = []

    def answered_with(*, laptop: bool) -> bool:
        """Whether a request is answered by a plan that computes on the laptop, or by one that does not."""
        report = ask(watcher, MOVING, image).report
        return report is not None and any(stage.node == "laptop" for stage in report.stages) == laptop

    watcher.on(PLAN, lambda incoming: plans.append(incoming.message), levels=(MOVING,))
    assert eventually(lambda: ask(watcher, MOVING, image).error is None, 60), "the first plan never gets ready"
    assert eventually(lambda: answered_with(laptop=True), 60), "no plan uses the quickest node"
    continuum.set_load("laptop", 0.9)
    assert eventually(lambda: answered_with(laptop=False), 60), f"the split stayed: {plans[-1]}"
    continuum.set_load("laptop", 0.0)
    assert eventually(lambda: answered_with(laptop=True), 60), f"the split did not return: {plans[-1]}"
