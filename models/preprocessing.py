"""How a model wants its images, and what its classes are called: kept in the metadata of its .tflite file.

Reads them back, from what is not trusted; applying them to an image is `models.images`.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.errors import ModelFormatError
from models.metadata import read_metadata

PREPROCESSING_ENTRY = "SPLITRAIL"
LABELS_ENTRY = "SPLITRAIL_LABELS"

_MAX_LABELS_BYTES = 4_000_000
_MAX_LABEL_CHARACTERS = 200

_Finite = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Spread = Annotated[float, Meta(ge=1e-6, le=1e6)]


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pixel p (0..255) of channel c becomes (p - mean[c]) / std[c]; channels in the order that the model takes."""

    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Spread, _Spread, _Spread]
    channels: Literal["rgb", "bgr"] = "rgb"


# The three conventions of published image models, under the names that Keras gives them
# (keras.applications.imagenet_utils.preprocess_input); the means and spreads are ImageNet's.
PREPROCESSINGS: dict[str, Preprocessing] = {
    "tf": Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr"),
    "none": Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def read_preprocessing(path: Path) -> Preprocessing | None:
    """The preprocessing that a .tflite file names, or None; ModelFormatError if its entry cannot be understood."""
    entry = read_metadata(path, PREPROCESSING_ENTRY)
    if entry is None:
        return None
    try:
        return msgspec.json.decode(entry, type=Preprocessing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFormatError(
            f"{path}: its metadata entry {PREPROCESSING_ENTRY} is not a preprocessing: {error}"
        ) from None


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of a model's classes in order, empty where the file has none.

    Besides our own entry, the label file that TensorFlow's metadata writer packs behind a model is read.
    """
    entry = read_metadata(path, LABELS_ENTRY)
    return split_labels(entry if entry is not None else _packed_labels(path))


def split_labels(text: bytes) -> tuple[str, ...]:
    """One label a line, each cut to 200 characters; what is not UTF-8 shows as a replacement character."""
    lines = text[:_MAX_LABELS_BYTES].decode("utf-8", "replace").splitlines()
    return tuple(line.strip()[:_MAX_LABEL_CHARACTERS] for line in lines)


def metadata_entries(preprocessing: Preprocessing | None, labels: Sequence[str]) -> dict[str, bytes]:
    """The metadata entries that record these, ready to be attached to a file."""
    entries = {}
    if preprocessing is not None:
        entries[PREPROCESSING_ENTRY] = msgspec.json.encode(preprocessing)
    if labels:
        entries[LABELS_ENTRY] = "\n".join(labels).encode()
    return entries


def _packed_labels(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if "label" in member.filename.lower() and member.filename.endswith(".txt"):
                    with archive.open(member) as file:
                        return file.read(_MAX_LABELS_BYTES)
    # No archive behind the model, or a broken one, of which zipfile and its decompressors raise many kinds:
    # then the classes have numbers only.
    except Exception:
        return b""
    return b""
