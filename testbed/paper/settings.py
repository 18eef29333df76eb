"""What an experiment is: everything that its figures depend on, kept beside them so that no two are ever mixed."""

from typing import Any

import msgspec

from testbed.paper.records import Mode

FORMAT = 1


class ModelSource(msgspec.Struct, frozen=True, kw_only=True):
    """A model and the content that its figures come from: a .tflite or a file of profiles."""

    model: str
    sha256: str
    weights: str


class TraceSource(msgspec.Struct, frozen=True, kw_only=True):
    """A trace by its label, which names its scale, and its content."""

    label: str
    sha256: str


class ExperimentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The grid and the circumstances of its runs; the same settings go on with what is there already."""

    format: int = FORMAT
    version: str
    """Of splitrail."""
    mode: Mode
    models: tuple[ModelSource, ...]
    traces: tuple[TraceSource, ...]
    contenders: tuple[str, ...]
    repetitions: int
    seconds: float
    """The longest window of a run; a shorter trace ends it earlier."""
    photographs: tuple[str, ...]
    """Their sha256; () where nothing is inferred."""
    fleets: tuple[int, ...]
    """How many edge nodes the simulated fleets have."""


def first_difference(kept: ExperimentSettings, wanted: ExperimentSettings) -> str | None:
    """The first thing that two settings do not share, in words; None where they are the same."""
    for field in msgspec.structs.fields(ExperimentSettings):
        there, here = getattr(kept, field.name), getattr(wanted, field.name)
        if there != here:
            return f"{field.name} {_words(there, here)} there, {_words(here, there)} now"
    return None


def _words(value: Any, other: Any) -> str:
    """A field's value, of several only those that the other has not."""
    if not isinstance(value, tuple):
        return str(value)
    own = [_name(each) for each in value if each not in other]
    return ", ".join(own) or "(no others)"


def _name(value: Any) -> str:
    match value:
        case ModelSource():
            return f"{value.model} ({value.weights}, {value.sha256[:8]})"
        case TraceSource():
            return f"{value.label} ({value.sha256[:8]})"
        case str() if len(value) == 64:
            return value[:8]
    return str(value)
