"""The coordinator's shell: messages become events, the state follows them, and the leader publishes what it decides.

State, decisions, what is published of them, leadership, telemetry and HTTP are each their own module; this one only
joins them.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from broker.messages import DeploymentNotice, NodeStatus, Plan, TelemetryStored
from broker.presence import new_session_id
from broker.session import Session
from broker.topics import STORED
from coordinator.clocks import clock_news, words_of
from coordinator.configuration import CoordinatorSettings, LeadershipSettings
from coordinator.confirmations import Confirmations
from coordinator.declaring import declare
from coordinator.election import Election
from coordinator.errors import DeclarationError
from coordinator.home_assistant_hub import HomeAssistantHub
from coordinator.http_server import HttpServer, application
from coordinator.http_tokens import Tokens
from coordinator.leadership import Candidate
from coordinator.membership import presumed_dead
from coordinator.metrics import Moment, figures
from coordinator.publishing import Publisher, with_books_kept
from coordinator.readiness import unreadiness
from coordinator.reception import Reception
from coordinator.site import EMPTY, State
from coordinator.snapshot import snapshot_of
from coordinator.state import Connected, DeploymentDeclared, Received, Restored, apply, apply_all
from coordinator.status_report import RECENT_S, LeadershipReport, StatusReport, leadership_report, status_report
from coordinator.store_snapshot import Office, SnapshotStore
from coordinator.tally import Tally
from coordinator.telemetry.opening import open_store
from coordinator.telemetry.point_time import arrival_of_kept
from coordinator.telemetry.store import StoredUpTo
from models.cache import ModelCache
from splitrail.metric_families import Exposition
from splitrail.standstill import standstill

SNAPSHOT_S = 3.0
"""Time between two snapshots, unless a plan is published: it is kept first."""
_ANYWHERE = ("0.0.0.0", "::")  # compared with, never bound to

log = logging.getLogger("splitrail.coordinator")


class Coordinator:
    """Runs one site: `with Coordinator(settings, on_change) as coordinator: coordinator.run(stop)`.

    Where another coordinator leads the site it follows, stores and answers for its status, and publishes nothing.
    `on_change(before, after)` is called on the running thread whenever the state has changed. Entering raises
    ConnectionFailedError, ModelError, StoreError, ListenError or DeclarationError, and leaves nothing open then.
    """

    def __init__(
        self,
        settings: CoordinatorSettings,
        on_change: Callable[[State, State], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._state = EMPTY
        self._term: int | None = None
        self._untaken = 0
        self._kept = EMPTY
        self._kept_at = time.monotonic()
        self._turned_at: float | None = None
        self._confirmations = Confirmations(self._tell_stored)
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._open(opened)
            self._exit = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        """The base URL of the HTTP interface, with the port that was taken."""
        return self._http.url

    @property
    def state(self) -> State:
        """The state as of now; a frozen value."""
        return self._state

    def run(self, stop: threading.Event) -> None:
        """Follow the site until `stop` is set, and lead it while nobody else does."""
        while not stop.is_set():
            self._turned_at = time.monotonic()
            before = self._state
            events = self._reception.next_events()
            self._take(events)
            now = self._clock()
            self._take([Received(death, now) for death in presumed_dead(self._state, now)])
            self._confirm()
            term = self._term_after(len(events))
            if term is not None:
                self._state = self._publisher.act(term, self._state, now)
                self._hub.follow(self._state)
            elif self._election.known.stands_by_at(time.monotonic()):
                self._state = with_books_kept(self._state, now, self._settings.planning)
            if time.monotonic() - self._kept_at > SNAPSHOT_S:
                self._remember()
            if self._state is not before:
                self._tell_clocks(before, now)
                self._on_change(before, self._state)

    def status(self) -> StatusReport:
        """The site's report; may be called from any thread."""
        now = self._clock()
        state = self._state
        power = self._store.summarise_power(now - RECENT_S)
        inferences = {name: self._store.summarise_inferences(name, now - RECENT_S) for name in state.deployments}
        store = self._store.report()  # last, since it says whether the store has just answered
        return status_report(
            self._settings.site,
            state,
            now=now,
            power=power,
            inferences=inferences,
            lost_telemetry=store.lost + self._reception.lost,
            leadership=self._leadership(),
            store=store,
        )

    def standstill(self) -> str | None:
        """Why this coordinator has to be started again; None while it runs. May be called from any thread."""
        return standstill("coordinator", self._turned_at, time.monotonic())

    def unreadiness(self) -> str | None:
        """Why this coordinator cannot do its work now; None while it can. May be called from any thread."""
        return unreadiness(connected=self._session.connected, store=self._store.report(), leadership=self._leadership())

    def _moment(self, tally: Tally) -> Moment:
        return Moment(
            site=self._settings.site,
            now=self._clock(),
            state=self._state,
            counts=tally.counts(),
            store=self._store.report(),
            lost_events=self._reception.lost,
            connected=self._session.connected,
            dropped=self._session.dropped,
            leadership=self._leadership(),
        )

    def _leadership(self) -> LeadershipReport:
        return leadership_report(self._election.known, time.monotonic(), leads=self._election.term is not None)

    def _open(self, opened: ExitStack) -> None:
        settings = self._settings
        _check_lease(settings.leadership)
        self._http = HttpServer(settings.http)
        opened.callback(self._http.close)
        declarations = declare(settings.deployments, ModelCache(settings.cache), self._base_url())
        self._store = open_store(settings)
        opened.callback(self._store.close)
        self._memory = SnapshotStore(settings.store)
        opened.callback(self._memory.close)
        opened.callback(self._remember)
        for deployment in declarations.deployments:
            self._state = apply(DeploymentDeclared(deployment, self._store.last_epoch(deployment.name)), self._state)
        snapshot = self._memory.snapshot()
        if snapshot is not None:
            self._state = apply(Restored(snapshot), self._state)
        # An id of each run's own: of two clients with one id the broker always cuts off the other.
        client_id = f"coordinator-{settings.name}-{new_session_id()}"
        self._session = Session(settings.broker, site=settings.site, client_id=client_id)
        opened.callback(self._session.close)
        self._publisher = Publisher(self._session, settings.planning, self._adopt)
        self._election = self._stand()
        self._store.on_stored(self._acknowledge)
        self._reception = Reception(
            self._session, self._store, clock=self._clock, on_term=self._election.see, on_notice=self._hear_notice
        )
        tally = Tally(self._state.deployments)
        tally.listen(self._session, self._clock)
        metrics = Exposition(lambda: figures(self._moment(tally)))
        members = None if settings.http.tokens_file is None else Tokens(settings.http.tokens_file)
        self._hub = HomeAssistantHub(
            self._session,
            settings.site,
            settings.home_assistant,
            members=lambda: None if members is None else members.names(),
            readings=lambda: [heard.reading for heard in tally.counts().readings if heard.is_fresh(self._clock())],
        )
        self._http.start(
            application(
                declarations.files,
                self.status,
                metrics=metrics.text,
                standstill=self.standstill,
                unreadiness=self.unreadiness,
            )
        )
        self._session.start()
        opened.callback(self._election.close)
        self._election.start()

    def _stand(self) -> Election:
        settings, before, session_id = self._settings, self._memory.office(), new_session_id()
        own = Candidate(
            coordinator=settings.name,
            session=session_id,
            url=self._base_url(),
            heartbeat_s=settings.leadership.heartbeat_s,
            lease_s=settings.leadership.lease_s,
            jitter=random.random(),
            predecessor=before.session,
        )
        return Election(
            self._session,
            own,
            term=before.term,
            keep=lambda term: self._memory.save_office(Office(term=term, session=session_id)),
        )

    def _base_url(self) -> str:
        http = self._settings.http
        if http.advertise is not None:
            return http.advertise
        if http.host in _ANYWHERE:
            raise DeclarationError(
                f"http.host {http.host} listens on every interface, so agents cannot guess the address: "
                "give http.advertise, for instance http://192.168.1.10:8484"
            )
        return self._http.url

    def _hear_notice(self, notice: DeploymentNotice) -> None:
        self._publisher.correct_notice(notice, self._state)

    def _acknowledge(self, stored: tuple[StoredUpTo, ...]) -> None:
        self._confirmations.note(stored)
        self._confirm()

    def _confirm(self) -> None:
        """Tell the nodes that are due up to where their telemetry is stored; for any thread."""
        if self._election.term is None or not self._session.connected:
            self._confirmations.forget()  # a node that is not told sends again, and is told then
        else:
            self._confirmations.tell_due()

    def _tell_stored(self, stored: StoredUpTo) -> bool:
        term = self._election.term
        message = TelemetryStored(node=stored.node, session=stored.session, sequence=stored.sequence, term=term or 0)
        return self._session.publish(STORED, message, stored.node)

    def _take(self, events: Sequence[Received | Connected]) -> None:
        self._state = apply_all(events, self._state)
        for event in events:
            match event:
                case Connected():
                    self._publisher.forget_office()
                case Received(NodeStatus() as status, at, retained):
                    self._store.record(status, arrival_of_kept(status, at) if retained else at)
                case Received(Plan() as plan, at):
                    self._store.record(plan, at)
                    self._publisher.correct_plan(plan, self._state)

    def _tell_clocks(self, before: State, now: float) -> None:
        """Warn of nodes whose clocks have gone wrong or right, and record it."""
        clocks = {name: node.clock for name, node in self._state.nodes.items()}
        for skew in clock_news({name: node.clock for name, node in before.nodes.items()}, clocks):
            log.warning("%s", words_of(skew))
            self._store.record(skew, now)

    def _term_after(self, taken: int) -> int | None:
        """The term to act under, once all has been taken that came before it did; `taken` events were just now."""
        term = self._election.term
        if term != self._term:
            # Our own claim came back after all that the broker had kept for us, which may still be in the queue.
            self._term, self._untaken = term, self._reception.waiting
            self._publisher.forget_office()
        else:
            self._untaken = max(0, self._untaken - taken)
        return None if self._untaken else term

    def _adopt(self, state: State) -> None:
        """Take over the state with a plan that is about to be published, and keep it first."""
        self._state = state
        self._remember()

    def _remember(self) -> None:
        self._kept_at = time.monotonic()
        if self._state is not self._kept and self._memory.save(snapshot_of(self._state)):
            self._kept = self._state


def _check_lease(leadership: LeadershipSettings) -> None:
    """DeclarationError where one sign of life that comes late would cost the lead."""
    if leadership.lease_s < 2.0 * leadership.heartbeat_s:
        raise DeclarationError(
            f"leadership.lease_s is {leadership.lease_s:g}, it must be at least twice leadership.heartbeat_s "
            f"({leadership.heartbeat_s:g})"
        )
