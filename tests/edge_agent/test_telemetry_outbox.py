"""An agent's telemetry over a real broker: live, in a backlog, and while the spool does not answer."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually

from broker.messages import Leader, LinkReading, SpoolReport, TelemetryStored
from broker.mosquitto import PrivateMosquitto
from broker.session import Incoming, Session
from broker.topics import LEADER, LINK, SPOOL, STORED
from edge_agent import telemetry_outbox
from edge_agent.errors import SpoolError
from edge_agent.spool import Spool
from edge_agent.telemetry_outbox import MAX_QUEUED, TelemetryOutbox

Starting = Callable[..., TelemetryOutbox]


def link(rtt_ms: float) -> LinkReading:
    return LinkReading(
        src="pi", dst="pc", at=1.0, rtt_ms=rtt_ms, rtt_ms_std=0.0, mbps=1.0, mbps_std=0.0, method="probe"
    )


class Witness:
    """A coordinator that confirms nothing by itself; its session is started by whoever made it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.links: list[Incoming[LinkReading]] = []
        self.reports: list[SpoolReport] = []
        session.on(LINK, self.links.append)
        session.on(SPOOL, lambda incoming: self.reports.append(incoming.message))

    def lead(self) -> None:
        leader = Leader(coordinator="c", session="c1", term=1, state="leading", url="http://c")
        self.session.publish(LEADER, leader)

    def confirm(self, session: str, sequence: int) -> None:
        self.session.publish(STORED, TelemetryStored(node="pi", session=session, sequence=sequence, term=1), "pi")

    def rtts(self) -> list[float]:
        return [incoming.message.rtt_ms for incoming in self.links]


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


@pytest.fixture
def witness(mosquitto: PrivateMosquitto, site: str) -> Iterator[Witness]:
    witness = Witness(Session(mosquitto.settings, site=site, client_id=f"witness-{site}"))
    with witness.session:
        yield witness


@pytest.fixture
def starting(mosquitto: PrivateMosquitto, site: str, spool_path: Path) -> Iterator[Starting]:
    """Starts an outbox with a session of its own; all are closed in the end, and no thread is left."""
    running: list[tuple[TelemetryOutbox, Session]] = []

    def start(session_id: str = "s1") -> TelemetryOutbox:
        session = Session(mosquitto.settings, site=site, client_id=f"agent-{site}-{session_id}")
        outbox = TelemetryOutbox(session, node="pi", session_id=session_id, file=spool_path, max_bytes=64_000_000)
        running.append((outbox, session))
        session.start()
        outbox.start()
        return outbox

    yield start
    for outbox, session in running:
        outbox.close()
        session.close()
    assert not any(thread.name == "telemetry" for thread in threading.enumerate())


def test_telemetry_goes_out_at_once_and_is_forgotten_when_stored(
    starting: Starting, witness: Witness, spool_path: Path
) -> None:
    """With a mark by which the coordinator knows it; the spool is empty afterwards."""
    outbox = starting()
    outbox.publish(link(1.0))
    outbox.publish(link(2.0))
    assert eventually(lambda: witness.rtts() == [1.0, 2.0])
    mark = witness.links[1].message.mark
    assert mark is not None
    assert (mark.session, mark.sequence, mark.oldest) == ("s1", 2, 1)
    witness.confirm("s1", 2)
    assert eventually(lambda: _published_with_oldest(outbox, witness) == 3)
    outbox.close()
    with closing(Spool(spool_path, session="after", max_bytes=1_000_000)) as reopened:
        assert reopened.held()[0].first == 3


def test_a_backlog_does_not_replace_what_the_broker_keeps(
    starting: Starting, witness: Witness, mosquitto: PrivateMosquitto, site: str
) -> None:
    """What an earlier run left reaches the coordinator; who comes later is told the newest."""
    first = starting("s1")
    first.publish(link(1.0))
    assert eventually(lambda: witness.rtts() == [1.0])
    first.close()
    second = starting("s2")
    second.publish(link(2.0))
    assert eventually(lambda: witness.rtts() == [1.0, 2.0])
    witness.lead()
    assert eventually(lambda: witness.rtts() == [1.0, 2.0, 1.0, 2.0])
    kept: list[float] = []
    with Session(mosquitto.settings, site=site, client_id=f"late-{site}") as late:
        late.on(LINK, lambda incoming: kept.append(incoming.message.rtt_ms))
        assert eventually(lambda: kept)
    assert kept == [2.0]


def test_a_spool_tells_how_it_stands(starting: Starting, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once and retained; with what waits where that is not stored in time."""
    monkeypatch.setattr(telemetry_outbox, "REPORT_S", 0.5)
    outbox = starting()
    assert eventually(lambda: witness.reports)
    assert witness.reports[0] == SpoolReport(node="pi", session="s1", waiting=0, waiting_bytes=0, dropped=0)
    outbox.publish(link(1.0))
    assert eventually(lambda: len(witness.reports) > 1)
    assert (witness.reports[1].waiting, witness.reports[1].dropped) == (1, 0)
    assert witness.reports[1].waiting_bytes > 0


def test_a_spool_of_another_agent_is_refused(starting: Starting) -> None:
    """In one line, before anything is published."""
    starting("s1")
    with pytest.raises(SpoolError, match="another agent uses this spool"):
        starting("s2")


def test_a_spool_that_does_not_answer_delays_nobody_for_long(
    starting: Starting, witness: Witness, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishers wait once and then no more; what does not fit meanwhile is counted, and the rest is not lost."""
    disk = threading.Event()
    append = Spool.append

    def stuck(self: Spool, *arguments: Any) -> Any:
        disk.wait()
        return append(self, *arguments)

    monkeypatch.setattr(Spool, "append", stuck)
    outbox = starting()
    try:
        for number in range(MAX_QUEUED + 500):
            outbox.publish(link(float(number)))
        assert outbox.is_behind
    finally:
        disk.set()
    assert eventually(lambda: any(report.dropped for report in witness.reports))
    dropped = witness.reports[-1].dropped
    assert 0 < dropped <= 500
    assert witness.reports[-1].reason == f"more than {MAX_QUEUED} messages wait for the spool"
    # A close waits for the disk only so long.
    assert eventually(lambda: not outbox.is_behind, 120)
    outbox.close()
    with closing(Spool(spool_path, session="after", max_bytes=64_000_000)) as reopened:
        assert [(held.first, held.last) for held in reopened.held()] == [(1, MAX_QUEUED + 500 - dropped)]


def test_publishers_of_many_threads_get_numbers_of_their_own(starting: Starting, witness: Witness) -> None:
    """No number is given twice, and none is left out."""
    outbox = starting()
    go: queue.Queue[None] = queue.Queue()

    def publish(thread: int) -> None:
        for number in range(50):
            outbox.publish(link(thread * 100.0 + number))
        go.put(None)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert eventually(lambda: len(witness.links) == 200)
    marks = [incoming.message.mark for incoming in witness.links]
    assert sorted(mark.sequence for mark in marks if mark) == list(range(1, 201))


def test_closing_spools_what_was_published(starting: Starting, spool_path: Path) -> None:
    """What the broker has not taken, the next run sends."""
    outbox = starting()
    for number in range(100):
        outbox.publish(link(float(number)))
    outbox.close()
    with closing(Spool(spool_path, session="after", max_bytes=1_000_000)) as reopened:
        assert [held.last for held in reopened.held()] == [100]


def _published_with_oldest(outbox: TelemetryOutbox, witness: Witness) -> int:
    """The oldest number that is held as of a message that is published now."""
    heard = len(witness.links)
    outbox.publish(link(0.0))
    assert eventually(lambda: len(witness.links) > heard)
    mark = witness.links[-1].message.mark
    return mark.oldest if mark else 0
