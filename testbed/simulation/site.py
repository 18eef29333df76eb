"""The experiment's three machines as they make themselves known to a coordinator, and the one deployment that they run.

Everything is emulated, and says so.
"""

from typing import Final

from broker.messages import (
    PROTOCOL_VERSION,
    CodecSpeed,
    Hardware,
    ModelReference,
    NodeAnnouncement,
    NodeProfile,
    NodeStatus,
    Plan,
    Prediction,
)
from coordinator.cost import PartitionPlan
from coordinator.deployment import Deployment, ModelFacts
from coordinator.permitted_codecs import live_stages, usual_ms_per_mb
from splitrail import __version__
from testbed.machines import MACHINES, PI, Machine
from testbed.paper.contenders import Contender
from testbed.paper.hindsight import power_of
from testbed.paper.model_profile import ModelProfile, NodeTimes

DEPLOYMENT: Final = "simulated"
SESSION: Final = "simulated"
MEMORY_MB: Final = 16_000.0
_WORDS: Final = "simulated"


def reference_of(profile: ModelProfile) -> ModelReference:
    """A model that nobody will fetch."""
    return ModelReference(sha256="0" * 64, name=profile.model, size_bytes=1, ops=len(profile.cut_bytes) - 1, url="")


def deployment_of(contender: Contender, profile: ModelProfile) -> Deployment:
    """What the contender's coordinator is told to run."""
    return Deployment(
        name=DEPLOYMENT,
        model=ModelFacts(reference_of(profile), profile.cut_bytes, profile.weight_mb, profile.forbidden_cuts),
        origin=PI.node,
        strategy=contender.strategy,
        objective=contender.objective,
        deadline_ms=None,
        codec_figures=profile.codecs,
        accuracy_loss=profile.accuracy_loss,
    )


def births(profile: ModelProfile) -> list[NodeStatus | NodeProfile]:
    """What the three nodes publish when they start."""
    times = {node.node: node for node in profile.nodes}
    messages: list[NodeStatus | NodeProfile] = [_birth(machine) for machine in MACHINES]
    return messages + [_profile(profile, times[machine.node]) for machine in MACHINES]


def fixed_plan(found: PartitionPlan, contender: Contender, profile: ModelProfile, *, epoch: int, reason: str) -> Plan:
    """A plan that no coordinator made, as the nodes are told of it."""
    return Plan(
        deployment=DEPLOYMENT,
        epoch=epoch,
        model=reference_of(profile),
        origin=PI.node,
        stages=live_stages(found.stages, profile.codecs),
        way_back=found.score.way_back,
        strategy=contender.strategy,
        prediction=Prediction(
            latency_ms=found.score.latency_ms,
            origin_energy_j=found.score.origin_energy_j,
            total_energy_j=found.score.total_energy_j,
            objective=found.score.objective,
        ),
        reason=reason,
        created_at=0.0,
    )


def _birth(machine: Machine) -> NodeStatus:
    hardware = Hardware(
        architecture=_WORDS,
        cpu_model=machine.product,
        cores=1,
        memory_mb=MEMORY_MB,
        runtime=_WORDS,
        runtime_version="-",
    )
    announcement = NodeAnnouncement(
        tier=machine.tier,
        version=__version__,
        protocol=PROTOCOL_VERSION,
        hardware=hardware,
        power=power_of(machine),
        memory_mb=MEMORY_MB,
        endpoint="",
        emulated=f"simulated {machine.product}",
    )
    return NodeStatus(node=machine.node, session=SESSION, state="online", announcement=announcement)


def _profile(profile: ModelProfile, times: NodeTimes) -> NodeProfile:
    usual = usual_ms_per_mb(profile.codecs) if profile.codecs is not None else {}
    return NodeProfile(
        node=times.node,
        model=reference_of(profile).sha256,
        runtime=_WORDS,
        threads=1,
        op_ms=times.op_ms,
        op_ms_std=times.op_ms_std,
        unsplit_ms=sum(times.op_ms),
        unsplit_ms_std=0.0,
        memory_mb=sum(profile.weight_mb),
        emulated=profile.source,
        codecs=tuple(
            CodecSpeed(
                codec=codec,
                encode_ms_per_mb=times.codec_factor * encode_ms_per_mb,
                decode_ms_per_mb=times.codec_factor * decode_ms_per_mb,
            )
            for codec, (encode_ms_per_mb, decode_ms_per_mb) in usual.items()
        ),
    )
