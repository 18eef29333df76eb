"""The models that take part: converted and measured on this host, or read from a file of profiles.

How a profile is measured or read is `testbed.paper.profiles`' part; the machines are `testbed.machines`'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from broker.messages import PlanStage
from models.cache import file_sha256
from models.graph import read_graph
from testbed.continuum import EmulatedNode
from testbed.errors import ExperimentError
from testbed.host_timing import unsplit_cpu_ms
from testbed.machines import MACHINES, emulated, yardstick
from testbed.paper.model_profile import ModelProfile
from testbed.paper.packing import kept_figures, with_codecs
from testbed.paper.profiles import measured_profile, read_profiles
from testbed.paper.published import PUBLISHED
from testbed.paper.results import ModelFacts
from testbed.paper.settings import ModelSource
from testbed.paper.splits import published_split
from testbed.processes import Step
from testbed.zoo_models import KeptModel, default_cache, prepare

MEASURED = "measured.json"
NO_WEIGHTS = "no weights, a profile alone"


@dataclass(frozen=True, slots=True)
class Participant:
    """A model with its profile and, where one was published, its static split (else ()).

    `file` and `nodes` are what an emulated run needs; None and () where only a profile is known.
    """

    profile: ModelProfile
    published_split: tuple[PlanStage, ...]
    facts: ModelFacts
    file: Path | None = None
    nodes: tuple[EmulatedNode, ...] = ()


class Entrants(Protocol):
    """Models that are known, but perhaps not measured yet."""

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """What the figures of each come from."""

    def measured(self, directory: Path, step: Step) -> tuple[Participant, ...]:
        """Each with its profile; what has to be measured is measured once and then kept in the directory."""


class _Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The host's time for each yardstick, and each model's profile: all runs of an experiment go by the same ones."""

    host_ms: dict[str, float]
    profiles: tuple[ModelProfile, ...]


@dataclass(frozen=True, slots=True)
class _Converted:
    """A zoo model's file, and that of the model by whose published times its machines are emulated."""

    name: str
    file: KeptModel
    yardstick: KeptModel


class ZooEntrants:
    """Models of the zoo, converted if need be; a SplitrailError says why one cannot be had."""

    def __init__(self, names: Sequence[str], step: Step, *, codecs: bool = False) -> None:
        cache = default_cache()
        self._codecs = codecs
        self._models = [
            _Converted(name, prepare(cache, name, None, step), prepare(cache, yardstick(name), None, step))
            for name in names or tuple(PUBLISHED)
        ]
        self.sources = tuple(
            ModelSource(model=each.name, sha256=file_sha256(each.file.path), weights=each.file.weights)
            for each in self._models
        )

    def measured(self, directory: Path, step: Step) -> tuple[Participant, ...]:
        """As `Entrants.measured`. ExperimentError if what is kept there cannot be read."""
        path = directory / MEASURED
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(self._measure(step)))
            part.replace(path)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Measured)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ExperimentError(f"{path}: is not a measurement: {error}; give another --out") from None
        profiles = {profile.model: profile for profile in kept.profiles}
        return tuple(_participant(each, profiles[each.name], kept.host_ms) for each in self._models)

    def _measure(self, step: Step) -> _Measured:
        host_ms: dict[str, float] = {}
        profiles = []
        for each in self._models:
            after = yardstick(each.name)
            if after not in host_ms:
                with step(f"measuring this machine with the unsplit {after}, one thread"):
                    host_ms[after] = unsplit_cpu_ms(each.yardstick.path)
            nodes = _nodes(each.name, host_ms)
            with step(f"profiling {each.name} on this machine"):
                profile = measured_profile(each.name, each.file.path, nodes)
            if self._codecs:
                factors = {node.name: node.compute_factor or 1.0 for node in nodes}
                profile = with_codecs(profile, kept_figures(each.file.path, step), factors)
            profiles.append(profile)
        return _Measured(host_ms=host_ms, profiles=tuple(profiles))


def _participant(model: _Converted, profile: ModelProfile, host_ms: Mapping[str, float]) -> Participant:
    nodes = _nodes(model.name, host_ms)
    split = published_split(model.name, read_graph(model.file.path))
    facts = ModelFacts(
        model=model.name,
        weights=f"{model.file.weights} weights",
        profile=profile.source,
        machines=tuple(node.words for node in nodes),
        remarks=split.remarks,
    )
    return Participant(profile, split.stages, facts, model.file.path, nodes)


def _nodes(model: str, host_ms: Mapping[str, float]) -> tuple[EmulatedNode, ...]:
    """The nodes that play the machines for a model on this host."""
    return tuple(emulated(machine, model, host_ms[yardstick(model)]) for machine in MACHINES)


class ProfileEntrants:
    """Models that are known by their profiles alone."""

    def __init__(self, path: Path, names: Sequence[str], *, codecs: bool = False) -> None:
        found = {each.profile.model: each for each in read_profiles(path)}
        unknown = [name for name in names if name not in found]
        if unknown:
            raise ExperimentError(f"{path}: has no model {unknown[0]!r}; it has {', '.join(found)}")
        self._models = [found[name] for name in names or found]
        bare = [each.profile.model for each in self._models if codecs and each.profile.codecs is None]
        if bare:
            raise ExperimentError(f"--codecs: {path} does not say what codecs cost of {', '.join(bare)}")
        sha256 = file_sha256(path)
        self.sources = tuple(
            ModelSource(model=each.profile.model, sha256=sha256, weights=NO_WEIGHTS) for each in self._models
        )

    def measured(self, directory: Path, step: Step) -> tuple[Participant, ...]:  # noqa: ARG002  # nothing to measure
        """As `Entrants.measured`."""
        return tuple(
            Participant(
                each.profile,
                each.published_split,
                ModelFacts(
                    model=each.profile.model,
                    weights=NO_WEIGHTS,
                    profile=each.profile.source,
                    machines=(),
                    remarks=each.remarks,
                ),
            )
            for each in self._models
        )
