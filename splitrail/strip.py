"""A plan as one row of the terminal: a block for each stage over ops 0..N, with the cut points between them."""

from collections.abc import Sequence
from typing import Protocol

from rich.text import Text

COLOURS = ("green", "yellow", "blue", "magenta", "cyan", "red", "white")


class Stage(Protocol):
    """Ops `start`..`stop`-1 on `node`; an empty range relays."""

    @property
    def node(self) -> str:
        """The node's name."""

    @property
    def start(self) -> int:
        """The first op."""

    @property
    def stop(self) -> int:
        """The op after the last."""


def plan_strip(stages: Sequence[Stage], ops: int, width: int, *, nodes: Sequence[str] = ()) -> Text:
    """The stages as blocks whose lengths are in proportion to their ops, in about `width` columns, at least readable.

    Colours follow the order of `nodes`, then the order of first appearance; without colour the names still tell.
    """
    order = list(dict.fromkeys([*nodes, *(stage.node for stage in stages)]))
    cuts = [str(stage.start) for stage in stages] + [str(ops)]
    blocks = [_least(stage) for stage in stages]
    spare = width - sum(map(len, cuts)) - sum(blocks)
    if spare > 0 and ops > 0:
        edges = [0, *(round(spare * stage.stop / ops) for stage in stages)]
        blocks = [least + edges[at + 1] - edges[at] for at, least in enumerate(blocks)]
    strip = Text(no_wrap=True, overflow="ellipsis")
    for stage, cut, length in zip(stages, cuts, blocks, strict=False):
        colour = COLOURS[order.index(stage.node) % len(COLOURS)]
        strip.append(cut)
        if stage.start == stage.stop:
            strip.append(f"→{stage.node}→", style=colour)
        else:
            strip.append(f" {stage.node} ".center(length, "━"), style=f"bold {colour} reverse")
    strip.append(cuts[-1])
    return strip


def _least(stage: Stage) -> int:
    return len(stage.node) + (2 if stage.start == stage.stop else 4)
