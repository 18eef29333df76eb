"""From the settings to declared deployments: reads each model once and puts it into the cache that HTTP serves.

What a deployment's plan is decided elsewhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from broker.messages import ModelReference, PlanStage
from coordinator.codec_file import MEASURE, codec_figures_of
from coordinator.configuration import DeploymentSettings
from coordinator.cost import Stage
from coordinator.deployment import Deployment, ModelFacts
from coordinator.errors import DeclarationError
from coordinator.permitted_codecs import live_stages
from coordinator.problem import BYTES_PER_MB, OBJECTIVES, RAW, Objective
from models.cache import CachedModel, ModelCache
from models.codec_figures import CodecFigures
from models.graph import Graph, read_graph

MAX_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Declarations:
    """The deployments of a site, and the files behind their models by sha256."""

    deployments: tuple[Deployment, ...]
    files: Mapping[str, Path]


def declare(settings: tuple[DeploymentSettings, ...], cache: ModelCache, base_url: str) -> Declarations:
    """The declared deployments; their models are to be served at `base_url`/models/<sha256>.

    DeclarationError if two bear one name, an objective weighs nothing, a given split is none or codec figures are of
    no use, ModelError if a model cannot be read.
    """
    facts: dict[Path, ModelFacts] = {}
    files: dict[str, Path] = {}
    deployments: dict[str, Deployment] = {}
    for each in settings:
        if each.name in deployments:
            raise DeclarationError(f"two deployments are named {each.name!r}: each needs a name of its own")
        objective = Objective(**msgspec.structs.asdict(each.objective))
        if not any(msgspec.structs.astuple(objective)):
            raise DeclarationError(
                f"the objective of deployment {each.name!r} weighs nothing: "
                f"give {', '.join(OBJECTIVES)} a weight above 0"
            )
        if each.model not in facts:
            graph = read_graph(each.model)
            file = cache.add(each.model)
            facts[each.model] = model_facts(graph, _reference(each.model, file, len(graph.ops), base_url))
            files[file.sha256] = file.path
        reference = facts[each.model].reference
        figures = codec_figures_of(each, reference.sha256, reference.ops)
        deployments[each.name] = Deployment(
            name=each.name,
            model=facts[each.model],
            origin=each.origin,
            strategy=each.strategy,
            objective=objective,
            deadline_ms=each.deadline_ms,
            risk=each.risk,
            requests_per_s=each.requests_per_s,
            stages=_given_split(each, facts[each.model], figures),
            codec_figures=figures,
            accuracy_loss=each.accuracy_loss,
        )
    return Declarations(tuple(deployments.values()), files)


def _given_split(
    settings: DeploymentSettings, facts: ModelFacts, figures: CodecFigures | None
) -> tuple[PlanStage, ...]:
    """The split that the settings give, () where they give none; DeclarationError if it is none of the model."""
    if not settings.stages:
        return ()
    place, ops = f"deployment {settings.name!r}", facts.reference.ops
    if settings.strategy != "static":
        raise DeclarationError(
            f"{place} gives stages but its strategy is {settings.strategy}: a split by hand goes with static"
        )
    done = 0
    for index, stage in enumerate(settings.stages):
        if stage.start != done or not done <= stage.stop <= ops:
            raise DeclarationError(
                f"stages[{index}] of {place} holds ops [{stage.start}, {stage.stop}), it must start at op {done} "
                f"and end by op {ops}: stages cover every op once, in order"
            )
        if stage.start in facts.forbidden_cuts:
            raise DeclarationError(
                f"stages[{index}] of {place} starts at op {stage.start}, where {facts.reference.name} cannot be cut: "
                "`splitrail cuts` lists where it can"
            )
        done = stage.stop
    last = settings.stages[-1]
    if done != ops:
        raise DeclarationError(f"the stages of {place} end at op {done}, {facts.reference.name} has {ops} ops")
    if last.start == last.stop:
        raise DeclarationError(f"the last stage of {place}, on {last.node}, is empty: the way back is chosen later")
    return live_stages(_with_codecs(settings, figures), figures)


def _with_codecs(settings: DeploymentSettings, figures: CodecFigures | None) -> list[Stage]:
    """The given stages, relays with the codec of what they hand on.

    DeclarationError if a codec was not measured there, or nothing is transferred that it could pack.
    """
    before = (settings.origin, *(stage.node for stage in settings.stages))
    measured = {(each.k, each.codec) for each in figures.cuts} if figures is not None else set()
    stages: list[Stage] = []
    codec: str = RAW
    for index, stage in reversed([*enumerate(settings.stages)]):
        if stage.start < stage.stop:
            codec = stage.codec
        place = f"stages[{index}] of deployment {settings.name!r}"
        if stage.codec != RAW and stage.node == before[index]:
            raise DeclarationError(
                f"{place} has the codec {stage.codec}, but its tensors are on {stage.node} already: leave it out there"
            )
        if stage.codec not in {RAW, codec}:
            raise DeclarationError(
                f"{place} relays by the codec {stage.codec}, but what it hands on is read as {codec}"
            )
        if codec != RAW and (stage.start, codec) not in measured:
            raise DeclarationError(
                f"{place} takes its tensors by the codec {codec}, but no codec figures tell what that costs at op "
                f"{stage.start}: {MEASURE}"
            )
        stages.insert(0, Stage(stage.node, stage.start, stage.stop, codec))
    return stages


def model_facts(graph: Graph, reference: ModelReference) -> ModelFacts:
    """What planning needs of a model that has been read."""
    ops = len(graph.ops)
    return ModelFacts(
        reference=reference,
        cut_bytes=tuple(float(cut.size_bytes) for cut in graph.cuts),
        weight_mb=tuple(op.weight_bytes / BYTES_PER_MB for op in graph.ops),
        forbidden_cuts=tuple(cut.k for cut in graph.cuts if not cut.allowed and 0 < cut.k < ops),
    )


def _reference(path: Path, file: CachedModel, ops: int, base_url: str) -> ModelReference:
    return ModelReference(
        sha256=file.sha256,
        name=model_name(path),
        size_bytes=file.size_bytes,
        ops=ops,
        url=f"{base_url.rstrip('/')}/models/{file.sha256}",
    )


def model_name(path: Path) -> str:
    """The file's name without its ending, in the letters that names on the wire may have."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).lstrip("_.-")[:MAX_NAME_LENGTH] or "model"
