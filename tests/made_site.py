"""A small made-up site as events: a model of four ops, three nodes and their links."""

from collections.abc import Iterable
from functools import reduce
from typing import Literal

from broker.messages import (
    PROTOCOL_VERSION,
    Hardware,
    InferenceReport,
    LinkReading,
    ModelReference,
    NodeAnnouncement,
    NodeLoad,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    PlanStage,
    PowerModel,
    Prediction,
    StageMiss,
    StageReport,
    StrategyName,
    Tier,
)
from coordinator.deployment import Deployment, ModelFacts
from coordinator.problem import Objective
from coordinator.site import EMPTY, State
from coordinator.state import DeploymentDeclared, Event, Received, SiteMessage, apply

OPS = 4
SHA256 = "a" * 64
TIERS: dict[str, Tier] = {"pi": "edge", "laptop": "fog", "pc": "cloud"}
OP_MS = {"pi": 40.0, "laptop": 10.0, "pc": 5.0}
REFERENCE = ModelReference(sha256=SHA256, name="net", size_bytes=1_000, ops=OPS, url=f"http://pc/models/{SHA256}")
# 600 KB come in; op 0 leaves 100 KB, so that a good link makes it worth to cut at 1, and a bad one never.
FACTS = ModelFacts(REFERENCE, cut_bytes=(600e3, 100e3, 100e3, 100e3, 4e3), weight_mb=(1.0,) * OPS, forbidden_cuts=())


def declared(
    strategy: StrategyName = "exact",
    *,
    name: str = "photos",
    deadline_ms: float | None = None,
    epoch: int = 0,
    requests_per_s: float = 0.0,
    stages: tuple[tuple[str, int, int], ...] = (),
) -> DeploymentDeclared:
    deployment = Deployment(
        name,
        FACTS,
        "pi",
        strategy,
        Objective(latency=1.0),
        deadline_ms,
        requests_per_s=requests_per_s,
        stages=tuple(PlanStage(node=node, start=start, stop=stop) for node, start, stop in stages),
    )
    return DeploymentDeclared(deployment, epoch)


def announcement(node: str, *, protocol: int = PROTOCOL_VERSION, memory_mb: float = 100.0) -> NodeAnnouncement:
    return NodeAnnouncement(
        tier=TIERS.get(node, "edge"),
        version="0.3",
        protocol=protocol,
        hardware=Hardware(
            architecture="x86_64", cpu_model="made up", cores=4, memory_mb=4_000.0, runtime="none", runtime_version="1"
        ),
        power=PowerModel(idle_w=2.0, busy_w=6.0),
        memory_mb=memory_mb,
        endpoint="tcp://127.0.0.1:1",
    )


def birth_message(node: str, session: str = "s1", *, protocol: int = PROTOCOL_VERSION) -> NodeStatus:
    return NodeStatus(node=node, session=session, state="online", announcement=announcement(node, protocol=protocol))


def profile_message(node: str, op_ms: Iterable[float] | None = None, sha256: str = SHA256) -> NodeProfile:
    times = tuple(op_ms) if op_ms is not None else (OP_MS[node],) * OPS
    return NodeProfile(
        node=node,
        model=sha256,
        runtime="none",
        threads=1,
        op_ms=times,
        op_ms_std=(0.0,) * len(times),
        unsplit_ms=sum(times) or 1.0,
        unsplit_ms_std=0.0,
        memory_mb=10.0,
    )


def load_message(node: str, load: float, session: str = "s1", *, emulated: bool = False) -> NodeLoad:
    return NodeLoad(node=node, session=session, at=0.0, load=load, load_std=0.0, emulated=emulated)


def inference_message(
    *stages: tuple[str, int, int, float], latency_ms: float = 80.0, deployment: str = "photos", error: str | None = None
) -> InferenceReport:
    """An inference whose stages are (node, start, stop, compute_ms)."""
    return InferenceReport(
        deployment=deployment,
        epoch=1,
        request_id="r",
        origin="pi",
        at=0.0,
        latency_ms=latency_ms,
        stages=tuple(
            StageReport(node=node, start=start, stop=stop, compute_ms=compute_ms, wait_ms=0.0)
            for node, start, stop, compute_ms in stages
        ),
        error=error,
    )


def link_message(src: str, dst: str, mbps: float = 100.0, *, rtt_ms: float = 2.0, at: float = 0.0) -> LinkReading:
    return LinkReading(src=src, dst=dst, at=at, rtt_ms=rtt_ms, rtt_ms_std=0.1, mbps=mbps, mbps_std=1.0, method="probe")


def ready_message(node: str, epoch: int, *, ready: bool = True, reason: str = "") -> PlanReady:
    return PlanReady(deployment="photos", epoch=epoch, node=node, ready=ready, reason=reason)


def miss_message(
    suspect: str = "pc",
    *,
    src: str = "pi",
    delivered: bool = True,
    epoch: int = 1,
    node: str = "pi",
    deployment: str = "photos",
) -> StageMiss:
    return StageMiss(
        node=node,
        deployment=deployment,
        epoch=epoch,
        at=0.0,
        src=src,
        suspect=suspect,
        delivered=delivered,
        waited_ms=310.0,
        allowed_ms=120.0,
        outcome="finished at the origin",
    )


def plan_message(epoch: int, *stages: tuple[str, int, int], strategy: StrategyName = "exact") -> Plan:
    last = stages[-1][0]
    return Plan(
        deployment="photos",
        epoch=epoch,
        model=REFERENCE,
        origin="pi",
        stages=tuple(PlanStage(node=node, start=start, stop=stop) for node, start, stop in stages),
        way_back=() if last == "pi" else (last, "pi"),
        strategy=strategy,
        prediction=Prediction(latency_ms=100.0, origin_energy_j=1.0, total_energy_j=1.0, objective=1.0),
        reason="made up",
        created_at=0.0,
    )


def received(*messages: SiteMessage, at: float = 0.0) -> list[Event]:
    return [Received(message, at) for message in messages]


def whole_site(at: float = 0.0, mbps: float = 100.0) -> list[Event]:
    """Three nodes that are up, profiled and joined by links of one bandwidth."""
    pairs = [(src, dst) for src in TIERS for dst in TIERS if src != dst]
    return received(
        *(birth_message(node) for node in TIERS),
        *(profile_message(node) for node in TIERS),
        *(link_message(src, dst, mbps) for src, dst in pairs),
        at=at,
    )


def offline(node: str, session: str = "s1", state: Literal["offline"] = "offline") -> NodeStatus:
    return NodeStatus(node=node, session=session, state=state)


def folded(events: Iterable[Event], start: State = EMPTY) -> State:
    return reduce(lambda state, event: apply(event, state), events, start)
