"""Gets a node ready for what it is asked: fetches models, profiles them, cuts and loads the segments of plans.

One thread does it, plans before profiles, beside the executor that serves requests.
"""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from broker.messages import DeploymentNotice, ModelReference, NodeProfile, Plan, PlanReady, ProfileFailure
from edge_agent.configuration import AgentSettings
from edge_agent.profiler import MeasuredProfile, ProfileStore, profile_model
from edge_agent.routes import computing_segments
from models.cache import ModelCache
from models.fetch import fetch_model
from models.runtime import Segment
from models.slicer import slice_model
from splitrail.errors import SplitrailError

log = logging.getLogger("splitrail.agent")

RETRY_PROFILE_S = 5.0
LONGEST_RETRY_S = 60.0
FIRST, LATER = 0, 1

SegmentKey = tuple[str, int, int]


class _ClosingError(Exception):
    """The agent stops: the job under way is given up where it stands."""


@dataclass(frozen=True, slots=True)
class _Job:
    due_s: float
    rank: tuple[int, int]
    run: Callable[[], None]


class Preparation:
    """Carries out plans and deployment notices, and tells the agent what came of them.

    `ready`, `profiled` and `unprofiled` are called on the preparation's thread.
    """

    def __init__(
        self,
        settings: AgentSettings,
        cache: ModelCache,
        *,
        ready: Callable[[PlanReady], None],
        profiled: Callable[[NodeProfile], None],
        unprofiled: Callable[[ProfileFailure], None],
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._profiles = ProfileStore(settings.cache / "profiles")
        self._ready = ready
        self._profiled = profiled
        self._unprofiled = unprofiled
        self._segments: dict[SegmentKey, Segment] = {}
        self._cut: set[SegmentKey] = set()
        self._profiled_models: set[str] = set()
        self._jobs: list[_Job] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="preparation", daemon=True)
        self._thread.start()

    def prepare(self, plan: Plan) -> None:
        """Load this node's segments of a plan and run each once, then report ready or why not."""
        self._add(FIRST, lambda: self._prepare(plan))

    def profile(self, notice: DeploymentNotice) -> None:
        """Fetch and profile a deployment's model, once for each model."""
        self._add(LATER, lambda: self._profile(notice))

    def segment(self, model: str, start: int, stop: int) -> Segment | None:
        """The loaded segment [start, stop) of the model with this sha256, if a plan made it ready."""
        return self._segments.get((model, start, stop))

    def keep_only(self, plans: Iterable[Plan]) -> None:
        """Free the segments that none of these plans needs; a run under way holds its own until it ends."""
        wanted = {
            (plan.model.sha256, start, stop)
            for plan in plans
            for start, stop in computing_segments(plan, self._settings.node)
        }
        for key in set(self._segments) - wanted:
            del self._segments[key]

    def close(self) -> None:
        """Give up the job under way and end the thread; an unfinished download is resumed at the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _add(self, urgency: int, run: Callable[[], None], delay_s: float = 0.0) -> None:
        with self._changed:
            self._jobs.append(_Job(time.monotonic() + delay_s, (urgency, next(self._numbers)), run))
            self._changed.notify()

    def _next_job(self) -> _Job | None:
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                due = [job for job in self._jobs if job.due_s <= now_s]
                if due:
                    job = min(due, key=lambda job: job.rank)
                    self._jobs.remove(job)
                    return job
                self._changed.wait(min((job.due_s for job in self._jobs), default=now_s + 3600.0) - now_s)
            return None

    def _work(self) -> None:
        with contextlib.suppress(_ClosingError):
            while (job := self._next_job()) is not None:
                job.run()

    def _prepare(self, plan: Plan) -> None:
        started_s = time.monotonic()
        reason = ""
        try:
            for start, stop in computing_segments(plan, self._settings.node):
                self._load(plan.model, start, stop)
        except _ClosingError:
            raise
        except Exception as error:
            # Whatever a model leads a library to: the coordinator must hear of it, and this thread go on.
            reason = _reason(error)
            log.warning("plan %s of %s cannot be carried out here: %s", plan.epoch, plan.deployment, reason)
        self._ready(
            PlanReady(
                deployment=plan.deployment,
                epoch=plan.epoch,
                node=self._settings.node,
                ready=not reason,
                reason=reason[:2_000],
                load_ms=(time.monotonic() - started_s) * 1e3,
            )
        )

    def _load(self, model: ModelReference, start: int, stop: int) -> None:
        key = (model.sha256, start, stop)
        if key in self._segments:
            return
        whole = self._fetch(model)
        piece = self._cache.segment_path(*key)
        # What an earlier run left is not verified by any hash, and a cut takes less than a second: cut it anew.
        if key not in self._cut or not piece.exists():
            slice_model(whole, start, stop, piece)
            self._cut.add(key)
        segment = Segment(piece, self._settings.threads)
        segment.warm_up()
        self._segments[key] = segment
        self._cache.prune(round(self._settings.cache_mb * 1e6), keep=[model.sha256])

    def _profile(self, notice: DeploymentNotice, retry_s: float = RETRY_PROFILE_S) -> None:
        model = notice.model
        if model.sha256 in self._profiled_models:
            return
        try:
            measured = self._measure(model)
        except _ClosingError:
            raise
        except Exception as error:
            # As above; and what cannot be fetched now may be there soon.
            reason = _reason(error)
            log.warning("%s cannot be profiled, trying again in %.0f s: %s", model.name, retry_s, reason)
            self._unprofiled(ProfileFailure(node=self._settings.node, model=model.sha256, reason=reason[:2_000]))
            self._add(LATER, lambda: self._profile(notice, min(2 * retry_s, LONGEST_RETRY_S)), retry_s)
            return
        self._profiled_models.add(model.sha256)
        emulation = self._settings.emulation
        stretched = measured.stretched(emulation.compute_factor if emulation else 1.0)
        self._profiled(
            NodeProfile(
                node=self._settings.node,
                model=model.sha256,
                runtime=stretched.runtime,
                threads=stretched.threads,
                op_ms=stretched.op_ms,
                op_ms_std=stretched.op_ms_std,
                unsplit_ms=stretched.unsplit_ms,
                unsplit_ms_std=stretched.unsplit_ms_std,
                memory_mb=stretched.memory_mb,
                emulated=emulation.description if emulation else None,
            )
        )

    def _measure(self, model: ModelReference) -> MeasuredProfile:
        # A profile tells of the unloaded machine, and CPU time leaves out what others take; it is one thread's.
        by_cpu_time = self._settings.threads == 1
        kept = self._profiles.load(model.sha256, self._settings.threads, by_cpu_time)
        if kept is not None:
            log.info("%s: profile taken from the cache", model.name)
            return kept
        path = self._fetch(model)
        log.info("%s: profiling %d ops", model.name, model.ops)
        measured = profile_model(
            path,
            threads=self._settings.threads,
            by_cpu_time=by_cpu_time,
            scratch=self._settings.cache,
            progress=self._go_on,
        )
        self._profiles.save(model.sha256, by_cpu_time, measured)
        log.info("%s: %.2f ms unsplit (± %.2f)", model.name, measured.unsplit_ms, measured.unsplit_ms_std)
        return measured

    def _fetch(self, model: ModelReference) -> Path:
        return fetch_model(model.url, model.sha256, model.size_bytes, self._cache, progress=self._go_on)

    def _go_on(self, done: int, total: int) -> None:  # noqa: ARG002  # the callers' progress, of which only the call counts
        if self._closing:
            raise _ClosingError


def _reason(error: Exception) -> str:
    """Our own errors are sentences; of others the kind tells more than the words."""
    return str(error) if isinstance(error, SplitrailError) else f"{type(error).__name__}: {error}"
