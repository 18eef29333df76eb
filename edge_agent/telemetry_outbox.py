"""Where an agent's telemetry goes: one thread spools it, publishes it and hears what is stored.

What is sent when is `edge_agent.telemetry_sender`'s; who publishes here never waits for the broker.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from broker.messages import Leader, SpoolReport, Telemetry, TelemetryStored
from broker.session import Incoming, Session
from broker.topics import LEADER, SPOOL, STORED
from edge_agent.clock import MACHINE_CLOCK
from edge_agent.spool import Spool
from edge_agent.telemetry_kinds import KINDS, kind_of
from edge_agent.telemetry_sender import Now, TelemetrySender

MAX_QUEUED = 10_000
MAX_TAKEN = 64
POLL_S = 0.5
FULL_S = 0.05
LONGEST_WAIT_S = 0.05
"""How long a publisher waits for the spool at most: a healthy disk takes a hundredth of it (benchmarks/spool.py)."""
REPORT_S = 5.0
CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger("splitrail.agent")


class _Wake:
    """The connection has changed, or the end has come."""


_Event = Telemetry | TelemetryStored | Leader | _Wake


class TelemetryOutbox:
    """The telemetry of one run of an agent, over its MQTT session; any thread may publish.

    `start` raises SpoolError where the spool belongs to another process or is none.
    """

    def __init__(
        self,
        session: Session,
        *,
        node: str,
        session_id: str,
        file: Path,
        max_bytes: int,
        wall_clock: Callable[[], float] = MACHINE_CLOCK.now,
    ) -> None:
        self._session = session
        self._node = node
        self._wall_clock = wall_clock
        self._sender = TelemetrySender(
            node, session_id, lambda: Spool(file, session=session_id, max_bytes=max_bytes), self._send
        )
        self._events: queue.Queue[_Event] = queue.Queue(MAX_QUEUED)
        self._spooled = threading.Condition()
        self._given = 0
        self._taken = 0
        self._is_behind = False
        self._refused = 0
        self._network_thread: int | None = None
        self._connections = 0
        self._seen_connections = 0
        self._standing: SpoolReport | None = None
        self._reported: SpoolReport | None = None
        self._reported_s = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Open the spool, ask for what concerns it, and begin."""
        self._sender.open(self._now())
        self._session.on(LEADER, self._hear)
        self._session.on(STORED, self._hear, levels=(self._node,))
        self._session.on_connected(self._note_connection)
        if self._session.connected:
            self._note_connection()
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether the spool does not answer in time: what was published last may not be in it yet."""
        return self._is_behind

    @property
    def spool(self) -> SpoolReport | None:
        """How the spool stood at the thread's last turn; None before the first."""
        return self._standing

    def publish(self, telemetry: Telemetry) -> None:
        """Spool a message and send it.

        Returns once it is spooled, so that it outlives this process. A spool that does not answer is waited for once,
        for 50 ms, and no more until few wait; the thread of the MQTT session, which serves everybody, never waits.
        """
        with self._spooled:
            if not self._offer(telemetry):
                self._refused += 1
                return
            self._given += 1
            ticket = self._given
            is_hurried = self._is_behind or threading.get_ident() == self._network_thread
            if not is_hurried and self._thread.is_alive():
                self._is_behind = not self._spooled.wait_for(lambda: self._taken >= ticket, LONGEST_WAIT_S)

    def close(self) -> None:
        """Spool what was published, and end the thread; what is not stored yet, the next run sends."""
        self._closing.set()
        self._offer(_Wake())
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            self._sender.close()

    def _offer(self, event: _Event) -> bool:
        try:
            self._events.put_nowait(event)
        except queue.Full:
            # What is stored, and who leads, is said again.
            return False
        return True

    def _hear(self, incoming: Incoming[Leader] | Incoming[TelemetryStored]) -> None:
        self._network_thread = threading.get_ident()
        self._offer(incoming.message)

    def _note_connection(self) -> None:
        self._connections += 1
        self._offer(_Wake())

    def _now(self) -> Now:
        return Now(time.monotonic(), self._wall_clock())

    def _run(self) -> None:
        timeout_s = 0.0
        while True:
            is_last = self._closing.is_set()
            try:
                has_more = self._turn(0.0 if is_last else timeout_s)
            except Exception:
                # A fault in one message must not end the thread that all the others need.
                log.exception("telemetry failed")
                has_more = False
            if is_last and self._events.empty():
                return
            timeout_s = 0.0 if has_more else FULL_S if self._sender.has_due() else POLL_S

    def _turn(self, timeout_s: float) -> bool:
        """Take what has come, and send a part of the backlog; whether more of it is to be sent at once."""
        events = self._take(timeout_s)
        now = self._now()
        self._follow_connection(now)
        telemetry: list[Telemetry] = []
        for event in events:
            match event:
                case TelemetryStored():
                    self._sender.confirm(event, now)
                case Leader():
                    self._sender.follow(event, now)
                case _Wake():
                    pass
                case _:
                    telemetry.append(event)
        try:
            news = self._sender.spool(telemetry, now)
        finally:
            refused = self._note_taken(len(telemetry))
        self._sender.send_news(news, now)
        if refused:
            self._sender.drop(refused, f"more than {MAX_QUEUED} messages wait for the spool", now)
        has_more = self._sender.step(now)
        if not has_more and self._events.empty():
            self._sender.tidy(now)
        self._report(now)
        return has_more

    def _note_taken(self, count: int) -> int:
        """Let those go on who wait for these messages; how many others found no room since the last time."""
        with self._spooled:
            self._taken += count
            self._is_behind = self._is_behind and self._given - self._taken > MAX_TAKEN
            refused, self._refused = self._refused, 0
            self._spooled.notify_all()
        return refused

    def _take(self, timeout_s: float) -> list[_Event]:
        events: list[_Event] = []
        try:
            events.append(self._events.get(timeout=timeout_s) if timeout_s else self._events.get_nowait())
            while len(events) < MAX_TAKEN:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return events

    def _follow_connection(self, now: Now) -> None:
        connections = self._connections
        if not self._session.connected:
            self._sender.disconnect()
        elif connections != self._seen_connections:
            self._seen_connections = connections
            self._reported = None
            self._sender.connect(now)

    def _report(self, now: Now) -> None:
        """Say how the spool stands, where that is news and has not been said just now."""
        report = self._standing = self._sender.report(now)
        if not self._session.connected or not self._seen_connections:
            return
        is_due = self._reported is None or now.monotonic_s - self._reported_s >= REPORT_S
        if is_due and report != self._reported:
            self._reported, self._reported_s = report, now.monotonic_s
            self._session.publish(SPOOL, report, self._node)

    def _send(self, telemetry: Telemetry, *, is_news: bool) -> bool:
        kind = KINDS[kind_of(telemetry)]
        return self._session.publish(kind.topic, telemetry, *kind.levels(telemetry), retained=is_news)
