"""When a site counts as well again: all there and ready, nobody suspected, and the plan good by the true links."""

from dataclasses import replace

import msgspec

from broker.messages import ModelReference, NodeProfile, PlanStage, Prediction
from coordinator.deployment import ModelFacts
from coordinator.problem import Objective
from coordinator.status_report import DeploymentReport, NodeReport, PlanReport, StatusReport
from coordinator.telemetry.store import InferenceSummary
from testbed.chaos.convergence import Truth, unsettled
from testbed.shaping import LinkShape
from testbed.traces import constant

OPS = 4
SHAPES = tuple(LinkShape(src, dst, constant(100.0), 1.0) for src, dst in (("pi", "pc"), ("pc", "pi")))
FACTS = ModelFacts(
    ModelReference(sha256="0" * 64, name="m", size_bytes=1, ops=OPS, url="http://h/m"),
    cut_bytes=(1_000.0,) * (OPS + 1),
    weight_mb=(0.0,) * OPS,
    forbidden_cuts=(),
)
TRUTH = Truth(("pi", "pc"), FACTS, "pi", Objective(latency=1.0), SHAPES)
QUIET = InferenceSummary(0, 0, None, None, None, None, None, None)


def profile(node: str, op_ms: float) -> NodeProfile:
    return NodeProfile(
        node=node,
        model="0" * 64,
        runtime="r",
        threads=1,
        op_ms=(op_ms,) * OPS,
        op_ms_std=(0.0,) * OPS,
        unsplit_ms=OPS * op_ms,
        unsplit_ms_std=0.0,
        memory_mb=1.0,
    )


PROFILES = {"pi": profile("pi", 100.0), "pc": profile("pc", 1.0)}
REMOTE = PlanReport(
    epoch=3,
    stages=(PlanStage(node="pc", start=0, stop=OPS),),
    way_back=("pc", "pi"),
    reason="",
    prediction=Prediction(latency_ms=1.0, origin_energy_j=0.0, total_energy_j=0.0, objective=1.0),
    created_at=0.0,
    ready=("pc",),
)
DEPLOYMENT = DeploymentReport(
    name="photos",
    model="m",
    ops=OPS,
    origin="pi",
    strategy="exact",
    plan=REMOTE,
    prediction=None,
    obstacle=None,
    left_out={},
    last_minute=QUIET,
    last_failure=None,
)


def status(deployment: DeploymentReport = DEPLOYMENT, online: tuple[str, ...] = ("pi", "pc")) -> StatusReport:
    node = msgspec.convert(
        {
            "name": "pi",
            "tier": "edge",
            "online": True,
            "since": 0.0,
            "version": "1",
            "hardware": {
                "architecture": "x",
                "cpu_model": "x",
                "cores": 1,
                "memory_mb": 1.0,
                "runtime": "r",
                "runtime_version": "1",
            },
            "power_model": {"idle_w": 0.0, "busy_w": 0.0},
            "memory_mb": 1.0,
            "endpoint": "tcp://h:1",
            "emulated": None,
            "refused": None,
            "load": 0.0,
            "load_std": 0.0,
            "load_age_s": None,
            "load_emulated": False,
            "power": (),
        },
        type=NodeReport,
    )
    nodes = tuple(msgspec.structs.replace(node, name=name, online=name in online) for name in ("pi", "pc"))
    return StatusReport(
        site="s", version="1", at=0.0, nodes=nodes, links=(), deployments=(deployment,), lost_telemetry=0
    )


def words(**changes: object) -> str | None:
    return unsettled(status(msgspec.structs.replace(DEPLOYMENT, **changes)), PROFILES, TRUTH)


def test_all_is_well() -> None:
    """Everybody is there, the plan's node is ready, and the plan is the best."""
    assert unsettled(status(), PROFILES, TRUTH) is None


def test_each_thing_that_is_not() -> None:
    """Somebody is away, there is no plan, a node still loads, or somebody or a link is left out."""
    assert unsettled(status(online=("pi",)), PROFILES, TRUTH) == "pc offline"
    assert words(plan=None, obstacle="waiting for pi") == "no plan: waiting for pi"
    assert words(plan=msgspec.structs.replace(REMOTE, ready=())) == "plan 3 waits for pc"
    assert words(left_out={"pc": "it was silent"}) == "pc left out: it was silent"
    assert words(suspect_links={"pi -> pc": "it was silent"}) == "pi -> pc left out: it was silent"
    assert words(obstacle="no plan keeps the bounds") == "obstacle: no plan keeps the bounds"
    assert unsettled(status(), {}, TRUTH) == "a node's profile is not known"


def test_a_plan_that_is_too_bad() -> None:
    """A plan is judged by the true links and the profiles, whatever the coordinator believes."""
    local = msgspec.structs.replace(
        REMOTE, stages=(PlanStage(node="pi", start=0, stop=OPS),), way_back=(), ready=("pi",)
    )
    found = words(plan=local)
    assert found is not None
    assert "worse than the best by the true links" in found
    slow = replace(TRUTH, shapes=tuple(replace(shape, trace=constant(0.01)) for shape in SHAPES))
    assert unsettled(status(msgspec.structs.replace(DEPLOYMENT, plan=local)), PROFILES, slow) is None
