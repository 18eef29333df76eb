"""What codecs cost and change of the experiment's models: kept beside each of them, and added to its profile.

Measuring it is `models.evaluation`'s part, and what plans make of it `coordinator.permitted_codecs`'.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from coordinator.codec_file import ENDING, read_codec_figures
from models.cache import file_sha256
from models.codec_figures import CodecFigures
from testbed.errors import ExperimentError
from testbed.paper.contenders import Contender
from testbed.paper.model_profile import ModelProfile

ACCURACY_LOSS: Final = 0.01
"""The share of top-1 answers that codecs may change in the experiment."""


def figures_beside(model: Path) -> CodecFigures:
    """The figures that are kept beside a model. ExperimentError where they are missing, or of another model."""
    path = model.with_suffix(ENDING)
    try:
        figures = read_codec_figures(path)
    except OSError as error:
        raise ExperimentError(f"--codecs: {path} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExperimentError(f"--codecs: {path} holds no codec figures: {error}") from None
    if figures.model != file_sha256(model):
        raise ExperimentError(f"--codecs: {path} holds the codec figures of another model: remove it")
    return figures


def seen_by(contender: Contender, profile: ModelProfile) -> ModelProfile:
    """The profile as far as a contender makes use of it: who packs nothing knows of no codecs."""
    return profile if contender.packs else msgspec.structs.replace(profile, codecs=None)


def with_codecs(profile: ModelProfile, figures: CodecFigures, factors: Mapping[str, float]) -> ModelProfile:
    """The profile with what codecs cost on its nodes: `factors` times what they cost where they were measured."""
    return msgspec.structs.replace(
        profile,
        nodes=tuple(msgspec.structs.replace(times, codec_factor=factors[times.node]) for times in profile.nodes),
        codecs=figures,
        accuracy_loss=ACCURACY_LOSS,
    )
