"""The thread that sends: nothing is forgotten before it is stored, trouble is said once, and the end is prompt."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from eventually import eventually

from coordinator.telemetry import influx_shipping
from coordinator.telemetry.influx_answers import Denied, Rejected, Stored, Unavailable, WriteAnswer
from coordinator.telemetry.influx_shipper import Shipper
from coordinator.telemetry.influx_spool import MAX_POINTS, Spool
from coordinator.telemetry.sqlite_file import connect_to_read, connect_to_write, prepare

pytestmark = pytest.mark.usefixtures("nothing_left")


@dataclass
class Bench:
    """A spool, a shipper, and the server that it thinks it has."""

    path: Path
    spool: Spool
    answer: Callable[[bytes], WriteAnswer] = lambda _: Stored()
    bodies: list[bytes] = field(default_factory=list)

    def write(self, lines: bytes) -> WriteAnswer:
        self.bodies.append(lines)
        return self.answer(lines)

    def keep(self, *lines: bytes) -> None:
        with closing(connect_to_write(self.path)) as connection, connection:
            connection.execute("BEGIN")
            self.spool.begin(connection)
            self.spool.add(lines)
            self.spool.finish(connection)

    def waiting(self) -> int:
        with closing(connect_to_read(self.path)) as connection:
            return self.spool.waiting(connection)

    def dead_letters(self) -> list[tuple[object, ...]]:
        with closing(connect_to_read(self.path)) as connection:
            return connection.execute("SELECT reason, line FROM dead_letter ORDER BY id").fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    path = tmp_path / "telemetry.sqlite"
    prepare(path)
    return Bench(path, Spool(path, max_bytes=10_000_000))


@pytest.fixture
def shipper(bench: Bench) -> Iterator[Shipper]:
    with ExitStack() as running:
        shipper = Shipper(bench.spool, bench.path, bench.write, where="influx")
        running.callback(shipper.close)
        shipper.start()
        yield shipper


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_WAIT_S", "LONGEST_WAIT_S", "DENIED_WAIT_S"):
        monkeypatch.setattr(influx_shipping, name, 0.01)


def test_few_points_are_sent_together(bench: Bench, shipper: Shipper) -> None:
    """Those of a second in one request."""
    for line in (b"a", b"b", b"c"):
        bench.keep(line)
    assert eventually(lambda: bench.waiting() == 0)
    assert b"\n".join(bench.bodies) == b"a\nb\nc"
    assert len(bench.bodies) < 3


def test_many_points_are_sent_in_batches(bench: Bench, shipper: Shipper) -> None:
    """A thousand each, in order."""
    lines = [str(number).encode() for number in range(3 * MAX_POINTS)]
    bench.keep(*lines)
    assert eventually(lambda: bench.waiting() == 0)
    assert b"\n".join(bench.bodies).split(b"\n") == lines
    assert [body.count(b"\n") + 1 for body in bench.bodies] == [MAX_POINTS] * 3


@pytest.mark.usefixtures("no_waits")
def test_nothing_is_given_up_while_the_server_is_away(
    bench: Bench, shipper: Shipper, caplog: pytest.LogCaptureFixture
) -> None:
    """The obstacle is there to be shown, the trouble and its end are each logged once, and then all is stored."""
    trouble = threading.Event()
    trouble.set()
    bench.answer = lambda _: Unavailable("no answer") if trouble.is_set() else Stored()
    bench.keep(b"a")
    shipper.drain(10.0)
    assert eventually(lambda: len(bench.bodies) > 3)
    assert (shipper.obstacle, bench.waiting()) == ("no answer", 1)
    trouble.clear()
    assert eventually(lambda: bench.waiting() == 0)
    assert (shipper.obstacle, set(bench.bodies)) == (None, {b"a"})
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [f"influx: no answer; telemetry waits in {bench.path}", "influx: takes telemetry again"]


@pytest.mark.usefixtures("no_waits")
def test_a_denial_is_an_alarm(bench: Bench, shipper: Shipper, caplog: pytest.LogCaptureFixture) -> None:
    """An error in the log, once, and nothing is given up."""
    bench.answer = lambda _: Denied("has no such database")
    bench.keep(b"a")
    assert eventually(lambda: len(bench.bodies) > 3)
    assert bench.waiting() == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_refused_points_are_kept_aside(bench: Bench, shipper: Shipper, caplog: pytest.LogCaptureFixture) -> None:
    """The others of their batch are stored."""
    bench.answer = lambda body: Rejected("too old", 1) if b"bad" in body.split(b"\n") else Stored()
    bench.keep(b"a", b"bad", b"b")
    assert eventually(lambda: bench.waiting() == 0)
    assert bench.dead_letters() == [("too old", b"bad")]
    assert {b"a", b"b"} <= {line for body in bench.bodies if b"bad" not in body for line in body.split(b"\n")}
    assert "refuses points (too old): " in caplog.text
    assert "`splitrail telemetry dead-letters` lists them" in caplog.text


def test_a_fault_of_the_library_does_not_end_the_thread(
    bench: Bench, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and the points are sent again."""
    monkeypatch.setattr("coordinator.telemetry.influx_shipper.AGAIN_S", 0.01)

    def fail_once(_: bytes) -> WriteAnswer:
        bench.answer = lambda _: Stored()
        raise AttributeError("a fault")

    bench.answer = fail_once
    bench.keep(b"a")
    assert eventually(lambda: bench.waiting() == 0)
    assert bench.bodies == [b"a", b"a"]
    assert eventually(lambda: shipper.obstacle is None)


def test_closing_does_not_wait_for_a_server_that_is_away(bench: Bench, shipper: Shipper) -> None:
    """What waits is the next run's."""
    bench.answer = lambda _: Unavailable("no answer", 3_600.0)
    bench.keep(b"a")
    assert eventually(lambda: shipper.obstacle is not None)
    shipper.close()
    assert bench.waiting() == 1


def test_draining_ends_when_everything_is_sent_or_cannot_be(bench: Bench, shipper: Shipper) -> None:
    """It never waits for a server that is away."""
    bench.keep(b"a")
    shipper.drain(30.0)
    assert bench.waiting() == 0
    bench.answer = lambda _: Unavailable("no answer", 3_600.0)
    bench.keep(b"b")
    shipper.drain(30.0)
    assert (bench.waiting(), shipper.obstacle) == (1, "no answer")
