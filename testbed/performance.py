"""One run of the demo on a running continuum: waits for the plans, lets link and requests run, tells what happens."""

import queue
import threading
import time
from typing import Any

import msgspec

from broker.messages import NodeStatus, Plan, PlanReady
from broker.session import Incoming, Session
from broker.topics import LINK, PLAN, PROFILE, READY, STATUS
from testbed.comparison import Sample
from testbed.continuum import Continuum
from testbed.errors import DemoError
from testbed.machines import UPLINK_SHARE, link_shapes
from testbed.scene import Event, Scene, apply
from testbed.screen import Cast, Screen, plan_line, plan_words, profile_table
from testbed.workload import round_robin

READY_TIMEOUT_S = 90.0
TICK_S = 0.2
CLEAR_CHANGE = 2.0
MOST_LOST_TOLD = 5


class PlanChange(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that came into force `at_s` seconds into the run (null: before it); `stages` in words."""

    at_s: float | None
    deployment: str
    epoch: int
    stages: str
    reason: str


class Performance:
    """What comes in by MQTT and from the requests goes through one queue to the thread that folds and shows it."""

    def __init__(self, continuum: Continuum, screen: Screen, cast: Cast, kinds: tuple[str, ...]) -> None:
        self._continuum = continuum
        self._screen = screen
        self._cast = cast
        self._kinds = kinds
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._start_s: float | None = None
        self._told_mbps = cast.trace.mbps_at(0.0)
        self._lost = 0
        self.scene = Scene()
        self.plan_changes: tuple[PlanChange, ...] = ()

    def watch(self, session: Session) -> None:
        """Hear everything that a viewer may want to know."""
        session.on(STATUS, self._hear)
        session.on(PROFILE, self._hear)
        session.on(LINK, self._hear)
        session.on(PLAN, self._hear)
        session.on(READY, self._hear)

    def wait_until_ready(self) -> None:
        """Show profiles and first plans as they come; return when every strategy's plan is ready on its nodes."""
        with self._screen.step("the agents fetch the model, profile its ops and probe their links"):
            deadline_s = time.monotonic() + READY_TIMEOUT_S
            while not all(self.scene.is_ready(name) for name in self._cast.strategies):
                self._continuum.check()
                if time.monotonic() > deadline_s:
                    raise DemoError(self._what_is_missing())
                self._catch_up()
                self._take_events()
        profiles = [self.scene.profiles[node] for node in self._cast.nodes if node in self.scene.profiles]
        self._screen.show(profile_table(profiles, self._kinds))
        self._screen.say("first plans, ops along the strip, with the latency that the cost model predicts:")
        for name in self._cast.strategies:
            self._show_plan(self.scene.plans[name])

    def run(self, session: Session, images: tuple[bytes, ...]) -> None:
        """Let the trace and the requests run, and the picture with them."""
        cast = self._cast
        near, far = cast.link
        self._screen.say(
            f"{cast.duration_s:.0f} s of requests, each image to {', '.join(cast.strategies)} in turn; the link "
            f"{near} - {far} follows {cast.trace.label}, that to the cloud the same x{UPLINK_SHARE:g}"
        )
        for shape in link_shapes(cast.trace):
            self._continuum.links.set_link(shape.src, shape.dst, trace=shape.trace)
        self._start_s = time.monotonic()
        faults: list[BaseException] = []
        worker = threading.Thread(target=self._request, args=(session, images, faults), name="workload", daemon=True)
        worker.start()
        with self._screen.moving():
            while worker.is_alive():
                self._continuum.check()
                self._take_events()
                if self._lost == len(self.scene.samples) >= len(cast.strategies):
                    raise DemoError(f"no request is answered: {self.scene.samples[0].error}")
                self._tell_of_link(self._now_s())
                self._screen.update(cast, self.scene, self._now_s())
        self._take_events()
        if faults:
            raise faults[0]

    def _hear(self, incoming: Incoming[Any]) -> None:
        self._events.put(incoming.message)

    def _catch_up(self) -> None:
        """Ask the coordinator who is ready: nodes report it once, perhaps before our session was there."""
        for deployment in self._continuum.status().deployments:
            if deployment.plan is not None:
                epoch = deployment.plan.epoch
                for node in deployment.plan.ready:
                    self._events.put(PlanReady(deployment=deployment.name, epoch=epoch, node=node, ready=True))

    def _request(self, session: Session, images: tuple[bytes, ...], faults: list[BaseException]) -> None:
        src, dst = self._cast.link
        try:
            for sample in round_robin(
                session,
                self._cast.strategies,
                images,
                duration_s=self._cast.duration_s,
                mbps_now=lambda: self._continuum.links.mbps_now(src, dst),
            ):
                self._events.put(sample)
        except Exception as fault:  # raised again on the thread that waits for this one
            faults.append(fault)

    def _now_s(self) -> float:
        return time.monotonic() - self._start_s if self._start_s is not None else 0.0

    def _take_events(self) -> None:
        """Fold and tell of all that has come, after waiting up to a tick for the first of it."""
        timeout_s = TICK_S
        while True:
            try:
                event = self._events.get(timeout=timeout_s)
            except queue.Empty:
                return
            before, self.scene = self.scene, apply(event, self.scene)
            self._tell(event, before)
            timeout_s = 0.0

    def _tell(self, event: Event, before: Scene) -> None:
        match event:
            case NodeStatus(state="offline") if event.node in before.online:
                self._screen.say(f"{event.node} is gone")
            case Plan() if self.scene.plans.get(event.deployment) is event:
                self._record(event)
                if self._start_s is not None:
                    self._screen.say(f"{event.deployment} moves to {plan_words(event)}: {event.reason}")
                    self._show_plan(event)
            case Sample(error=str() as error):
                self._lost += 1
                if self._lost <= MOST_LOST_TOLD:
                    self._screen.say(f"a request of {event.strategy} was lost: {error}")

    def _show_plan(self, plan: Plan) -> None:
        self._screen.show(plan_line(self._cast, plan, self._screen.console.width))

    def _record(self, plan: Plan) -> None:
        change = PlanChange(
            at_s=None if self._start_s is None else round(self._now_s(), 3),
            deployment=plan.deployment,
            epoch=plan.epoch,
            stages=plan_words(plan),
            reason=plan.reason,
        )
        self.plan_changes = (*self.plan_changes, change)

    def _tell_of_link(self, now_s: float) -> None:
        """Say when the ordered rate has at least halved or doubled since it was last told."""
        mbps = self._cast.trace.mbps_at(now_s)
        if max(mbps, self._told_mbps) >= CLEAR_CHANGE * min(mbps, self._told_mbps):
            verb = "drops" if mbps < self._told_mbps else "recovers"
            src, dst = self._cast.link
            self._screen.say(f"the link {src} - {dst} {verb} from {self._told_mbps:.3g} to {mbps:.3g} Mbit/s")
            self._told_mbps = mbps

    def _what_is_missing(self) -> str:
        missing = []
        for name in self._cast.strategies:
            if name not in self.scene.plans:
                missing.append(f"{name} has no plan")
            elif not self.scene.is_ready(name):
                missing.append(f"{name}'s plan is not ready ({self.scene.refusals.get(name, 'a node still loads it')})")
        return f"after {READY_TIMEOUT_S:g} s {', '.join(missing)} (logs: {self._continuum.log('coordinator').parent})"
