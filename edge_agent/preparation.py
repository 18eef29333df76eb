"""Gets a node ready for what it is asked: fetches models, profiles them, has the segments of plans loaded.

One thread does it, plans before profiles, beside the executor that serves requests.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from broker.messages import DeploymentNotice, ModelReference, NodeProfile, Plan, PlanReady, ProfileFailure
from edge_agent.configuration import AgentSettings
from edge_agent.errors import NoRoomError
from edge_agent.hardware import machine_identity, total_memory_mb
from edge_agent.jobs import ClosingError, Jobs
from edge_agent.kept_codec_speeds import kept_codec_speeds, stretched_speeds
from edge_agent.packing import PLAIN, Ends, ImageForms
from edge_agent.profiler import MeasuredProfile, ProfileStore, profile_model, runtime_words
from edge_agent.room import memory_bound_mb
from edge_agent.routes import computing_segments, route
from edge_agent.segment_loading import SegmentKey
from edge_agent.shelf import Holdings, Shelf
from edge_agent.threads import ThreadSetting, segment_threads
from models.cache import ModelCache
from models.codec_figures import IMAGE_CODECS
from models.errors import ModelError
from models.fetch import fetch_model
from models.image_form import ImageForm
from models.images import get_ready
from models.model_server import ServerAccess
from models.packed import PackedWeights
from models.runtime import Segment
from splitrail.errors import SplitrailError

log = logging.getLogger("splitrail.agent")

RETRY_PROFILE_S = 5.0
LONGEST_RETRY_S = 60.0
RETRY_ROOM_S = 0.2
LONGEST_WAIT_FOR_ROOM_S = 30.0
MODELS_KNOWN = 1_024
PLANS, FALLBACKS, PROFILES, PACKING = range(4)


class Preparation:
    """Carries out plans and deployment notices, and tells the agent what came of them.

    `ready`, `profiled` and `unprofiled` are called on the preparation's thread. Of plans of one deployment that wait
    for it only the newest is carried out.
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
        self._access = ServerAccess(settings.models.token_file, settings.models.ca_file)
        self._cache = cache
        self._forms = ImageForms(cache.get)
        # A testbed's agents share their cores: what more threads take off there says nothing.
        self._threads: ThreadSetting = 1 if settings.emulation and settings.threads == "auto" else settings.threads
        self._profiles = ProfileStore(settings.cache / "profiles")
        self._ready = ready
        self._profiled = profiled
        self._unprofiled = unprofiled
        self._shelf = Shelf(
            settings.node,
            cache,
            PackedWeights(cache, f"{runtime_words()} {machine_identity()}"),
            threads=self._threads_of,
            bound_mb=memory_bound_mb(settings, total_memory_mb()),
        )
        self._notices: dict[str, DeploymentNotice] = {}
        self._profiled_models: set[str] = set()
        self._jobs = Jobs("preparation")

    def prepare(self, plan: Plan) -> None:
        """Load this node's segments of a plan and run each once, then report ready or why not."""
        started_s = time.monotonic()
        self._jobs.add((PLANS, plan.deployment), PLANS, lambda: self._prepare(plan, started_s))

    def profile(self, notice: DeploymentNotice) -> None:
        """Fetch and profile a deployment's model, once for each model; from now on it is fetched from this URL."""
        _remember(self._notices, notice)
        self._jobs.add((PROFILES, notice.model.sha256), PROFILES, lambda: self._profile(notice, RETRY_PROFILE_S))

    def segment(self, model: str, start: int, stop: int, ends: Ends = PLAIN) -> Segment | None:
        """As `Shelf.segment`."""
        return self._shelf.segment(model, start, stop, ends)

    def image_form(self, model: str) -> ImageForm | None:
        """How the model with this sha256 takes an image, if it is here and takes one."""
        return self._forms.of(model)

    def hold(self, holdings: Holdings) -> None:
        """Free the segments that none of these plans needs, and load fallbacks for those that requests begin under."""
        self._shelf.hold(holdings)
        if holdings.served:
            self._jobs.add((FALLBACKS, "images"), FALLBACKS, get_ready)
        for plan in holdings.served:
            if self._settings.failover and not self._shelf.has_fallback(plan):
                self._jobs.add((FALLBACKS, plan.deployment), FALLBACKS, lambda plan=plan: self._load_fallback(plan))  # type: ignore[misc]  # mypy cannot type a default in a lambda

    def close(self) -> None:
        """Give up the job under way and end the thread; an unfinished download is resumed at the next start."""
        self._jobs.close()
        self._shelf.close()

    def _prepare(self, plan: Plan, began_s: float) -> None:
        started_s = time.monotonic()
        reason = ""
        try:
            if computing_segments(plan, self._settings.node) and not self._load(plan, began_s):
                self._jobs.add(
                    (PLANS, plan.deployment),
                    PLANS,
                    lambda: self._prepare(plan, began_s),
                    delay_s=RETRY_ROOM_S,
                    is_retry=True,
                )
                return
        except ClosingError:
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
        self._shelf.release_unheld()

    def _load(self, plan: Plan, began_s: float) -> bool:
        """Load a plan's segments; False where there is no room before others have drained, which will not take long."""
        whole = self._fetch(plan.model)
        try:
            self._shelf.load(plan, whole)
            read_here = {hop.codec for hop in route(plan) if hop.node == self._settings.node and not hop.relays}
            if read_here & IMAGE_CODECS:
                self._forms.of(plan.model.sha256)  # read now, and not when the first image is there
            if "jpeg" in read_here:
                get_ready()
        except NoRoomError:
            if time.monotonic() - began_s > LONGEST_WAIT_FOR_ROOM_S or not self._shelf.drains_enough(plan, whole):
                raise
            return False
        self._cache.prune(round(self._settings.cache_mb * 1e6), keep=self._shelf.models_held)
        return True

    def _load_fallback(self, plan: Plan) -> None:
        try:
            self._shelf.load_fallback(plan, self._fetch(plan.model))
        except ClosingError:
            raise
        except Exception as error:
            # A fallback is a reserve: without it a request waits for another plan.
            log.warning("%s has no fallback here: %s", plan.deployment, _reason(error))

    def _profile(self, notice: DeploymentNotice, retry_s: float) -> None:
        model = notice.model
        if model.sha256 in self._profiled_models:
            return
        try:
            measured = self._measure(model)
        except ClosingError:
            raise
        except Exception as error:
            # As above; and what cannot be fetched now may be there soon.
            reason = _reason(error)
            log.warning("%s cannot be profiled, trying again in %.0f s: %s", model.name, retry_s, reason)
            self._unprofiled(ProfileFailure(node=self._settings.node, model=model.sha256, reason=reason[:2_000]))
            self._jobs.add(
                (PROFILES, model.sha256),
                PROFILES,
                lambda: self._profile(notice, min(2 * retry_s, LONGEST_RETRY_S)),
                delay_s=retry_s,
                is_retry=True,
            )
            return
        if len(self._profiled_models) >= MODELS_KNOWN:
            self._profiled_models.clear()
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
                at=measured.at,
                codecs=stretched_speeds(
                    kept_codec_speeds(self._settings.cache / "profiles"), emulation.compute_factor if emulation else 1.0
                ),
            )
        )

    def _measure(self, model: ModelReference) -> MeasuredProfile:
        kept = self._kept_profile(model.sha256)
        if kept is not None:
            log.info("%s: profile taken from the cache", model.name)
            self._jobs.add((PACKING, model.sha256), PACKING, lambda: self._pack(model))
            return kept
        path = self._fetch(model)
        self._pack(model)
        log.info("%s: profiling %d ops", model.name, model.ops)
        measured = profile_model(
            path,
            threads=self._threads,
            by_cpu_time=self._by_cpu_time,
            packed=self._shelf.packed(model.sha256),
            scratch=self._settings.cache,
            progress=self._go_on,
        )
        self._profiles.save(model.sha256, self._threads, self._by_cpu_time, measured)
        log.info("%s: %.2f ms unsplit (± %.2f)", model.name, measured.unsplit_ms, measured.unsplit_ms_std)
        if measured.thread_ms:
            words = ", ".join(f"{time.threads}: {time.unsplit_ms:.2f} ms" for time in measured.thread_ms)
            log.info("%s: %d thread(s) of %s", model.name, measured.threads, words)
        return measured

    @property
    def _by_cpu_time(self) -> bool:
        # A profile tells of the unloaded machine, and CPU time leaves out what others take; it is one thread's.
        return self._threads in (1, "auto")

    def _kept_profile(self, model: str) -> MeasuredProfile | None:
        return self._profiles.load(model, self._threads, self._by_cpu_time)

    def _threads_of(self, key: SegmentKey) -> int:
        if self._threads != "auto":
            return self._threads
        profile = self._kept_profile(key.model)
        if profile is None:
            return 1
        return segment_threads(profile.threads, profile.op_ms, profile.single_op_ms, key.start, key.stop)

    def _pack(self, model: ModelReference) -> None:
        try:
            self._shelf.pack(model.sha256, lambda: self._fetch(model))
        except (ModelError, OSError) as error:
            # Each segment then has weights of its own.
            log.warning("%s: its segments cannot share their weights: %s", model.name, _reason(error))

    def _fetch(self, model: ModelReference) -> Path:
        # A coordinator that took over has the model too, and the one that made the plan may be gone.
        notice = self._notices.get(model.sha256)
        url = notice.model.url if notice is not None else model.url
        return fetch_model(url, model.sha256, model.size_bytes, self._cache, progress=self._go_on, access=self._access)

    def _go_on(self, done: int, total: int) -> None:  # noqa: ARG002  # the callers' progress, of which only the call counts
        self._jobs.go_on()


def _reason(error: Exception) -> str:
    """Our own errors are sentences; of others the kind tells more than the words."""
    return str(error) if isinstance(error, SplitrailError) else f"{type(error).__name__}: {error}"


def _remember(notices: dict[str, DeploymentNotice], notice: DeploymentNotice) -> None:
    """Keep the notice of the latest leader for its model, of the models that were told of last."""
    known = notices.pop(notice.model.sha256, None)
    if len(notices) >= MODELS_KNOWN:
        del notices[next(iter(notices))]
    notices[notice.model.sha256] = known if known is not None and known.term > notice.term else notice
