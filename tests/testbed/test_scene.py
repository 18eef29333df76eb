"""What a viewer knows: a pure fold over messages and samples."""

from broker.messages import (
    LinkReading,
    ModelReference,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    PlanStage,
    Prediction,
)
from testbed.comparison import Sample
from testbed.scene import Scene, apply

MODEL = ModelReference(sha256="a" * 64, name="m", size_bytes=1, ops=10, url="http://x/")


def plan(epoch: int, *stages: tuple[str, int, int], deployment: str = "adaptive") -> Plan:
    return Plan(
        deployment=deployment,
        epoch=epoch,
        model=MODEL,
        origin="pi",
        stages=tuple(PlanStage(node=node, start=start, stop=stop) for node, start, stop in stages),
        way_back=(),
        strategy="exact",
        prediction=Prediction(latency_ms=135.0, origin_energy_j=1.0, total_energy_j=2.0, objective=0.7),
        reason="start",
        created_at=0.0,
    )


def ready(epoch: int, node: str, *, yes: bool = True) -> PlanReady:
    return PlanReady(deployment="adaptive", epoch=epoch, node=node, ready=yes, reason="" if yes else "no room")


def test_a_plan_is_ready_when_all_its_nodes_are() -> None:
    """Readiness counts by epoch; the readiness of an older plan is none."""
    scene = apply(plan(1, ("pi", 0, 4), ("laptop", 4, 10)), Scene())
    assert not apply(ready(1, "pi"), scene).is_ready("adaptive")
    scene = apply(ready(1, "laptop"), apply(ready(1, "pi"), scene))
    assert scene.is_ready("adaptive")
    assert not scene.is_ready("static")
    assert not apply(plan(2, ("pi", 0, 10)), scene).is_ready("adaptive")


def test_old_plans_change_nothing() -> None:
    """A plan that comes late does not replace a newer one."""
    scene = apply(plan(3, ("pi", 0, 10)), Scene())
    assert apply(plan(2, ("laptop", 0, 10)), scene) == scene


def test_refusals_are_kept() -> None:
    """A node that cannot take its part is remembered with its reason."""
    assert apply(ready(1, "pc", yes=False), Scene()).refusals == {"adaptive": "pc: no room"}


def test_nodes_profiles_and_links() -> None:
    """The newest status, profile and reading of each count."""
    profile = NodeProfile(
        node="pi",
        model="a" * 64,
        runtime="r",
        threads=1,
        op_ms=(1.0,),
        op_ms_std=(0.0,),
        unsplit_ms=1.0,
        unsplit_ms_std=0.0,
        memory_mb=1.0,
    )
    reading = LinkReading(
        src="pi", dst="pc", at=0.0, rtt_ms=1.0, rtt_ms_std=0.0, mbps=40.0, mbps_std=1.0, method="probe"
    )
    scene = Scene()
    for event in (NodeStatus(node="pi", session="s", state="online"), profile, reading):
        scene = apply(event, scene)
    assert (scene.online, scene.profiles["pi"], scene.links["pi", "pc"]) == ({"pi"}, profile, reading)
    assert apply(NodeStatus(node="pi", session="s", state="offline"), scene).online == frozenset()


def test_recent_samples() -> None:
    """Samples are found by strategy and age, newest first."""
    scene = Scene()
    for turn in range(4):
        for strategy in ("adaptive", "static"):
            scene = apply(Sample(strategy, turn, float(turn), 40.0, 100.0 + turn), scene)
    assert [sample.turn for sample in scene.recent("adaptive", 2.0)] == [3, 2]
    last = scene.last_sample("static")
    assert last is not None
    assert last.latency_ms == 103.0
    assert scene.last_sample("fog-only") is None
