"""Reads the file of codec figures that a deployment names, or that lies beside its model.

What plans make of the figures is `coordinator.permitted_codecs`' part.
"""

from pathlib import Path

import msgspec

from coordinator.configuration import DeploymentSettings
from coordinator.errors import DeclarationError
from models.codec_figures import MAX_BYTES, CodecFigures, figures_path

MEASURE = "`splitrail profile --codecs` measures them"


def codec_figures_of(settings: DeploymentSettings, sha256: str, ops: int) -> CodecFigures | None:
    """The codec figures of a deployment's model of N ops; None where it packs nothing, or none are there.

    DeclarationError if the file that is named, or that lies beside the model, cannot be used.
    """
    if not settings.codecs:
        return None
    path = settings.codec_figures or figures_path(settings.model)
    place = f"the codec figures of deployment {settings.name!r}, {path},"
    try:
        figures = read_codec_figures(path)
    except FileNotFoundError:
        if settings.codec_figures is None and settings.accuracy_loss == 0.0:
            return None
        raise DeclarationError(f"{place} are not there: {MEASURE}") from None
    except OSError as error:
        raise DeclarationError(f"{place} cannot be read: {error.strerror or error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeclarationError(f"{place} are not in their form: {error}; {MEASURE}") from None
    if figures.model != sha256:
        raise DeclarationError(f"{place} are of another model than {settings.model}: {MEASURE} anew")
    beyond = next((each.k for each in figures.cuts if each.k > ops), None)
    if beyond is not None:
        raise DeclarationError(f"{place} name cut point {beyond}, but {settings.model} ends at {ops}: {MEASURE} anew")
    return figures


def read_codec_figures(path: Path) -> CodecFigures:
    """The figures in a file. OSError where it cannot be read, msgspec's or Unicode's errors where it is none."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(f"it is larger than {MAX_BYTES} bytes, the most that is read")
    return msgspec.json.decode(content, type=CodecFigures)
