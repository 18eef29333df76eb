"""What an experiment knows of a model on its machines: sizes, weights and times, measured or read from a file."""

import msgspec


class NodeTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The time of each op on a node in ms and its spread, N numbers each, before any load."""

    node: str
    op_ms: tuple[float, ...]
    op_ms_std: tuple[float, ...]


class ModelProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A model of N ops on the machines of an experiment; `source` says how the times came about, in words."""

    model: str
    cut_bytes: tuple[float, ...]
    """N+1 numbers, input first."""
    weight_mb: tuple[float, ...]
    forbidden_cuts: tuple[int, ...]
    nodes: tuple[NodeTimes, ...]
    source: str
