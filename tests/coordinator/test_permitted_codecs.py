"""Which codecs a deployment's plans may use, and what the agents are told of them."""

from dataclasses import replace

import made_site
import msgspec
import pytest
from decisions import after, carry_out, photos, weighed
from made_site import folded, inference_message, whole_site

from broker.messages import CodecName, CodecSpeed, NodeProfile, Plan, PlanStage, StrategyName, TensorScale
from coordinator import exact
from coordinator.cost import PartitionPlan, Stage, evaluate
from coordinator.permitted_codecs import codec_factor, live_stages, loss_of, permitted, plan_within_loss
from coordinator.problem import Link, Model, Node, Problem
from coordinator.site import State
from coordinator.state import DeploymentDeclared, Event, Received
from models.codec_figures import NAMES, CodecFigures, CutCodec, Scale

ALL = frozenset(NAMES)


def packed(k: int, codec: CodecName, ratio: float = 0.25, *, changed: float = 0.0, ms_per_mb: float = 1.0) -> CutCodec:
    scales = (Scale(scale=0.5, zero_point=3),) if codec.startswith("int8") else ()
    return CutCodec(
        k=k,
        codec=codec,
        ratio=ratio,
        encode_ms_per_mb=ms_per_mb,
        decode_ms_per_mb=ms_per_mb,
        changed=changed,
        error=0.0,
        scales=scales,
    )


def figures(*cuts: CutCodec) -> CodecFigures:
    return CodecFigures(model=made_site.SHA256, images=200, machine="made up", at=0.0, cuts=cuts)


def test_without_a_loss_only_lossless_codecs_are_permitted() -> None:
    """Even where no answer changed; images are lossless, but only the input is one."""
    found = permitted(
        figures(packed(0, "jpeg"), packed(1, "uint8"), packed(1, "raw+zstd"), packed(1, "int8")), 4, 0.0, ALL
    )
    assert [codec.name for codec in found] == ["raw", "raw+zstd", "jpeg"]
    assert found[2].ratio == (0.25, None, None, None, None)


def test_a_lossy_codec_is_permitted_where_it_changes_little() -> None:
    """Cut by cut, up to the loss itself; never for the result."""
    measured = figures(*(packed(k, "int8", changed=changed) for k, changed in ((1, 0.01), (2, 0.02), (4, 0.0))))
    (_, int8) = permitted(measured, 4, 0.01, ALL)
    assert int8.ratio == (None, 0.25, None, None, None)


def test_a_codec_that_a_node_does_not_know_is_not_permitted() -> None:
    """Nobody has to guess who can unpack what."""
    assert [codec.name for codec in permitted(figures(packed(1, "raw+lz4")), 4, 0.0, frozenset({"raw+zstd"}))] == [
        "raw"
    ]


def test_a_node_packs_as_much_slower_as_it_says() -> None:
    """By the median over the codecs that are measured on both machines; None where a node says nothing."""
    measured = figures(packed(1, "raw+lz4", ms_per_mb=1.0), packed(1, "int8", ms_per_mb=2.0), packed(2, "int8"))
    speeds = [CodecSpeed(codec=codec, encode_ms_per_mb=6.0, decode_ms_per_mb=0.0) for codec in ("raw+lz4", "int8")]
    assert codec_factor(measured, speeds) == pytest.approx((6.0 / 2.0 + 6.0 / 3.0) / 2)
    assert codec_factor(measured, [CodecSpeed(codec="jpeg", encode_ms_per_mb=1.0, decode_ms_per_mb=1.0)]) == 1.0
    assert codec_factor(measured, []) is None


def test_agents_are_told_the_codecs_and_the_scales() -> None:
    """A relay is told the codec alone, since it unpacks nothing; a stage that takes nothing from elsewhere is raw."""
    stages = (Stage("pi", 0, 1), Stage("laptop", 1, 1, "int8"), Stage("pc", 1, 4, "int8"))
    scales = (TensorScale(scale=0.5, zero_point=3),)
    assert live_stages(stages, figures(packed(1, "int8"))) == (
        PlanStage(node="pi", start=0, stop=1),
        PlanStage(node="laptop", start=1, stop=1, codec="int8"),
        PlanStage(node="pc", start=1, stop=4, codec="int8", scales=scales),
    )


def zigzag() -> Problem:
    """Four ops, each quick on the node where the one before it is slow: every cut pays, and a small tensor more."""
    return Problem(
        model=Model(cut_bytes=(1e6,) * 4 + (1e3,)),
        origin="pi",
        nodes=(Node(name="pi", op_ms=(1.0, 1e4, 1.0, 1e4)), Node(name="pc", op_ms=(1e4, 1.0, 1e4, 1.0))),
        links=(Link(src="pi", dst="pc", rtt_ms=1.0, mbps=8.0), Link(src="pc", dst="pi", rtt_ms=1.0, mbps=8.0)),
    )


@pytest.mark.parametrize(
    ("loss", "lossy"),
    [(0.03, ["int8", "int8", "int8"]), (0.02, ["fp16", "fp16", "fp16"]), (0.004, ["raw", "raw", "raw"])],
)
def test_several_lossy_transfers_together_lose_no_more_than_is_allowed(loss: float, lossy: list[str]) -> None:
    """Where the plan of the whole loss for each transfer exceeds it, each may lose a half, and so on."""
    measured = figures(
        *(packed(k, "int8", 0.25, changed=0.01) for k in (1, 2, 3)),
        *(packed(k, "fp16", 0.5, changed=0.005) for k in (1, 2, 3)),
    )
    problem = msgspec.structs.replace(zigzag(), codecs=permitted(measured, 4, loss, ALL))
    plan = plan_within_loss(problem, measured, loss, exact.plan)
    assert [stage.codec for stage in plan.stages[1:]] == lossy
    assert loss_of(measured, plan.stages) <= loss


def profile_of(node: str, *codecs: CodecName) -> NodeProfile:
    speeds = tuple(CodecSpeed(codec=codec, encode_ms_per_mb=1.0, decode_ms_per_mb=1.0) for codec in codecs)
    return msgspec.structs.replace(made_site.profile_message(node), codecs=speeds)


def site(
    measured: CodecFigures,
    loss: float = 0.0,
    *,
    strategy: StrategyName = "exact",
    stages: tuple[PlanStage, ...] = (),
    knows: tuple[CodecName, ...] = ("raw+zstd", "int8"),
    silent: str = "",
) -> State:
    """The made-up site over slow links, where nodes say what they can pack, but for one."""
    (event,) = [made_site.declared(strategy)]
    declared = replace(event.deployment, codec_figures=measured, accuracy_loss=loss, stages=stages)
    profiles = (profile_of(node, *(() if node == silent else knows)) for node in made_site.TIERS)
    told = [Received(profile, 0.0) for profile in profiles]
    return folded([DeploymentDeclared(declared, 0), *whole_site(mbps=8.0), *told])


def planned(state: State, now: float = 10.0) -> Plan:
    """The plan of a site that has been quiet for a while."""
    _, (plan,) = carry_out(state, now)
    return plan


def codecs_of(plan: Plan) -> list[tuple[str, int, str]]:
    return [(stage.node, stage.start, stage.codec) for stage in plan.stages]


def test_a_plan_is_published_with_its_codecs() -> None:
    """A loss that is allowed makes a slow link worth a cut; what the model expects of it knows the packed bytes."""
    measured = figures(packed(1, "int8", 0.1, changed=0.005))
    assert codecs_of(planned(site(measured))) == [("pi", 0, "raw")]
    plan = planned(site(measured, 0.01))
    assert codecs_of(plan) == [("pi", 0, "raw"), ("pc", 1, "int8")]
    assert plan.stages[1].scales == (TensorScale(scale=0.5, zero_point=3),)
    computes = [stage.compute_ms for stage in plan.prediction.stages]
    assert computes == pytest.approx([40.0 + 0.1, 15.0 + 0.1])
    assert plan.prediction.stages[1].transfer_ms == pytest.approx(1.0 + 10.0, rel=0.01)
    total_ms = sum(stage.transfer_ms + stage.compute_ms for stage in plan.prediction.stages) + plan.prediction.return_ms
    assert plan.prediction.latency_ms == pytest.approx(total_ms)


def test_another_codec_is_another_plan() -> None:
    """Where a node stops to know a codec the plan that uses it is replaced, the split staying as it is."""
    measured = figures(packed(1, "int8", 0.1, changed=0.005))
    state, (first,) = carry_out(site(measured, 0.01), 10.0)
    assert codecs_of(first)[1] == ("pc", 1, "int8")
    state = after(state, profile_of("pc"), at=11.0)
    state, (second,) = carry_out(state, 20.0)
    assert codecs_of(second) == [("pi", 0, "raw"), ("laptop", 1, "int8")]
    assert "takes them raw only" in second.reason
    assert second.epoch == first.epoch + 1


@pytest.mark.parametrize("silent", ["pi", "pc"])
def test_a_node_that_says_no_speed_is_sent_everything_raw(silent: str) -> None:
    """And sends everything raw; the others pack among themselves."""
    plan = planned(site(figures(packed(1, "raw+zstd", 0.1)), silent=silent))
    for before, stage in zip(plan.stages, plan.stages[1:], strict=False):
        assert stage.codec == "raw" or silent not in (before.node, stage.node)


def test_published_strategies_send_everything_raw() -> None:
    """Neurosurgeon's plan is the one that it would find without codecs."""
    plan = planned(site(figures(packed(1, "raw+zstd", 0.01)), strategy="neurosurgeon"))
    assert {stage.codec for stage in plan.stages} == {"raw"}


def test_a_split_by_hand_keeps_its_codecs() -> None:
    """Whatever they lose; a node that does not know them is an obstacle that is named."""
    by_hand = (
        PlanStage(node="pi", start=0, stop=1),
        PlanStage(node="pc", start=1, stop=4, codec="int8", scales=(TensorScale(scale=0.5, zero_point=3),)),
    )
    measured = figures(packed(1, "int8", changed=0.4))
    assert planned(site(measured, strategy="static", stages=by_hand)).stages == by_hand
    state, _ = carry_out(site(measured, strategy="static", stages=by_hand, silent="pc"), 10.0)
    assert photos(state).plan is None
    assert "takes them raw only" in (weighed(state).obstacle or "")


def test_packing_is_no_load() -> None:
    """A stage that took long because it packed tensors says nothing of what others take of the processor."""
    state, _ = carry_out(site(figures(packed(1, "int8")), 0.01), 10.0)
    report = inference_message(("pc", 1, 4, 60.0))
    (stage,) = report.stages
    packing = msgspec.structs.replace(report, stages=(msgspec.structs.replace(stage, codec_ms=45.0),))
    loads = []
    for each in (report, packing):
        told = after(state, *(each for _ in range(20)), at=11.0)
        loads.append(told.loads["pc"].belief.load(11.0))
    assert loads[0] > 0.1
    assert loads[1] == pytest.approx(0.0, abs=1e-6)


def test_the_score_of_a_tightened_plan_is_that_of_the_whole_problem() -> None:
    """A plan found under half of the loss is weighed against the one in force by the same figures."""
    measured = figures(*(packed(k, "int8", changed=0.01) for k in (1, 2, 3)))
    problem = msgspec.structs.replace(zigzag(), codecs=permitted(measured, 4, 0.02, ALL))
    plan: PartitionPlan = plan_within_loss(problem, measured, 0.02, exact.plan)
    assert evaluate(problem, plan.stages) == plan.score


def test_deployments_that_are_planned_together_keep_their_loss_too() -> None:
    """Each its own: where one would lose too much, all are planned anew with half of it for each of its transfers."""
    measured = figures(
        *(packed(k, "int8", 0.25, changed=0.01) for k in (1, 2, 3)),
        *(packed(k, "fp16", 0.5, changed=0.005) for k in (1, 2, 3)),
    )
    strict, lax = (
        DeploymentDeclared(
            replace(
                made_site.declared(name=name, requests_per_s=0.001).deployment,
                codec_figures=measured,
                accuracy_loss=loss,
            ),
            0,
        )
        for name, loss in (("strict", 0.02), ("lax", 0.5))
    )
    _, plans = carry_out(folded([strict, lax, *alternating()]), 10.0)
    found = {plan.deployment: [stage.codec for stage in plan.stages[1:]] for plan in plans}
    assert found == {"strict": ["fp16"] * 3, "lax": ["int8"] * 3}


def test_a_plan_that_loses_more_than_is_allowed_now_is_replaced() -> None:
    """After a restart with other settings, though each of its transfers is permitted and no other plan is quicker."""
    measured = figures(
        *(packed(k, "int8", 0.25, changed=0.01) for k in (1, 2, 3)),
        *(packed(k, "fp16", 0.5, changed=0.005) for k in (1, 2, 3)),
    )
    lax, strict = (
        DeploymentDeclared(replace(made_site.declared().deployment, codec_figures=measured, accuracy_loss=loss), 0)
        for loss in (0.03, 0.02)
    )
    _, (before,) = carry_out(folded([lax, *alternating()]), 10.0)
    assert [stage.codec for stage in before.stages[1:]] == ["int8"] * 3
    _, (plan,) = carry_out(folded([strict, *alternating(), Received(before, 10.0)]), 20.0)
    assert [stage.codec for stage in plan.stages[1:]] == ["fp16"] * 3
    assert "may change 0.03 of the answers, and accuracy_loss allows 0.02" in plan.reason


def alternating() -> list[Event]:
    """The site over slow links; each op is quick on one node alone, so that every cut pays."""
    op_ms = {"pi": (1.0, 1e4, 1.0, 1e4), "pc": (1e4, 1.0, 1e4, 1.0), "laptop": (1e4,) * 4}
    profiles = (
        msgspec.structs.replace(made_site.profile_message(node, times), codecs=profile_of(node, "int8", "fp16").codecs)
        for node, times in op_ms.items()
    )
    return [*whole_site(mbps=8.0), *(Received(profile, 0.0) for profile in profiles)]
