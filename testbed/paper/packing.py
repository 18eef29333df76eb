"""What codecs cost and change of the experiment's models: kept beside each of them, and added to its profile.

Measuring it is `models.evaluation`'s part, and what plans make of it `coordinator.permitted_codecs`'.
"""

import platform
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from coordinator.codec_file import read_codec_figures
from models.cache import file_sha256
from models.codec_figures import CodecFigures, figures_path
from models.evaluation import evaluate_codecs
from models.images import sample_photographs
from testbed.errors import ExperimentError
from testbed.host_timing import quiet_stderr
from testbed.paper.contenders import Contender
from testbed.paper.model_profile import ModelProfile
from testbed.processes import Step
from testbed.workload import photograph_crops

ACCURACY_LOSS: Final = 0.01
"""The share of top-1 answers that codecs may change in the experiment."""
ANSWERS: Final = 100
"""How many images codecs are measured with: as many as it takes to tell that share."""


def kept_figures(model: Path, step: Step) -> CodecFigures:
    """The figures that are kept beside a model; where there are none they are measured first, which takes minutes.

    ExperimentError where what is there cannot be read, or is of another model; EvaluationError if they cannot be
    measured.
    """
    path = figures_path(model)
    if not path.exists():
        with step(f"measuring what codecs cost and change of {model.stem}: some minutes, once"):
            figures = _measured(model)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(figures))
        part.replace(path)
        return figures
    try:
        figures = read_codec_figures(path)
    except OSError as error:
        raise ExperimentError(f"--codecs: {path} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExperimentError(f"--codecs: {path} holds no codec figures: {error}") from None
    if figures.model != file_sha256(model):
        raise ExperimentError(f"--codecs: {path} holds the codec figures of another model: remove it")
    return figures


def _measured(model: Path) -> CodecFigures:
    """On the crops that the experiment's requests carry, as they carry them."""
    with tempfile.TemporaryDirectory(prefix="splitrail-crops-") as directory:
        crops = []
        for number, crop in enumerate(photograph_crops(sample_photographs())):
            crops.append(Path(directory) / f"{number}.jpg")
            crops[-1].write_bytes(crop)
        with quiet_stderr():
            return evaluate_codecs(model, crops, machine=platform.machine() or "unknown", at=time.time(), count=ANSWERS)


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
