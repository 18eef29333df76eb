"""When a spool sends what: news at once, the backlog in order while a coordinator leads, and again what was not heard.

Pure: events change a frozen state, which says what to send next. The file is `edge_agent.spool`'s.
"""

from dataclasses import dataclass, replace

from broker.messages import Leader

WINDOW = 512
"""How many messages of a backlog may be under way: a batch of the store, and a little more. News is sent beyond it."""
MAX_BATCH = 16
PATIENCE_S = 5.0
"""What a leader has not confirmed for so long is sent again; with every time in vain after twice as long."""
LONGEST_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Held:
    """The numbers of one run of the agent that a spool holds."""

    session: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Run:
    """What the spool holds of one run of the agent: the numbers from `first` to `last`, none missing.

    Those below `unsent` were sent since it was last begun anew; an empty run has `first` = `last` + 1.
    """

    session: str
    first: int
    last: int
    unsent: int
    since_s: float = 0.0
    """When something of it was last confirmed, begun anew, or first under way."""
    tried: int = 0
    """How often it was begun anew since something of it was confirmed."""

    @property
    def held(self) -> int:
        """How many messages it holds."""
        return self.last - self.first + 1

    @property
    def under_way(self) -> int:
        """How many of them were sent and not confirmed."""
        return self.unsent - self.first


@dataclass(frozen=True, slots=True)
class Opened:
    """The spool was opened, for the first time or again, and holds these runs, the oldest first."""

    held: tuple[Held, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """The spool took so many more of the current run at `at_s`, and the first `sent` of them were sent as news."""

    count: int
    sent: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A coordinator has stored a run up to a number."""

    session: str
    sequence: int
    term: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """The spool no longer holds a run up to a number, though nobody confirmed it."""

    session: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What was next of a run has been sent, up to a number."""

    session: str
    sequence: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker was reached, for the first time or again: what was under way may be lost, and who leads is unknown."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The broker is gone."""


@dataclass(frozen=True, slots=True)
class Led:
    """A coordinator leads, or no longer does."""

    leader: Leader
    at_s: float


@dataclass(frozen=True, slots=True)
class Elapsed:
    """It is now `at_s`."""

    at_s: float


Event = Opened | Recorded | Confirmed | Dropped | Sent | Connected | Disconnected | Led | Elapsed


@dataclass(frozen=True, slots=True)
class Batch:
    """What to send next: the numbers from `first` to `last` of a run."""

    session: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Spooling:
    """What is held and how far it was sent. Times are of the node's monotonic clock, in s."""

    runs: tuple[Run, ...]
    """The earlier runs that hold something, the oldest first; then the current one, empty or not."""
    news_from: int
    """From this number on, the current run was sent as news already, ahead of the backlog below."""
    connected: bool = False
    leader: str | None = None
    """The session of the coordinator that leads, as far as is known."""
    term: int = 0

    @property
    def current(self) -> Run:
        """The run that goes on."""
        return self.runs[-1]

    @property
    def held(self) -> int:
        """How many messages wait to be confirmed."""
        return sum(run.held for run in self.runs)

    @property
    def has_unsent(self) -> bool:
        """Whether there is a backlog that was not sent since it was begun anew."""
        return any(_sendable_to(self, run) >= run.unsent for run in self.runs)

    @property
    def next_sequence(self) -> int:
        """The number of the next message."""
        return self.current.last + 1


def begun(session: str) -> Spooling:
    """The state of a run that has neither opened its spool nor connected yet."""
    return Spooling((Run(session, 1, 0, 1),), news_from=1)


def apply(event: Event, state: Spooling) -> Spooling:  # noqa: PLR0911  # one line for each kind
    """The state after an event."""
    match event:
        case Opened(held, at_s):
            return _opened(state, held, at_s)
        case Recorded(count, sent, at_s):
            return _recorded(state, count, sent, at_s)
        case Confirmed(session, sequence, term, at_s):
            return _confirmed(state, session, sequence, term, at_s)
        case Dropped(session, sequence):
            return _without(state, session, sequence)
        case Sent(session, sequence, at_s):
            return _sent(state, session, sequence, at_s)
        case Connected(at_s):
            # After a restart of the broker it may be there before the coordinator is, who says so when it comes.
            return _begun_anew(replace(state, connected=True, leader=None), at_s)
        case Disconnected():
            return replace(state, connected=False)
        case Led(leader, at_s):
            return _led(state, leader, at_s)
        case Elapsed(at_s):
            return _elapsed(state, at_s)


def next_batch(state: Spooling) -> Batch | None:
    """What of the backlog is to be sent now; None where nothing is, or nobody would confirm it."""
    room = WINDOW - sum(run.under_way for run in state.runs)
    if not state.connected or state.leader is None or room <= 0:
        return None
    for run in state.runs:
        last = min(_sendable_to(state, run), run.unsent + min(room, MAX_BATCH) - 1)
        if run.unsent <= last:
            return Batch(run.session, run.unsent, last)
    return None


def patience_s(tried: int) -> float:
    """How long to wait for a confirmation, after so many times in vain."""
    return min(LONGEST_PATIENCE_S, PATIENCE_S * 2.0 ** min(tried, 10))


def _sendable_to(state: Spooling, run: Run) -> int:
    """The last number of a run that counts as backlog."""
    return state.news_from - 1 if run is state.current else run.last


def _opened(state: Spooling, held: tuple[Held, ...], at_s: float) -> Spooling:
    session, end = state.current.session, state.next_sequence
    earlier = tuple(Run(each.session, each.first, each.last, each.first) for each in held if each.session != session)
    first = next((each.first for each in held if each.session == session), end)
    current = Run(session, first, end - 1, first)
    return _begun_anew(replace(state, runs=(*earlier, current)), at_s)


def _recorded(state: Spooling, count: int, sent: int, at_s: float) -> Spooling:
    current, news_from = state.current, state.news_from
    last = current.last + count
    unsent, since_s = current.unsent, current.since_s if current.under_way else at_s
    if unsent == current.last + 1:
        unsent, news_from = unsent + sent, last + 1
    elif sent < count:
        # Beyond a backlog, news that could not be sent makes backlog of what was sent since: it is sent once more.
        news_from = last + 1
    current = replace(current, last=last, unsent=unsent, since_s=since_s)
    return replace(state, runs=(*state.runs[:-1], current), news_from=news_from)


def _sent(state: Spooling, session: str, sequence: int, at_s: float) -> Spooling:
    runs = tuple(
        replace(run, unsent=sequence + 1, since_s=run.since_s if run.under_way else at_s)
        if run.session == session
        else run
        for run in state.runs
    )
    return _settled(replace(state, runs=runs))


def _confirmed(state: Spooling, session: str, sequence: int, term: int, at_s: float) -> Spooling:
    after = _without(state, session, sequence)
    if term < state.term or after is state:
        return state
    runs = tuple(replace(run, since_s=at_s, tried=0) if run.session == session else run for run in after.runs)
    return replace(after, runs=runs)


def _without(state: Spooling, session: str, sequence: int) -> Spooling:
    """The state without the numbers of a run up to this one; the very same where it has none of them."""
    if not any(run.session == session and run.held and run.first <= sequence for run in state.runs):
        return state
    runs = []
    for run in state.runs:
        first = min(max(run.first, sequence + 1), run.last + 1) if run.session == session else run.first
        if first <= run.last or run is state.current:
            runs.append(replace(run, first=first, unsent=max(run.unsent, first)))
    return _settled(replace(state, runs=tuple(runs)))


def _settled(state: Spooling) -> Spooling:
    """The state whose backlog, where it has reached the news, ends behind them."""
    current = state.current
    if current.unsent < state.news_from:
        return state
    end = current.last + 1
    return replace(state, runs=(*state.runs[:-1], replace(current, unsent=end)), news_from=end)


def _led(state: Spooling, leader: Leader, at_s: float) -> Spooling:
    if leader.term < state.term:
        return state
    leading = leader.session if leader.state == "leading" else None
    is_new = leading is not None and (leading, leader.term) != (state.leader, state.term)
    state = replace(state, leader=leading, term=leader.term)
    return _begun_anew(state, at_s) if is_new else state


def _begun_anew(state: Spooling, at_s: float) -> Spooling:
    runs = tuple(replace(run, unsent=run.first, since_s=at_s, tried=0) for run in state.runs)
    return replace(state, runs=runs, news_from=state.current.last + 1)


def _elapsed(state: Spooling, at_s: float) -> Spooling:
    """The state in which each run that a leader should have confirmed something of by now is begun anew."""
    if not state.connected or state.leader is None or not any(_is_overdue(run, at_s) for run in state.runs):
        return state
    news_from = state.current.last + 1 if _is_overdue(state.current, at_s) else state.news_from
    runs = tuple(
        replace(run, unsent=run.first, since_s=at_s, tried=run.tried + 1) if _is_overdue(run, at_s) else run
        for run in state.runs
    )
    return replace(state, runs=runs, news_from=news_from)


def _is_overdue(run: Run, at_s: float) -> bool:
    return run.under_way > 0 and at_s - run.since_s >= patience_s(run.tried)
