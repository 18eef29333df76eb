"""Whether a node has room for the weights of more segments; pure but for one look at the machine's free memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from edge_agent.configuration import AgentSettings
from edge_agent.errors import NoRoomError

BYTES_PER_MB = 1e6
RESERVE_MB = 32.0
"""What the runtime needs beside the weights, and others on the machine at any moment."""


@dataclass(frozen=True, slots=True)
class SegmentWeights:
    """The weights of a model's ops from `start` on, in MB of 10^6 bytes; `shared` with its other segments or not."""

    model: str
    start: int
    op_mb: tuple[float, ...]
    shared: bool


def weights_mb(segments: Iterable[SegmentWeights]) -> float:
    """The weights that these segments hold together: those that they share are there once."""
    own_mb = 0.0
    shared_mb: dict[tuple[str, int], float] = {}
    for segment in segments:
        if segment.shared:
            shared_mb |= {(segment.model, op): mb for op, mb in enumerate(segment.op_mb, segment.start)}
        else:
            own_mb += sum(segment.op_mb)
    return own_mb + sum(shared_mb.values())


def memory_bound_mb(settings: AgentSettings, memory_mb: float) -> float:
    """The bound on the weights that a node holds, of a machine with this much memory: half of it, or as it is set."""
    return memory_mb / 2 if settings.memory_mb is None else settings.memory_mb


def free_memory_mb() -> float:
    """What the machine could give now without swapping, in MB of 10^6 bytes."""
    return psutil.virtual_memory().available / BYTES_PER_MB


def check_room(node: str, needed_mb: float, held_mb: float, bound_mb: float, free_mb: float) -> None:
    """NoRoomError, which says what is short, unless `needed_mb` of weights more may be held beside `held_mb`.

    A runtime packs weights anew as it loads them, so that many MB must really be free.
    """
    if needed_mb <= 0.0:
        return
    if held_mb + needed_mb > bound_mb:
        beside = f" beside the {held_mb:.6g} MB of other segments" if held_mb else ""
        raise NoRoomError(
            f"{node} cannot hold {needed_mb:.6g} MB of weights more{beside}: its memory_mb is {bound_mb:.6g}"
        )
    if needed_mb + RESERVE_MB > free_mb:
        raise NoRoomError(
            f"{node} has {free_mb:.6g} MB of memory free, and {needed_mb:.6g} MB of weights more need "
            f"{needed_mb + RESERVE_MB:.6g} MB: end other programs there or lower its memory_mb"
        )
