"""From the settings to declared deployments: reads each model once and puts it into the cache that HTTP serves.

What a deployment's plan is decided elsewhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.messages import ModelReference
from coordinator.configuration import DeploymentSettings
from coordinator.deployment import Deployment, ModelFacts
from coordinator.errors import DeclarationError
from coordinator.problem import BYTES_PER_MB, Objective
from models.cache import CachedModel, ModelCache
from models.graph import Graph, read_graph

MAX_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Declarations:
    """The deployments of a site, and the files behind their models by sha256."""

    deployments: tuple[Deployment, ...]
    files: Mapping[str, Path]


def declare(settings: tuple[DeploymentSettings, ...], cache: ModelCache, base_url: str) -> Declarations:
    """The declared deployments; their models are to be served at `base_url`/models/<sha256>.

    DeclarationError if two bear one name or an objective weighs nothing, ModelError if a model cannot be read.
    """
    facts: dict[Path, ModelFacts] = {}
    files: dict[str, Path] = {}
    deployments: dict[str, Deployment] = {}
    for each in settings:
        if each.name in deployments:
            raise DeclarationError(f"two deployments are named {each.name!r}: each needs a name of its own")
        weights = each.objective
        if not (weights.latency or weights.origin_energy or weights.total_energy):
            raise DeclarationError(
                f"the objective of deployment {each.name!r} weighs nothing: "
                "give latency, origin_energy or total_energy a weight above 0"
            )
        if each.model not in facts:
            graph = read_graph(each.model)
            file = cache.add(each.model)
            facts[each.model] = model_facts(graph, _reference(each.model, file, len(graph.ops), base_url))
            files[file.sha256] = file.path
        deployments[each.name] = Deployment(
            name=each.name,
            model=facts[each.model],
            origin=each.origin,
            strategy=each.strategy,
            objective=Objective(
                latency=weights.latency, origin_energy=weights.origin_energy, total_energy=weights.total_energy
            ),
            deadline_ms=each.deadline_ms,
        )
    return Declarations(tuple(deployments.values()), files)


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
