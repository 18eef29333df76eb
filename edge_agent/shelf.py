"""The segments that a node holds in memory, and for which plans; cutting and running them is `models`' part.

Which plans these are, and when they change, others say.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from broker.messages import Plan
from edge_agent.errors import NoRoomError
from edge_agent.packing import PLAIN, Ends, computing_ends
from edge_agent.room import BYTES_PER_MB, RESERVE_MB, SegmentWeights, check_room, free_memory_mb, weights_mb
from edge_agent.routes import leading_stop, named_nodes, ops_of, route
from models.cache import ModelCache
from models.errors import SegmentRunError, UnsupportedOpError
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


@dataclass(frozen=True, slots=True)
class Holdings:
    """The plans that a node keeps segments for."""

    plans: tuple[Plan, ...]
    """All of them."""
    superseded: tuple[Plan, ...]
    """Those under which only requests that are under way still run."""
    served: tuple[Plan, ...]
    """Those under which requests of this node begin now."""


class Shelf:
    """Loads segments and frees them; `load`, `load_fallback` and `pack` are called from one thread, the rest from any.

    A segment that runs when it is freed lives until it has run. The segments of a model that was packed share its
    weights; of another each has its own. `threads` says how many each interpreter gets.
    """

    def __init__(
        self,
        node: str,
        cache: ModelCache,
        packed: PackedWeights,
        *,
        threads: Callable[[SegmentKey], int],
        bound_mb: float,
        free_mb: Callable[[], float] = free_memory_mb,
    ) -> None:
        self._node = node
        self._cache = cache
        self._packed = packed
        self._threads = threads
        self._bound_mb = bound_mb
        self._free_mb = free_mb
        self._lock = threading.Lock()
        self._segments: dict[SegmentKey, Segment] = {}
        self._held_weights: dict[SegmentKey, SegmentWeights] = {}
        self._fallbacks: dict[str, SegmentKey] = {}
        self._holdings: Holdings | None = None
        self._cut: dict[SegmentKey, Fingerprint] = {}
        self._weights: dict[str, tuple[float, ...]] = {}

    def segment(self, model: str, start: int, stop: int, ends: Ends = PLAIN) -> Segment | None:
        """The loaded segment [start, stop) of the model with this sha256, if it is here.

        Where there is none with these ends, it is one that leaves the codecs to who runs it.
        """
        key = SegmentKey(model, start, stop, ends)
        return self._segments.get(key) or self._segments.get(key.plain)

    @property
    def held(self) -> tuple[SegmentKey, ...]:
        """What is loaded now."""
        return tuple(self._segments)

    @property
    def models_held(self) -> frozenset[str]:
        """The models, by sha256, that segments here were cut from."""
        return frozenset(key.model for key in self.held)

    @property
    def held_mb(self) -> float:
        """The weights of what is loaded now, in MB of 10^6 bytes."""
        return weights_mb(list(self._held_weights.values()))

    def packed(self, model: str) -> Path | None:
        """The packed weights of the model with this sha256, if they are here."""
        return self._packed.find(model)

    def pack(self, model: str, fetch: Callable[[], Path]) -> None:
        """Pack the weights of the model with this sha256, for its segments that are loaded now or later.

        Nothing is done where they are packed already, or cannot be. ModelError says what keeps them from it, and what
        `fetch`, which gives the model's file, raises goes on.
        """
        if self._packed.find(model) is not None:
            return
        whole = fetch()
        op_mb = self._op_mb(model, whole)
        if sum(op_mb) + RESERVE_MB <= self._free_mb():
            piece = self._piece(SegmentKey(model, 0, len(op_mb)), whole)
            if self._packed.make(model, piece, round(sum(op_mb) * BYTES_PER_MB)) is None:
                log.info("each segment of the model %s has weights of its own", model)
            else:
                self._share(model, whole)

    def hold(self, holdings: Holdings) -> None:
        """Free what none of these plans needs, and no fallback of theirs."""
        with self._lock:
            self._holdings = holdings
            deployments = {plan.deployment for plan in holdings.plans}
            self._fallbacks = {name: key for name, key in self._fallbacks.items() if name in deployments}
            for plan in holdings.served:
                whole = SegmentKey(plan.model.sha256, 0, ops_of(plan))
                if whole in self._segments and named_nodes(plan) != {plan.origin}:
                    # An earlier plan ran everything here: what it leaves needs no loading.
                    self._fallbacks[plan.deployment] = whole
            self._free_all_but(self._keys(holdings.plans) | set(self._fallbacks.values()))

    def load(self, plan: Plan, whole: Path) -> None:
        """Load this node's segments of a plan, cut from the model at `whole`, and run each once.

        NoRoomError where their weights do not fit beside those of other plans (fallbacks give way); ModelError says
        what else keeps one from being cut, written, loaded or run. Segments that were loaded before an error stay
        until `hold` frees them.
        """
        keys = self._keys([plan])
        self._make_room(whole, keys)
        for key in sorted(keys, key=lambda key: (key.start, key.stop, key.ends.word)):
            self._load(key, whole)

    def drains_enough(self, plan: Plan, whole: Path) -> bool:
        """Whether the plan would fit once the superseded plans have drained, so that waiting for them is of use."""
        with self._lock:
            if self._holdings is None:
                return False
            staying = [held for held in self._holdings.plans if held not in self._holdings.superseded]
            keys = self._keys([plan])
            left = self._keys(staying) | keys
            leaving_mb = self.held_mb - weights_mb(held for key, held in self._held_weights.items() if key in left)
            return bool(leaving_mb) and self._fits(self._needed_mb(whole, keys), leaving_mb)

    def load_fallback(self, plan: Plan, whole: Path) -> None:
        """Load what the origin needs to finish the plan's requests alone: all ops, else those after its leading stage.

        The whole model serves every later plan too, so that a change of plan loads nothing. What is here already is
        taken as it is; where there is no room, nothing is loaded.
        """
        model, ops = plan.model.sha256, ops_of(plan)
        for key in dict.fromkeys([SegmentKey(model, 0, ops), SegmentKey(model, leading_stop(plan), ops)]):
            if key not in self._segments:
                try:
                    needed_mb = self._needed_mb(whole, [key])
                    check_room(self._node, needed_mb, self.held_mb, self._bound_mb, self._free_mb())
                except NoRoomError as error:
                    log.info("no fallback of ops %d..%d for %s: %s", key.start, key.stop, plan.deployment, error)
                    continue
                self._load(key, whole)
            with self._lock:
                self._fallbacks[plan.deployment] = key
                self._free_unheld()
            return

    def has_fallback(self, plan: Plan) -> bool:
        """Whether nothing is to be loaded for finishing this plan's requests at the origin."""
        model, ops = plan.model.sha256, ops_of(plan)
        return named_nodes(plan) == {plan.origin} or any(
            SegmentKey(model, start, ops) in self._segments for start in (0, leading_stop(plan))
        )

    def _load(self, key: SegmentKey, whole: Path) -> None:
        if key in self._segments:
            return
        if key.ends != PLAIN and self._packed.find(key.model) is None:
            # Codecs change more often than cuts do: without shared weights each change would hold them once more.
            self._load(key.plain, whole)
            return
        try:
            segment, shared = self._loaded(key, self._piece(key, whole))
        except UnsupportedOpError as error:
            if key.ends == PLAIN:
                raise
            log.info("the codecs of %s stay beside its graph: %s", key.model, error)
            self._load(key.plain, whole)
            return
        weights = self._weights_of(key, whole, shared=shared)
        with self._lock:
            self._held_weights[key] = weights
            self._segments[key] = segment

    def _share(self, model: str, whole: Path) -> None:
        """Load the segments of a model anew that were loaded before its weights were packed."""
        for key, before in list(self._segments.items()):
            if key.model != model or before.shares_weights:
                continue
            segment, shared = self._loaded(key, self._piece(key, whole))
            weights = self._weights_of(key, whole, shared=shared)
            with self._lock:
                if shared and key in self._segments:
                    self._held_weights[key] = weights
                    self._segments[key] = segment

    def _piece(self, key: SegmentKey, whole: Path) -> Path:
        """The file of a segment, cut now unless this run has cut it: nothing tells what an earlier one left."""
        piece = self._cache.segment_path(key.model, key.start, key.stop, key.ends.word)
        if key not in self._cut or self._cut[key] != _fingerprint(piece):
            slice_model(whole, key.start, key.stop, piece, taken=key.ends.taken, given=key.ends.given)
            if len(self._cut) >= CUTS_KEPT:
                self._cut.clear()
            self._cut[key] = fingerprint_of(piece)
        return piece

    def _loaded(self, key: SegmentKey, piece: Path) -> tuple[Segment, bool]:
        """A segment that has run once, and whether it shares its model's packed weights."""
        packed, threads = self._packed.find(key.model), self._threads(key)
        if packed is not None:
            try:
                segment = Segment(piece, threads, packed)
                segment.warm_up()
            except SegmentRunError as error:
                log.warning("the packed weights of %s are of no use here: %s", key.model, error)
                self._packed.discard(key.model)
            else:
                return segment, segment.shares_weights
        segment = Segment(piece, threads)
        segment.warm_up()
        return segment, False

    def close(self) -> None:
        """Wait a little for the disk to take what was packed."""
        self._packed.close()

    def release_unheld(self) -> None:
        """Free what was loaded for a plan that was given up meanwhile."""
        with self._lock:
            self._free_unheld()

    def _free_unheld(self) -> None:
        if self._holdings is not None:
            self._free_all_but(self._keys(self._holdings.plans) | set(self._fallbacks.values()))

    def _free_all_but(self, kept: Collection[SegmentKey]) -> None:
        used = {key if key in self._segments else key.plain for key in kept}
        for key in set(self._segments) - used:
            del self._segments[key], self._held_weights[key]

    def _make_room(self, whole: Path, keys: Collection[SegmentKey]) -> None:
        needed_mb = self._needed_mb(whole, keys)
        with self._lock:
            if self._fallbacks and not self._fits(needed_mb, 0.0):
                self._fallbacks.clear()
                self._free_unheld()
        check_room(self._node, needed_mb, self.held_mb, self._bound_mb, self._free_mb())

    def _fits(self, needed_mb: float, leaving_mb: float) -> bool:
        try:
            check_room(self._node, needed_mb, self.held_mb - leaving_mb, self._bound_mb, self._free_mb() + leaving_mb)
        except NoRoomError:
            return False
        return True

    def _needed_mb(self, whole: Path, keys: Collection[SegmentKey]) -> float:
        """What loading these segments adds to the weights that are held."""
        held = list(self._held_weights.values())
        more = [
            self._weights_of(key, whole, shared=self._packed.find(key.model) is not None)
            for key in keys
            if key not in self._segments and key.plain not in self._segments
        ]
        return weights_mb([*held, *more]) - weights_mb(held) if more else 0.0

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

    def _keys(self, plans: Iterable[Plan]) -> set[SegmentKey]:
        return {
            SegmentKey(plan.model.sha256, hop.start, hop.stop, ends)
            for plan in plans
            for hop, ends in zip(route(plan), computing_ends(plan), strict=True)
            if hop.node == self._node and not hop.relays
        }


def _fingerprint(path: Path) -> Fingerprint | None:
    try:
        return fingerprint_of(path)
    except OSError:
        return None
