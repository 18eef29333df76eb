"""The segments that a node holds in memory, and for which plans, as far as there is room for them.

Which plans these are, and when they change, others say; `edge_agent.segment_loading` makes what is held.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from broker.messages import Plan
from edge_agent.errors import NoRoomError
from edge_agent.packing import PLAIN, Ends, computing_ends
from edge_agent.room import SegmentWeights, check_room, free_memory_mb, weights_mb
from edge_agent.routes import leading_stop, named_nodes, ops_of, route
from edge_agent.segment_loading import SegmentKey, SegmentLoader
from models.cache import ModelCache
from models.errors import UnsupportedOpError
from models.packed import PackedWeights
from models.runtime import Segment

log = logging.getLogger("splitrail.agent")


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
        self._loader = SegmentLoader(cache, packed, threads)
        self._bound_mb = bound_mb
        self._free_mb = free_mb
        self._lock = threading.Lock()
        self._segments: dict[SegmentKey, Segment] = {}
        self._held_weights: dict[SegmentKey, SegmentWeights] = {}
        self._fallbacks: dict[str, SegmentKey] = {}
        self._holdings: Holdings | None = None

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
        return self._loader.packed(model)

    def pack(self, model: str, fetch: Callable[[], Path]) -> None:
        """Pack the weights of the model with this sha256, for its segments that are loaded now or later.

        Nothing is done where they are packed already, or cannot be. ModelError says what keeps them from it, and what
        `fetch`, which gives the model's file, raises goes on.
        """
        if self.packed(model) is None:
            whole = fetch()
            if self._loader.pack(model, whole, self._free_mb()):
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
        if key.ends != PLAIN and self.packed(key.model) is None:
            # Codecs change more often than cuts do: without shared weights each change would hold them once more.
            self._load(key.plain, whole)
            return
        try:
            segment, weights = self._loader.load(key, whole)
        except UnsupportedOpError as error:
            if key.ends == PLAIN:
                raise
            log.info("the codecs of %s stay beside its graph: %s", key.model, error)
            self._load(key.plain, whole)
            return
        with self._lock:
            self._held_weights[key] = weights
            self._segments[key] = segment

    def _share(self, model: str, whole: Path) -> None:
        """Load the segments of a model anew that were loaded before its weights were packed."""
        for key, before in list(self._segments.items()):
            if key.model != model or before.shares_weights:
                continue
            segment, weights = self._loader.load(key, whole)
            with self._lock:
                if weights.shared and key in self._segments:
                    self._held_weights[key] = weights
                    self._segments[key] = segment

    def close(self) -> None:
        """Wait a little for the disk to take what was packed."""
        self._loader.close()

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
            self._loader.weights(key, whole)
            for key in keys
            if key not in self._segments and key.plain not in self._segments
        ]
        return weights_mb([*held, *more]) - weights_mb(held) if more else 0.0

    def _keys(self, plans: Iterable[Plan]) -> set[SegmentKey]:
        return {
            SegmentKey(plan.model.sha256, hop.start, hop.stop, ends)
            for plan in plans
            for hop, ends in zip(route(plan), computing_ends(plan), strict=True)
            if hop.node == self._node and not hop.relays
        }
