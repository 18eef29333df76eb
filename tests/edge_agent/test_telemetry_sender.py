"""Telemetry on its way from a spool to a store: whatever is lost between them, nothing is in the end."""

import dataclasses

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from memory_spool import MemorySpool

from broker.errors import MalformedMessageError
from broker.messages import EnergyReading, Leader, Telemetry, TelemetryStored
from coordinator.telemetry.ledger import Ledger, Verdict, fold
from edge_agent.mending_spool import RETRY_S
from edge_agent.spool import Kept
from edge_agent.spooling import PATIENCE_S, WINDOW, Held
from edge_agent.telemetry_sender import EARLIER_LEAST_AGE_S, Now, TelemetrySender


def reading(at: float) -> EnergyReading:
    """A message that is known by its time."""
    return EnergyReading(
        node="pi",
        session="instruments",
        sequence=0,
        at=at,
        energy_j=0.0,
        power_w=0.0,
        interval_s=1.0,
        meter="model",
        source="modelled",
        scope="board",
    )


def leader(term: int = 1, session: str = "c1", state: str = "leading") -> Leader:
    return Leader(coordinator="c", session=session, term=term, state=state, url="http://c")  # type: ignore[arg-type]  # the tests name states that there are


@dataclasses.dataclass
class World:
    """One sender on a memory spool, with a wire that can be looked at."""

    spool: MemorySpool
    sender: TelemetrySender
    sent: list[tuple[EnergyReading, bool]]
    at_s: float = 100.0
    is_full: bool = False

    @property
    def now(self) -> Now:
        return Now(self.at_s, 1_000_000.0 + self.at_s)

    def send(self, telemetry: Telemetry, *, is_news: bool) -> bool:
        assert isinstance(telemetry, EnergyReading)
        if telemetry.at < 0:
            raise MalformedMessageError("energy", "too large")
        if self.is_full:
            return False
        self.sent.append((telemetry, is_news))
        return True

    def restart(self, session: str) -> None:
        self.spool.session = session
        self.sender = TelemetrySender("pi", session, lambda: self.spool, self.send)
        self.sender.open(self.now)

    def record(self, *numbers: float) -> None:
        self.sender.send_news(self.sender.spool([reading(number) for number in numbers], self.now), self.now)

    def run(self) -> list[float]:
        """What of the backlog is sent now, by its numbers."""
        before = len(self.sent)
        while self.sender.step(self.now):
            pass
        return [telemetry.at for telemetry, _ in self.sent[before:]]

    def lead(self, term: int = 1, session: str = "c1", state: str = "leading") -> None:
        self.sender.follow(leader(term, session, state), self.now)

    def confirm(self, sequence: int, session: str = "s1", term: int = 1) -> None:
        self.sender.confirm(TelemetryStored(node="pi", session=session, sequence=sequence, term=term), self.now)


@pytest.fixture
def world() -> World:
    made = World(MemorySpool(), None, [])  # type: ignore[arg-type]  # restart makes it
    made.restart("s1")
    return made


def test_news_is_sent_at_once_and_marked(world: World) -> None:
    """With its number, the oldest that is held, and no age; a leader is not waited for."""
    world.sender.connect(world.now)
    world.record(1, 2)
    marks = [telemetry.mark for telemetry, is_news in world.sent if is_news]
    assert [(mark.session, mark.sequence, mark.oldest, mark.age_s) for mark in marks if mark] == [
        ("s1", 1, 1, 0.0),
        ("s1", 2, 1, 0.0),
    ]
    assert world.run() == []


def test_a_backlog_is_sent_in_order_while_a_coordinator_leads(world: World) -> None:
    """What was recorded without a connection waits for a leader; it is no news, and tells its age."""
    world.record(1, 2)
    world.at_s += 7.0
    world.record(3)
    assert world.sent == []
    world.sender.connect(world.now)
    assert world.run() == []
    world.lead()
    assert world.run() == [1, 2, 3]
    assert [telemetry.mark.age_s for telemetry, _ in world.sent if telemetry.mark] == [7.0, 7.0, 0.0]
    assert not any(is_news for _, is_news in world.sent)
    assert world.run() == []


def test_news_goes_before_a_backlog(world: World) -> None:
    """Then the backlog ends where the news begins: nothing is sent twice."""
    world.record(*range(1, 4))
    world.sender.connect(world.now)
    world.record(4)
    world.lead()
    assert world.run() == [1, 2, 3, 4]  # the leader was not there when the news was sent
    world.record(5)
    assert [telemetry.at for telemetry, _ in world.sent] == [4, 1, 2, 3, 4, 5]


def test_a_backlog_has_a_window(world: World) -> None:
    """More is sent when a part of it is confirmed; news is sent all the same."""
    world.record(*range(1, 1_001))
    world.sender.connect(world.now)
    world.lead()
    assert world.run() == list(range(1, WINDOW + 1))
    world.record(1_001)
    assert world.sent[-1][0].at == 1_001
    world.confirm(100)
    assert world.run() == list(range(WINDOW + 1, WINDOW + 101))
    while world.sender.state.held:
        world.confirm(world.sender.state.current.unsent - 1)
        world.run()
    assert [telemetry.at for telemetry, is_news in world.sent if not is_news] == list(range(1, 1_001))


def test_what_is_stored_is_forgotten(world: World) -> None:
    """Up to the number that the coordinator names, and only by the one that leads."""
    world.sender.connect(world.now)
    world.record(1, 2, 3)
    world.lead(term=4)
    world.confirm(2, term=3)
    assert world.spool.held() == (Held("s1", 1, 3),)
    world.confirm(2, term=4)
    assert world.spool.held() == (Held("s1", 3, 3),)
    world.confirm(9, term=4)
    assert world.spool.held() == ()
    world.record(4)
    assert world.spool.held() == (Held("s1", 4, 4),)
    assert world.sender.report(world.now).dropped == 0


def test_what_is_not_confirmed_is_sent_again(world: World) -> None:
    """After some seconds, then less and less often; a confirmation begins this anew."""
    world.sender.connect(world.now)
    world.lead()
    world.record(1, 2)
    for wait_s in (PATIENCE_S, 2 * PATIENCE_S, 4 * PATIENCE_S):
        world.at_s += wait_s - 0.1
        assert world.run() == []
        world.at_s += 0.1
        assert world.run() == [1, 2]
    world.confirm(1)
    world.at_s += PATIENCE_S
    assert world.run() == [2]


def test_one_run_that_is_confirmed_does_not_hide_another_that_is_not(world: World) -> None:
    """What is lost of an earlier run is sent again, however well the current one fares."""
    world.record(1, 2)
    world.restart("s2")
    world.sender.connect(world.now)
    world.lead()
    assert world.run() == [1, 2]
    for number in range(3, 9):
        world.record(number)
        world.confirm(number - 2, session="s2")
        world.at_s += 1.0
    assert world.run() == [1, 2]


@pytest.mark.parametrize(("term", "session"), [(2, "c2"), (2, "c1"), (1, "c2")])
def test_a_new_leader_gets_everything_at_once(world: World, term: int, session: str) -> None:
    """It may have heard nothing of what the one before was sent."""
    world.sender.connect(world.now)
    world.lead()
    world.record(1)
    world.lead(term, session)
    assert world.run() == [1]
    world.lead(term, session)
    assert world.run() == []


def test_nothing_is_sent_again_without_a_leader(world: World) -> None:
    """Nobody would confirm it; one that was succeeded cannot come back by a late word."""
    world.sender.connect(world.now)
    world.lead(term=3)
    world.record(1)
    world.lead(term=3, state="released")
    world.at_s += 100.0
    assert world.run() == []
    world.lead(term=2, session="c0")
    assert world.run() == []


def test_a_new_connection_gets_everything_again(world: World) -> None:
    """What was under way may be lost with the broker."""
    world.sender.connect(world.now)
    world.lead()
    world.record(1)
    world.sender.disconnect()
    world.record(2)
    assert len(world.sent) == 1
    world.sender.connect(world.now)
    assert world.run() == []  # the coordinator may not be there yet; if it is, the broker says at once that it leads
    world.lead()
    assert world.run() == [1, 2]


def test_what_an_earlier_run_left_keeps_its_numbers(world: World) -> None:
    """It comes first, in order, under its own session, and is never young enough to be news."""
    world.record(1, 2)
    world.at_s += 10.0
    world.restart("s2")
    world.record(3)
    world.sender.connect(world.now)
    world.lead()
    assert world.run() == [1, 2, 3]
    marks = [telemetry.mark for telemetry, _ in world.sent if telemetry.mark]
    assert [(mark.session, mark.sequence) for mark in marks] == [("s1", 1), ("s1", 2), ("s2", 1)]
    assert marks[0].age_s == EARLIER_LEAST_AGE_S
    world.confirm(2, session="s1")
    assert world.spool.held() == (Held("s2", 1, 1),)


def test_a_wall_clock_that_jumps_back_makes_no_age_negative(world: World) -> None:
    """An age is bounded on both sides."""
    world.record(1)
    world.restart("s2")
    world.sender.connect(Now(world.at_s, -1e9))
    world.lead()
    world.sender.step(Now(world.at_s, -1e9))
    assert world.sent[0][0].mark is not None
    assert world.sent[0][0].mark.age_s == EARLIER_LEAST_AGE_S


def test_a_full_disk_lets_telemetry_pass_without_a_mark(world: World) -> None:
    """It is counted with the reason; when there is room, numbers go on without a gap."""
    world.sender.connect(world.now)
    world.record(1)
    world.spool.fails = True
    world.record(2, 3)
    assert [telemetry.mark and telemetry.mark.sequence for telemetry, _ in world.sent] == [1, None, None]
    report = world.sender.report(world.now)
    assert (report.dropped, report.reason) == (2, "the spool cannot be written: disk full")
    world.spool.fails = False
    world.record(4)
    assert world.sent[-1][0].mark is not None
    assert world.sent[-1][0].mark.sequence == 2


def test_a_disk_that_the_spool_itself_has_filled_is_freed(world: World) -> None:
    """Deleting needs room that there is not; once all is stored the file is begun anew, and not a moment before."""
    world.sender.connect(world.now)
    world.record(1)
    world.spool.is_clogged = True
    world.record(2)
    assert world.spool.held() == (Held("s1", 1, 1),)
    world.confirm(1)
    world.record(3)
    assert world.spool.held() == (Held("s1", 2, 2),)
    assert world.sender.report(world.now).dropped == 1


def test_a_spool_that_cannot_be_opened_is_tried_again(world: World) -> None:
    """The agent works on meanwhile, and finds what is there when it can."""
    world.record(1)

    def opening() -> MemorySpool:
        world.spool.check()
        return world.spool

    world.spool.fails, world.spool.session = True, "s2"
    world.sender = TelemetrySender("pi", "s2", opening, world.send)
    world.sender.open(world.now)
    world.sender.connect(world.now)
    world.lead()
    world.record(2)
    assert world.sent[-1][0].mark is None
    world.spool.fails = False
    world.run()
    assert len(world.sent) == 1
    world.at_s += RETRY_S
    assert world.run() == [1]
    assert world.sender.report(world.now).dropped == 1


def test_a_full_spool_drops_and_counts(world: World) -> None:
    """The mark of what comes next tells the coordinator not to wait for it."""
    world.spool.most = 3
    world.record(1, 2, 3)
    world.record(4)
    world.sender.connect(world.now)
    world.lead()
    assert world.run() == [2, 3, 4]
    assert world.sent[0][0].mark is not None
    assert world.sent[0][0].mark.oldest == 2
    assert world.sender.report(world.now).dropped == 1


def test_what_can_never_be_sent_is_given_up(world: World) -> None:
    """It does not hold up what comes after it."""
    world.record(1, -2, 3)
    world.sender.connect(world.now)
    world.lead()
    assert world.run() == [1, 3]
    world.confirm(1)
    world.at_s += PATIENCE_S
    assert world.run() == [3]
    assert world.sent[-1][0].mark is not None
    assert world.sent[-1][0].mark.oldest == 3
    assert world.sender.report(world.now).dropped == 1


def test_what_is_of_no_kind_is_given_up(world: World) -> None:
    """An older or newer version may have left it, or a card that fails."""
    world.spool.runs["s0"] = {4: Kept("smell", b"{}", 0.0, 0.0), 5: Kept("energy", b"\xff", 0.0, 0.0)}
    world.restart("s1")
    world.sender.connect(world.now)
    world.lead()
    assert world.run() == []
    assert world.sender.report(world.now).dropped == 2
    assert world.spool.held() == ()


def test_a_figure_that_is_not_finite_is_counted(world: World) -> None:
    """JSON has no word for it."""
    world.record(float("nan"))
    assert world.sender.report(world.now).dropped == 1
    assert world.sender.report(world.now).reason.endswith("$.at is not a finite number")


def test_a_report_tells_of_a_backlog_only(world: World) -> None:
    """What is confirmed in its usual time does not make the figures change with each message."""
    world.sender.connect(world.now)
    world.lead()
    idle = world.sender.report(world.now)
    world.record(1)
    assert world.sender.report(world.now) == idle
    world.at_s += 4.0
    report = world.sender.report(world.now)
    assert (report.waiting, report.waiting_bytes, report.dropped) == (1, 100, 0)
    world.sender.disconnect()
    world.record(2)
    assert world.sender.report(world.now).waiting == 2


class Telemetering(RuleBasedStateMachine):
    """A node, a lossy wire and a coordinator with ledgers, in any interleaving of what can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(MemorySpool(most=12), None, [])  # type: ignore[arg-type]  # restart makes it
        self.runs = 0
        self.recorded: set[float] = set()
        self.dropped_before = 0
        self.ledgers: dict[str, Ledger] = {}
        self.stored: list[float] = []
        self.confirmations: list[TelemetryStored] = []
        self.term = 1
        self.restart()

    @rule()
    def restart(self) -> None:
        """The agent is killed and starts again; what is on the wire stays there."""
        if self.runs:
            self.dropped_before += self.world.sender.report(self.world.now).dropped
        self.runs += 1
        self.world.restart(f"s{self.runs}")

    @rule(count=st.integers(1, 6))
    def record(self, count: int) -> None:
        """Telemetry arises."""
        numbers = [float(len(self.recorded) + offset) for offset in range(count)]
        self.recorded |= set(numbers)
        self.world.record(*numbers)

    @rule(seconds=st.sampled_from([0.1, 3.0, 70.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and the sender looks around."""
        self.world.at_s += seconds
        self.world.sender.step(self.world.now)

    @rule()
    def connect(self) -> None:
        """The broker is there."""
        self.world.sender.connect(self.world.now)

    @rule()
    def lose_the_broker(self) -> None:
        """The broker is killed with all that it had."""
        self.world.sender.disconnect()
        self.world.sent.clear()
        self.confirmations.clear()

    @rule(is_full=st.booleans())
    def fill_the_queue(self, is_full: bool) -> None:
        """Too much waits for the broker, or no more."""
        self.world.is_full = is_full

    @rule(fails=st.booleans())
    def fill_the_disk(self, fails: bool) -> None:
        """The spool cannot be written, or can again."""
        self.world.spool.fails = fails

    @rule(another=st.booleans())
    def lead(self, another: bool) -> None:
        """A coordinator leads: the same one, or one that succeeds it on the same store."""
        self.term += another
        self.world.lead(self.term, f"c{self.term}")

    @precondition(lambda self: self.world.sent)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """A message of those under way arrives, perhaps out of turn, perhaps not for the last time."""
        index = data.draw(st.integers(0, len(self.world.sent) - 1))
        telemetry, _ = self.world.sent[index] if data.draw(st.booleans()) else self.world.sent.pop(index)
        self.take(telemetry)

    def take(self, telemetry: EnergyReading) -> None:
        """The coordinator stores a message, in one transaction with its ledger."""
        if telemetry.mark is None:
            return
        session = telemetry.mark.session
        self.ledgers[session], verdict = fold(self.ledgers.get(session, Ledger()), telemetry.mark)
        if verdict is Verdict.NEW:
            self.stored.append(telemetry.at)
        up_to = self.ledgers[session].contiguous
        self.confirmations.append(TelemetryStored(node="pi", session=session, sequence=up_to, term=self.term))

    @precondition(lambda self: self.confirmations)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """A confirmation arrives, perhaps an old one; others may never."""
        index = data.draw(st.integers(0, len(self.confirmations) - 1))
        self.world.sender.confirm(self.confirmations[index], self.world.now)
        if data.draw(st.booleans()):
            del self.confirmations[: index + 1]

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        """Each message is in the store at most once."""
        assert len(self.stored) == len(set(self.stored))

    @invariant()
    def nothing_vanishes(self) -> None:
        """Whatever is neither stored nor in the spool was counted."""
        in_spool = {
            float(kept.payload.split(b'"at":')[1].split(b",")[0])
            for run in self.world.spool.runs.values()
            for kept in run.values()
        }
        missing = self.recorded - in_spool - set(self.stored)
        assert len(missing) <= self.dropped_before + self.world.sender.report(self.world.now).dropped

    def teardown(self) -> None:
        """When everything works again, the spool empties, and the ledgers have no gap that no drop explains."""
        world = self.world
        world.spool.fails = world.is_full = False
        world.sent.clear()
        self.confirmations.clear()
        world.sender.connect(world.now)
        world.lead(self.term + 1, "last")
        self.term += 1
        for _ in range(40):
            world.at_s += 61.0
            world.run()
            for telemetry, _ in world.sent:
                self.take(telemetry)
            world.sent.clear()
            for stored in self.confirmations:
                world.sender.confirm(stored, world.now)
            self.confirmations.clear()
        assert world.sender.state.held == 0
        dropped = self.dropped_before + world.sender.report(world.now).dropped
        assert sum(map(missing, self.ledgers.values())) <= dropped
        # Only of a run of which the spool has dropped all that was left can nothing tell the ledger so.
        assert all(not ledger.ahead for session, ledger in self.ledgers.items() if session == f"s{self.runs}")
        self.nothing_is_stored_twice()
        assert len(self.recorded - set(self.stored)) <= dropped


def missing(ledger: Ledger) -> int:
    """The numbers below the highest stored one that are not stored."""
    return max([ledger.contiguous, *(last for _, last in ledger.ahead)]) - ledger.stored


TestTelemetering = Telemetering.TestCase
TestTelemetering.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
