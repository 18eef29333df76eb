"""The segments that a node holds in memory, and for which plans; cutting and running them is `models`' part.

Which plans these are, and when they change, others say.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from broker.messages import Plan
from edge_agent.errors import NoRoomError
from edge_agent.room import BYTES_PER_MB, check_room, free_memory_mb
from edge_agent.routes import computing_segments, leading_stop, named_nodes, ops_of
from models.cache import ModelCache, file_sha256
from models.graph import read_graph
from models.runtime import Segment
from models.slicer import slice_model

log = logging.getLogger("splitrail.agent")

WEIGHTS_KEPT = 64  # models whose ops' weights are remembered
CUTS_KEPT = 4_096  # a cut that is forgotten is made anew

SegmentKey = tuple[str, int, int]
"""A model's sha256, the first op and the op after the last."""


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
    """Loads segments and frees them; `load` and `load_fallback` are called from one thread, the rest from any.

    A segment that runs when it is freed lives until it has run.
    """

    def __init__(
        self,
        node: str,
        cache: ModelCache,
        *,
        threads: int,
        bound_mb: float,
        free_mb: Callable[[], float] = free_memory_mb,
    ) -> None:
        self._node = node
        self._cache = cache
        self._threads = threads
        self._bound_mb = bound_mb
        self._free_mb = free_mb
        self._lock = threading.Lock()
        self._segments: dict[SegmentKey, Segment] = {}
        self._sizes_mb: dict[SegmentKey, float] = {}
        self._fallbacks: dict[str, SegmentKey] = {}
        self._holdings: Holdings | None = None
        self._cut: dict[SegmentKey, str] = {}
        self._weights: dict[str, tuple[int, ...]] = {}

    def segment(self, model: str, start: int, stop: int) -> Segment | None:
        """The loaded segment [start, stop) of the model with this sha256, if it is here."""
        return self._segments.get((model, start, stop))

    @property
    def held(self) -> tuple[SegmentKey, ...]:
        """What is loaded now."""
        return tuple(self._segments)

    @property
    def models_held(self) -> frozenset[str]:
        """The models, by sha256, that segments here were cut from."""
        return frozenset(model for model, _, _ in self.held)

    def hold(self, holdings: Holdings) -> None:
        """Free what none of these plans needs, and no fallback of theirs."""
        with self._lock:
            self._holdings = holdings
            deployments = {plan.deployment for plan in holdings.plans}
            self._fallbacks = {name: key for name, key in self._fallbacks.items() if name in deployments}
            for plan in holdings.served:
                whole = (plan.model.sha256, 0, ops_of(plan))
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
        for key in sorted(keys):
            self._load(key, whole)

    def drains_enough(self, plan: Plan, whole: Path) -> bool:
        """Whether the plan would fit once the superseded plans have drained, so that waiting for them is of use."""
        with self._lock:
            if self._holdings is None:
                return False
            staying = [held for held in self._holdings.plans if held not in self._holdings.superseded]
            leaving = set(self._segments) - self._keys(staying)
            keys = self._keys([plan])
            leaving_mb = sum(self._sizes_mb[key] for key in leaving - keys)
            return bool(leaving_mb) and self._fits(self._needed_mb(whole, keys), leaving_mb)

    def load_fallback(self, plan: Plan, whole: Path) -> None:
        """Load what the origin needs to finish the plan's requests alone: all ops, else those after its leading stage.

        The whole model serves every later plan too, so that a change of plan loads nothing. What is here already is
        taken as it is; where there is no room, nothing is loaded.
        """
        model, ops = plan.model.sha256, ops_of(plan)
        for key in dict.fromkeys([(model, 0, ops), (model, leading_stop(plan), ops)]):
            if key not in self._segments:
                try:
                    check_room(self._node, self._size_mb(key, whole), self._held_mb(), self._bound_mb, self._free_mb())
                except NoRoomError as error:
                    log.info("no fallback of ops %d..%d for %s: %s", *key[1:], plan.deployment, error)
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
            (model, start, ops) in self._segments for start in (0, leading_stop(plan))
        )

    def _load(self, key: SegmentKey, whole: Path) -> None:
        if key in self._segments:
            return
        piece = self._cache.segment_path(*key)
        # Nothing tells what an earlier run left, and a cut takes less than a second: only this run's own count.
        if key not in self._cut or _digest(piece) != self._cut[key]:
            slice_model(whole, key[1], key[2], piece)
            if len(self._cut) >= CUTS_KEPT:
                self._cut.clear()
            self._cut[key] = file_sha256(piece)
        segment = Segment(piece, self._threads)
        segment.warm_up()
        with self._lock:
            self._segments[key] = segment
            self._sizes_mb[key] = self._size_mb(key, whole)

    def release_unheld(self) -> None:
        """Free what was loaded for a plan that was given up meanwhile."""
        with self._lock:
            self._free_unheld()

    def _free_unheld(self) -> None:
        if self._holdings is not None:
            self._free_all_but(self._keys(self._holdings.plans) | set(self._fallbacks.values()))

    def _free_all_but(self, kept: Collection[SegmentKey]) -> None:
        for key in set(self._segments) - set(kept):
            del self._segments[key], self._sizes_mb[key]

    def _make_room(self, whole: Path, keys: Collection[SegmentKey]) -> None:
        needed_mb = self._needed_mb(whole, keys)
        with self._lock:
            if self._fallbacks and not self._fits(needed_mb, 0.0):
                self._fallbacks.clear()
                self._free_unheld()
        check_room(self._node, needed_mb, self._held_mb(), self._bound_mb, self._free_mb())

    def _fits(self, needed_mb: float, leaving_mb: float) -> bool:
        try:
            check_room(
                self._node, needed_mb, self._held_mb() - leaving_mb, self._bound_mb, self._free_mb() + leaving_mb
            )
        except NoRoomError:
            return False
        return True

    def _needed_mb(self, whole: Path, keys: Collection[SegmentKey]) -> float:
        return sum(self._size_mb(key, whole) for key in keys if key not in self._segments)

    def _held_mb(self) -> float:
        return sum(list(self._sizes_mb.values()))

    def _size_mb(self, key: SegmentKey, whole: Path) -> float:
        model, start, stop = key
        weights = self._weights.get(model)
        if weights is None:
            weights = tuple(op.weight_bytes for op in read_graph(whole).ops)
            if len(self._weights) >= WEIGHTS_KEPT:
                del self._weights[next(iter(self._weights))]
            self._weights[model] = weights
        return sum(weights[start:stop]) / BYTES_PER_MB

    def _keys(self, plans: Iterable[Plan]) -> set[SegmentKey]:
        return {
            (plan.model.sha256, start, stop) for plan in plans for start, stop in computing_segments(plan, self._node)
        }


def _digest(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
