"""What an experiment knows of a model on its machines: sizes, weights and times, measured or read from a file."""

import msgspec

from models.codec_figures import CodecFigures


class NodeTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The time of each op on a node in ms and its spread, N numbers each, before any load."""

    node: str
    op_ms: tuple[float, ...]
    op_ms_std: tuple[float, ...]
    codec_factor: float = 1.0
    """How many times longer than the machine of the codec figures it packs and unpacks."""


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A model of N ops on the machines of an experiment; `source` says how the times came about, in words."""

    model: str
    cut_bytes: tuple[float, ...]
    """N+1 numbers, input first."""
    weight_mb: tuple[float, ...]
    forbidden_cuts: tuple[int, ...]
    nodes: tuple[NodeTimes, ...]
    source: str
    codecs: CodecFigures | None = None
    """What codecs cost and change at its cuts; None where everything travels raw."""
    accuracy_loss: float = 0.0
    """The share of top-1 answers that codecs may change."""
