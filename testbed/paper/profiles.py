"""Where model profiles come from: measured on this host for the machines that it plays, or read from a file.

Two kinds of files are read: our own, as `save_profiles` writes them, and Scission's.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from broker.messages import ModelReference
from coordinator.declaring import model_facts
from coordinator.errors import ProblemError
from coordinator.problem import Model, Node, Problem
from edge_agent.profiler import profile_model
from models.graph import read_graph
from testbed.continuum import EmulatedNode
from testbed.errors import ExperimentError
from testbed.host_timing import quiet_stderr
from testbed.machines import MACHINES, PI
from testbed.paper import scission
from testbed.paper.model_profile import ModelProfile, NodeTimes
from testbed.paper.profiled_model import ProfiledModel

FORMAT: Final = "splitrail-profiles"
MAX_FILE_BYTES: Final = 100_000_000


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our own form. `format` tells it from others."""

    format: str = FORMAT
    models: tuple[ProfiledModel, ...]


def measured_profile(model: str, path: Path, nodes: tuple[EmulatedNode, ...]) -> ModelProfile:
    """The .tflite at `path`, profiled on this host as an emulated agent does it: CPU time of one thread, stretched.

    ModelError or ProfileError says why it cannot be.
    """
    graph = read_graph(path)
    with quiet_stderr():
        measured = profile_model(path, by_cpu_time=True)
    reference = ModelReference(sha256="0" * 64, name=model, size_bytes=1, ops=len(graph.ops), url="")
    facts = model_facts(graph, reference)
    stretched = {node.name: measured.stretched(node.compute_factor or 1.0) for node in nodes}
    return ModelProfile(
        model=model,
        cut_bytes=facts.cut_bytes,
        weight_mb=facts.weight_mb,
        forbidden_cuts=facts.forbidden_cuts,
        nodes=tuple(
            NodeTimes(node=name, op_ms=profile.op_ms, op_ms_std=profile.op_ms_std)
            for name, profile in stretched.items()
        ),
        source=f"measured on this host with {measured.runtime}: "
        + "; ".join(f"{node.name}: {node.words}" for node in nodes),
    )


def save_profiles(path: Path, models: tuple[ProfiledModel, ...]) -> None:
    """Write the models so that `read_profiles` gives them again."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_File(models=models)), indent=1))


def read_profiles(path: Path) -> tuple[ProfiledModel, ...]:
    """The models in a file of ours or of Scission's; ExperimentError says what does not fit, and where."""
    try:
        content = json.loads(_bytes_of(path))
    except OSError as error:
        raise ExperimentError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ExperimentError(f"{path}: is not JSON: {error}") from None
    try:
        return scission.profiled_models(content) if scission.is_scission(content) else _own(content)
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from None


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ExperimentError(f"{path}: is larger than {MAX_FILE_BYTES} bytes, the most that is read")
    return content


def _own(content: Any) -> tuple[ProfiledModel, ...]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ExperimentError(
            f'is neither of Scission (no device {scission.DEVICES[PI.node]!r}) nor of ours (no "format": "{FORMAT}")'
        )
    try:
        models = msgspec.convert(content, type=_File).models
    except msgspec.ValidationError as error:
        raise ExperimentError(str(error)) from None
    if not models:
        raise ExperimentError("has no model")
    names: set[str] = set()
    for each in models:
        if each.profile.model in names:
            raise ExperimentError(f"has the model {each.profile.model!r} more than once")
        names.add(each.profile.model)
        _check(each)
    return models


def _check(model: ProfiledModel) -> None:
    """What a profile must be is what a planning problem must be."""
    profile = model.profile
    wanted = [machine.node for machine in MACHINES]
    if sorted(times.node for times in profile.nodes) != sorted(wanted):
        raise ExperimentError(
            f"model {profile.model!r} has times for {', '.join(times.node for times in profile.nodes) or 'no node'}; "
            f"it needs them for {', '.join(wanted)}"
        )
    try:
        Problem(
            model=Model(
                name=profile.model,
                cut_bytes=profile.cut_bytes,
                weight_mb=profile.weight_mb,
                forbidden_cuts=profile.forbidden_cuts,
            ),
            origin=PI.node,
            nodes=tuple(Node(name=times.node, op_ms=times.op_ms, op_ms_std=times.op_ms_std) for times in profile.nodes),
        )
    except ProblemError as error:
        raise ExperimentError(f"model {profile.model!r}: {error}") from None
    ops = len(profile.cut_bytes) - 1
    if len(profile.weight_mb) != ops or any(len(times.op_ms_std) != ops for times in profile.nodes):
        raise ExperimentError(
            f"model {profile.model!r} needs a weight for each of its {ops} ops, and on each node a spread"
        )
    starts = [0, *(stage.stop for stage in model.published_split)]
    stops = [*(stage.start for stage in model.published_split), ops]
    if model.published_split and (starts != stops or any(stage.node not in wanted for stage in model.published_split)):
        raise ExperimentError(f"the published_split of {profile.model!r} does not cover its {ops} ops once, in order")
