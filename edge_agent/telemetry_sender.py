"""Spools telemetry and sends it: what `edge_agent.spooling` decides, carried out on a spool and a connection.

Used by one thread and without a clock of its own; threads and MQTT are `edge_agent.telemetry_outbox`'s, a disk that
fails `edge_agent.mending_spool`'s.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from broker.errors import MalformedMessageError
from broker.messages import Leader, SpoolMark, SpoolReport, Telemetry, TelemetryStored
from edge_agent.mending_spool import MendingSpool, SpoolFile
from edge_agent.spool import Kept
from edge_agent.spooling import (
    Confirmed,
    Connected,
    Disconnected,
    Dropped,
    Elapsed,
    Held,
    Led,
    Opened,
    Recorded,
    Sent,
    Spooling,
    apply,
    begun,
    next_batch,
)
from edge_agent.telemetry_kinds import decode, encode, kind_of
from edge_agent.telemetry_losses import Losses

WAITS_AFTER_S = 3.0
"""What is confirmed within this time does not count as waiting."""
EARLIER_LEAST_AGE_S = 60.0
"""What an earlier run has left is no news, whatever the wall clock says."""
MOST_AGE_S = 10.0 * 365 * 86_400


class Send(Protocol):
    """Hands a message to the connection; False where that takes no more now, MalformedMessageError where it never will.

    What is no news must not replace what the broker keeps.
    """

    def __call__(self, telemetry: Telemetry, *, is_news: bool) -> bool:
        """Send it."""


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both of the node's clocks, in s: the monotonic one, and the wall clock since 1970."""

    monotonic_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class News:
    """Messages that are to be sent at once; those that are spooled bear their marks."""

    messages: tuple[Telemetry, ...]
    is_spooled: bool


class TelemetrySender:
    """The telemetry of one run of the agent, and what earlier runs have left.

    `open_spool` raises SpoolFailedError while the disk fails, and SpoolError where the file cannot be the spool.
    """

    def __init__(self, node: str, session: str, open_spool: Callable[[], SpoolFile], send: Send) -> None:
        self._node = node
        self._session = session
        self._send = send
        self._losses = Losses()
        self._spool = MendingSpool(open_spool, self._losses)
        self._state = begun(session)

    @property
    def state(self) -> Spooling:
        """What is held, and how far it was sent."""
        return self._state

    def open(self, now: Now) -> None:
        """Open the spool, or try again later where the disk fails; SpoolError where the file cannot be the spool."""
        self._take_up(self._spool.open(now.monotonic_s), now)

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()

    def spool(self, messages: Sequence[Telemetry], now: Now) -> News:
        """Spool messages; what is to be sent then, before anything else is done here.

        Those that cannot be spooled go without a mark, and are counted.
        """
        kept = [(message, each) for message in messages if (each := self._keep(message, now)) is not None]
        first = self._state.next_sequence
        if not kept or not self._append(first, [each for _, each in kept], now):
            return News(tuple(message for message, _ in kept), is_spooled=False)
        oldest = self._state.current.first
        return News(
            tuple(
                msgspec.structs.replace(
                    message,
                    mark=SpoolMark(session=self._session, sequence=first + offset, oldest=oldest, age_s=0.0),
                )
                for offset, (message, _) in enumerate(kept)
            ),
            is_spooled=True,
        )

    def send_news(self, news: News, now: Now) -> None:
        """Send what has just been spooled, ahead of any backlog, as far as the connection takes it."""
        if not news.is_spooled:
            for message in news.messages:
                self._send_new(message)
            return
        sent = 0
        if self._state.connected:
            sent = sum(1 for _ in itertools.takewhile(self._send_new, news.messages))
        self._state = apply(Recorded(len(news.messages), sent, now.monotonic_s), self._state)

    def confirm(self, stored: TelemetryStored, now: Now) -> None:
        """A coordinator has stored a run up to a number: forget it."""
        before = self._state
        event = Confirmed(stored.session, stored.sequence, stored.term, now.monotonic_s)
        self._state = apply(event, before)
        if self._state is not before:
            self._spool.delete(stored.session, stored.sequence, now.monotonic_s)

    def connect(self, now: Now) -> None:
        """The broker was reached."""
        self._state = apply(Connected(now.monotonic_s), self._state)

    def disconnect(self) -> None:
        """The broker is gone."""
        if self._state.connected:
            self._state = apply(Disconnected(), self._state)

    def follow(self, leader: Leader, now: Now) -> None:
        """A coordinator says that it leads, or that it no longer does."""
        self._state = apply(Led(leader, now.monotonic_s), self._state)

    def step(self, now: Now) -> bool:
        """Send what is due of the backlog, a batch at most; whether more is to be sent at once."""
        self._take_up(self._spool.reopen(now.monotonic_s), now)
        self._state = apply(Elapsed(now.monotonic_s), self._state)
        batch = next_batch(self._state)
        rows = None if batch is None else self._spool.read(batch.session, batch.first, batch.last, now.monotonic_s)
        if batch is None or rows is None:
            return False
        for sequence in range(batch.first, batch.last + 1):
            try:
                if not self._send_again(batch.session, sequence, rows.get(sequence), now):
                    return False
            except MalformedMessageError as error:
                # One that has others before it is passed by: it may be dropped once they are stored.
                if self._first(batch.session) == sequence:
                    self._give_up(batch.session, sequence, str(error), now)
            self._state = apply(Sent(batch.session, sequence, now.monotonic_s), self._state)
        return True

    def tidy(self, now: Now) -> None:
        """Let the spool do what waits for the disk; for when there is nothing else to do."""
        self._spool.tidy(now.monotonic_s)

    def has_due(self) -> bool:
        """Whether a part of the backlog is to be sent now."""
        return self._spool.is_open and next_batch(self._state) is not None

    def drop(self, count: int, reason: str, now: Now) -> None:
        """Count messages that will not be stored, or may not be."""
        self._losses.add(count, reason, now.monotonic_s)

    def report(self, now: Now) -> SpoolReport:
        """How the spool stands; what is being confirmed in its usual time does not count as waiting."""
        state = self._state
        is_late = any(run.under_way and now.monotonic_s - run.since_s >= WAITS_AFTER_S for run in state.runs)
        waiting = state.held if is_late or state.has_unsent else 0
        return SpoolReport(
            node=self._node,
            session=self._session,
            waiting=waiting,
            waiting_bytes=self._spool.held_bytes if waiting else 0,
            dropped=self._losses.count,
            reason=self._losses.reason,
        )

    def _take_up(self, held: tuple[Held, ...] | None, now: Now) -> None:
        """The spool was opened and holds this, or was not."""
        if held is None:
            return
        if self._spool.was_damaged:
            # How much earlier runs had left in it, nobody knows.
            self.drop(max(self._state.held, 1), "the spool was damaged, and what it held is lost", now)
        self._state = apply(Opened(held, now.monotonic_s), self._state)

    def _keep(self, message: Telemetry, now: Now) -> Kept | None:
        try:
            return Kept(kind_of(message), encode(message), now.wall_s, now.monotonic_s)
        except MalformedMessageError as error:
            self.drop(1, str(error), now)
            return None

    def _append(self, first: int, kept: list[Kept], now: Now) -> bool:
        """Spool messages; False, and counted, where the spool does not take them."""
        gone = self._spool.append(first, kept, now.monotonic_s, is_empty=not self._state.held)
        if gone is None:
            return False
        for each in gone:
            self.drop(each.last - each.first + 1, "the spool is full, the oldest goes first", now)
            self._state = apply(Dropped(each.session, each.last), self._state)
        return True

    def _send_again(self, session: str, sequence: int, kept: Kept | None, now: Now) -> bool:
        if kept is None:
            raise MalformedMessageError("the spool", f"number {sequence} of {session} is missing")
        if session == self._session:
            age_s = now.monotonic_s - kept.recorded_s
        else:
            age_s = max(EARLIER_LEAST_AGE_S, now.wall_s - kept.recorded_at)
        oldest = self._first(session)
        mark = SpoolMark(session=session, sequence=sequence, oldest=oldest, age_s=min(max(0.0, age_s), MOST_AGE_S))
        return self._send(decode(kept.kind, kept.payload, mark), is_news=False)

    def _give_up(self, session: str, sequence: int, reason: str, now: Now) -> None:
        self.drop(1, reason, now)
        self._state = apply(Dropped(session, sequence), self._state)
        self._spool.delete(session, sequence, now.monotonic_s)

    def _first(self, session: str) -> int:
        return next(run.first for run in self._state.runs if run.session == session)

    def _send_new(self, message: Telemetry) -> bool:
        try:
            return self._send(message, is_news=True)
        except MalformedMessageError:
            return False  # where it is spooled, it is given up when it is the oldest
