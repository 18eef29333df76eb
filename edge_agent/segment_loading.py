"""Loads segments: cut from the model's file, their weights packed once for all of a model, and run once to be ready.

How that is done is `models`' part; which are loaded and kept is `edge_agent.shelf`'s.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_agent.packing import PLAIN, Ends
from edge_agent.room import BYTES_PER_MB, RESERVE_MB, SegmentWeights
from models.cache import ModelCache
from models.errors import SegmentRunError
from models.file_records import Fingerprint, fingerprint_of
from models.graph import read_graph
from models.packed import PackedWeights
from models.runtime import Segment
from models.slicer import slice_model

log = logging.getLogger("splitrail.agent")

WEIGHTS_KEPT = 64  # models whose ops' weights are remembered
CUTS_KEPT = 4_096  # a cut that is forgotten is made anew


class SegmentKey(NamedTuple):
    """A model's sha256, the first op and the op after the last; and what the graph does of the codecs at its ends."""

    model: str
    start: int
    stop: int
    ends: Ends = PLAIN

    @property
    def plain(self) -> "SegmentKey":
        """The segment of the same ops that takes and gives tensors as the model has them."""
        return SegmentKey(self.model, self.start, self.stop)


class SegmentLoader:
    """Makes a segment ready to run, from the model's file `whole`; for one thread at a time, but for `packed`.

    ModelError says what keeps one from being cut, written, loaded or run.
    """

    def __init__(self, cache: ModelCache, packed: PackedWeights, threads: Callable[[SegmentKey], int]) -> None:
        """Cut into `cache`; `threads` says how many each interpreter gets."""
        self._cache, self._packed, self._threads = cache, packed, threads
        self._cut: dict[SegmentKey, Fingerprint] = {}
        self._weights: dict[str, tuple[float, ...]] = {}

    def close(self) -> None:
        """Wait a little for the disk to take what was packed."""
        self._packed.close()

    def packed(self, model: str) -> Path | None:
        """The packed weights of the model with this sha256, if they are here."""
        return self._packed.find(model)

    def pack(self, model: str, whole: Path, free_mb: float) -> bool:
        """Pack the weights of a model, where that fits into the free memory; whether that was done."""
        op_mb = self._op_mb(model, whole)
        if sum(op_mb) + RESERVE_MB > free_mb:
            return False
        piece = self._piece(SegmentKey(model, 0, len(op_mb)), whole)
        if self._packed.make(model, piece, round(sum(op_mb) * BYTES_PER_MB)) is None:
            log.info("each segment of the model %s has weights of its own", model)
            return False
        return True

    def load(self, key: SegmentKey, whole: Path) -> tuple[Segment, SegmentWeights]:
        """The segment, which has run once, and the weights that it holds: those that were packed, or its own."""
        segment = self._loaded(key, self._piece(key, whole))
        return segment, self._weights_of(key, whole, shared=segment.shares_weights)

    def weights(self, key: SegmentKey, whole: Path) -> SegmentWeights:
        """What the segment is to hold once it is loaded."""
        return self._weights_of(key, whole, shared=self.packed(key.model) is not None)

    def _piece(self, key: SegmentKey, whole: Path) -> Path:
        """The file of a segment, cut now unless this run has cut it: nothing tells what an earlier one left."""
        piece = self._cache.segment_path(key.model, key.start, key.stop, key.ends.word)
        if key not in self._cut or self._cut[key] != _fingerprint(piece):
            slice_model(whole, key.start, key.stop, piece, taken=key.ends.taken, given=key.ends.given)
            if len(self._cut) >= CUTS_KEPT:
                self._cut.clear()
            self._cut[key] = fingerprint_of(piece)
        return piece

    def _loaded(self, key: SegmentKey, piece: Path) -> Segment:
        packed, threads = self._packed.find(key.model), self._threads(key)
        if packed is not None:
            try:
                segment = Segment(piece, threads, packed)
                segment.warm_up()
            except SegmentRunError as error:
                log.warning("the packed weights of %s are of no use here: %s", key.model, error)
                self._packed.discard(key.model)
            else:
                return segment
        segment = Segment(piece, threads)
        segment.warm_up()
        return segment

    def _weights_of(self, key: SegmentKey, whole: Path, *, shared: bool) -> SegmentWeights:
        return SegmentWeights(key.model, key.start, self._op_mb(key.model, whole)[key.start : key.stop], shared)

    def _op_mb(self, model: str, whole: Path) -> tuple[float, ...]:
        op_mb = self._weights.get(model)
        if op_mb is None:
            op_mb = tuple(op.weight_bytes / BYTES_PER_MB for op in read_graph(whole).ops)
            if len(self._weights) >= WEIGHTS_KEPT:
                del self._weights[next(iter(self._weights))]
            self._weights[model] = op_mb
        return op_mb


def _fingerprint(path: Path) -> Fingerprint | None:
    try:
        return fingerprint_of(path)
    except OSError:
        return None
