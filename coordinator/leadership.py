"""Which coordinator of a site leads, as a pure state machine over what is heard on the topic `leader`.

Times are in s of a monotonic clock and come as arguments; sending and ticking are `coordinator.election`'s.
"""

import math
from dataclasses import dataclass, replace

from broker.messages import Leader

LONGEST_TERM_STEP = 2**20
"""No site has as many leaders unheard; one that claims more would leave no term for the next one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One run of a coordinator, and how it times itself."""

    coordinator: str
    session: str
    url: str
    heartbeat_s: float
    lease_s: float
    jitter: float
    """From 0 to 1, drawn for each run: those who wait for the same lease do not claim at the same moment."""
    predecessor: str | None = None
    """The session of the run before on this store, which is surely over; its term need not run out."""

    @property
    def listen_s(self) -> float:
        """How long what the broker has kept, or has queued while we slept, may take to arrive."""
        return self.heartbeat_s / 4.0

    def says(self, term: int, *, leading: bool = True) -> Leader:
        """Our message of a term."""
        return Leader(
            coordinator=self.coordinator,
            session=self.session,
            term=term,
            state="leading" if leading else "released",
            url=self.url,
        )


@dataclass(frozen=True, slots=True)
class Leadership:
    """What one coordinator knows of the leadership: the highest term, and its own part in it.

    The broker's order decides: of all that claim a term, the one whose message comes first leads under it.
    """

    own: Candidate
    term: int = 0
    """The highest that was heard of, kept over restarts."""
    leader: Leader | None = None
    """Who leads under that term, as far as we have heard."""
    heard_at: float = -math.inf
    claimed: int = 0
    """The term that we have claimed and not lost; 0 for none."""
    leads: bool = False
    """Whether our claim came back before any other of its term."""
    confirmed_at: float = -math.inf
    """When the newest of our messages that came back was sent."""
    sent_at: float | None = None
    """When the oldest was sent that has not come back."""
    due_at: float = math.inf
    """When we send next: a sign of life, or a claim if nobody leads until then."""
    ticked_at: float = -math.inf
    rival: str | None = None
    """A session that has said once that it leads under the term that we lead under."""

    def leads_at(self, now: float) -> bool:
        """Whether plans may be published: we lead, and have heard ourselves within the lease."""
        return self.leads and now - self.confirmed_at < self.own.lease_s

    def stands_by_at(self, now: float) -> bool:
        """Whether another is known to lead, and was heard within the lease."""
        leader = self.leader
        is_another = leader is not None and leader.state == "leading" and leader.session != self.own.session
        return is_another and now - self.heard_at < self.own.lease_s


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker was reached, and what it has kept is on its way to us."""

    at: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A message on the topic `leader`; `retained` if the broker had kept it."""

    message: Leader
    retained: bool
    at: float


@dataclass(frozen=True, slots=True)
class TermSeen:
    """A plan, a notice or a birth of this term was heard."""

    term: int
    at: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; nothing is sent while the broker is away."""

    at: float
    connected: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """The run ends."""


Event = Connected | Heard | TermSeen | Tick | Stop
Step = tuple[Leadership, tuple[Leader, ...]]


def apply(event: Event, known: Leadership) -> Step:
    """What is known after `event`, and what is to be published now."""
    match event:
        case Connected(at):
            return _connected(at, known), ()
        case Heard(message, retained, at) if message.session == known.own.session:
            return _heard_ourselves(message, at, known, retained=retained), ()
        case Heard(message, retained, at):
            return _heard_another(message, at, known, retained=retained), ()
        case TermSeen(term, at):
            believed = known.term < term <= known.term + LONGEST_TERM_STEP
            return (_succeeded(term, None, at, known) if believed else known), ()
        case Tick(at, connected):
            return _tick(at, known, connected=connected)
        case Stop():
            released = (known.own.says(known.claimed, leading=False),) if known.claimed else ()
            return replace(known, claimed=0, leads=False, due_at=math.inf), released


def _connected(at: float, known: Leadership) -> Leadership:
    # What was claimed before may never have arrived, and who leads may have changed: listen before speaking again.
    wait_s = known.own.listen_s
    if not known.leads and known.leader is not None and known.leader.session != known.own.session:
        wait_s = _lease_s(known)
    claimed = known.claimed if known.leads else 0
    return replace(known, claimed=claimed, confirmed_at=-math.inf, sent_at=None, due_at=at + wait_s)


def _heard_ourselves(message: Leader, at: float, known: Leadership, *, retained: bool) -> Leadership:
    if message.term > known.term:
        # A claim that we had given up when the connection broke, and that arrived after all.
        return replace(known, term=message.term, claimed=0, leads=False)
    if retained or message.state == "released" or message.term != known.claimed or known.sent_at is None:
        return known
    return replace(
        known,
        leads=True,
        leader=message,
        heard_at=at,
        confirmed_at=known.sent_at,
        sent_at=None,
        due_at=max(at, known.sent_at + known.own.heartbeat_s),
    )


def _heard_another(message: Leader, at: float, known: Leadership, *, retained: bool) -> Leadership:
    if message.term < known.term:
        # It was succeeded and does not know it yet; who comes later must not find it retained.
        return replace(known, due_at=min(known.due_at, at)) if known.leads else known
    if message.term == known.term and known.leads:
        if retained or message.state == "released":
            return replace(known, due_at=min(known.due_at, at))
        if known.rival == message.session:
            # It repeats itself, so it leads under this term too, which a broker that forgot can lead to.
            return replace(known, claimed=0, leads=False, rival=None, due_at=at + known.own.listen_s * known.own.jitter)
        return replace(known, rival=message.session, due_at=min(known.due_at, at))
    return _succeeded(message.term, message, at, known)


def _succeeded(term: int, message: Leader | None, at: float, known: Leadership) -> Leadership:
    """The knowledge after a term that is not ours was heard of; we stand by from then on."""
    if message is None:
        wait_s = _lease_s(known)
    elif message.session == known.own.predecessor:
        wait_s = 0.0
    elif message.state == "released":
        wait_s = known.own.listen_s * known.own.jitter
    else:
        wait_s = _lease_s(known)
    due_at = at + wait_s
    if message is None and not known.claimed:
        due_at = known.due_at
    return replace(
        known, term=term, leader=message, heard_at=at, claimed=0, leads=False, sent_at=None, rival=None, due_at=due_at
    )


def _lease_s(known: Leadership) -> float:
    return known.own.lease_s * (1.0 + known.own.jitter / 2.0)


def _tick(at: float, known: Leadership, *, connected: bool) -> Step:
    own, due_at = known.own, known.due_at
    if at - known.ticked_at > own.heartbeat_s and math.isfinite(known.ticked_at):
        # We were stopped for a while: what came meanwhile is heard first.
        due_at = max(due_at, at + own.listen_s)
    known = replace(known, ticked_at=at, due_at=due_at)
    if not connected or at < due_at:
        return known, ()
    term = known.claimed or known.term + 1
    sent_at = at if known.sent_at is None else known.sent_at
    known = replace(known, term=term, claimed=term, sent_at=sent_at, due_at=at + own.heartbeat_s)
    return known, (own.says(term),)
