"""One coordinator's part in the election of a site's leader: hears the topic `leader`, speaks on it, keeps the term.

Who leads is decided in `coordinator.leadership`; what a leader does is the service's.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from broker.messages import Leader
from broker.session import Incoming, Session
from broker.topics import LEADER
from coordinator.leadership import Candidate, Connected, Event, Heard, Leadership, Stop, TermSeen, Tick, apply

TICK_S: Final = 0.1

log = logging.getLogger("splitrail.coordinator")


class Election:
    """Takes part as soon as it is started, on a thread of its own, so that a long search for plans costs no lease.

    Register it before anything that is to be heard after the leader. `keep` gets each higher term before it is spoken
    of; it must not raise. Every method may be called from any thread.
    """

    def __init__(self, session: Session, own: Candidate, *, term: int, keep: Callable[[int], object]) -> None:
        self._session = session
        self._keep = keep
        self._lock = threading.Lock()
        self._known = Leadership(own, term=term)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="splitrail-election", daemon=True)
        session.on(LEADER, self._hear)
        session.on_connected(lambda: self._fold(Connected(time.monotonic())))

    @property
    def known(self) -> Leadership:
        """What is known of the leadership; a frozen value."""
        return self._known

    @property
    def term(self) -> int | None:
        """The term under which we may publish now; None while another leads, or nobody is known to."""
        known = self._known
        return known.claimed if known.leads_at(time.monotonic()) and self._session.connected else None

    def see(self, term: int) -> None:
        """A plan or a notice of this term has been heard."""
        if term > self._known.term:
            self._fold(TermSeen(term, time.monotonic()))

    def start(self) -> None:
        """Begin to speak; what is heard counts before that already."""
        self._thread.start()

    def close(self) -> None:
        """Release the lead, if it is ours, so that nobody waits for the lease."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._fold(Stop())

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self._fold(Tick(time.monotonic(), self._session.connected))

    def _hear(self, incoming: Incoming[Leader]) -> None:
        self._fold(Heard(incoming.message, incoming.retained, time.monotonic()))

    def _fold(self, event: Event) -> None:
        with self._lock:
            before = self._known
            self._known, messages = apply(event, before)
            if self._known.term > before.term:
                self._keep(self._known.term)
            for message in messages:
                self._session.publish(LEADER, message)
        _tell(before, self._known)


def _tell(before: Leadership, after: Leadership) -> None:
    """Say in the log where the lead goes, unless it is ours from the start, as at most sites it always is."""
    another, former = _another(after), _another(before)
    if another is not None and (former is None or former.session != another.session):
        log.warning("%s leads the site under term %d: standing by", another.coordinator, after.term)
    elif after.leads and not before.leads and former is not None:
        log.warning("leading the site under term %d, after %s", after.claimed, former.coordinator)


def _another(known: Leadership) -> Leader | None:
    """Who leads, or led until now, where that is neither we nor the run before us."""
    leader = known.leader
    return None if leader is None or leader.session in (known.own.session, known.own.predecessor) else leader
