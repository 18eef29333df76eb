"""What a line to a peer owes: replies in order, what is lost, and when silence means death."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.lines import HEARTBEAT_NS, SILENCE_NS, InFlight, Line
from edge_agent.looks import Look

SECOND_NS = 1_000_000_000


def test_a_reply_settles_its_message() -> None:
    """The time from the send to the reply and the size come back; the line is idle again."""
    line = Line(0)
    line.send(1, 5_000, at_ns=100)
    settled = line.settle(1, at_ns=400)
    assert settled is not None
    assert (settled.size_bytes, settled.elapsed_ns, settled.gap_ns, settled.alone) == (5_000, 300, None, True)
    assert (line.owed, line.owed_bytes, line.in_flight(500)) == (0, 0, None)


def test_messages_that_share_the_line_know_the_gap() -> None:
    """A message that waited behind another tells how long after the other's reply its own came."""
    line = Line(0)
    line.send(1, 5_000, at_ns=100)
    line.send(2, 5_000, at_ns=110)
    line.settle(1, at_ns=400)
    settled = line.settle(2, at_ns=650)
    assert settled is not None
    assert (settled.elapsed_ns, settled.gap_ns, settled.alone) == (540, 250, False)


def test_a_reply_that_was_held_back_counts_as_if_it_were_not() -> None:
    """Whatever the other end says of that, a message took no less than no time."""
    line = Line(0)
    line.send(1, 5_000, at_ns=100)
    line.send(2, 5_000, at_ns=110)
    line.send(3, 5_000, at_ns=120)
    first = line.settle(1, at_ns=900, held_ns=500)
    assert first is not None
    assert first.elapsed_ns == 300
    settled = line.settle(2, at_ns=950, held_ns=300)
    assert settled is not None
    assert (settled.elapsed_ns, settled.gap_ns) == (540, 250)
    last = line.settle(3, at_ns=960, held_ns=2**63)
    assert last is not None
    assert last.elapsed_ns == 0


def test_a_reply_out_of_order_shows_what_was_lost() -> None:
    """Replies keep the order of the sends, so what is older than an answered message will never be answered."""
    line = Line(0)
    for key in (1, 2, 3):
        line.send(key, 10, at_ns=key)
    settled = line.settle(3, at_ns=10)
    assert settled is not None
    assert settled.lost == 2
    assert line.owed == 0


def test_an_unknown_reply_is_ignored() -> None:
    """A reply to nothing that is owed changes nothing."""
    line = Line(0)
    line.send(1, 10, at_ns=1)
    assert line.settle(9, at_ns=2) is None
    assert line.owed == 1


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10_000_000), st.booleans())),
)
def test_owed_bytes_are_those_of_the_owed_messages(events: list[tuple[int, int, bool]]) -> None:
    """However sends and replies interleave, nothing is counted twice and nothing stays behind."""
    line, expected = Line(0), dict[int, int]()
    for at_ns, (key, size_bytes, is_send) in enumerate(events):
        if is_send:
            line.send(key, size_bytes, at_ns)
            expected.pop(key, None)
            expected[key] = size_bytes
        elif line.settle(key, at_ns) is not None:
            order = list(expected)
            for older in order[: order.index(key) + 1]:
                del expected[older]
    assert (line.owed, line.owed_bytes) == (len(expected), sum(expected.values()))


def test_a_quiet_line_wants_a_heartbeat() -> None:
    """A line that has heard nothing for a while is asked for a sign of life, once for each while, idle or busy."""
    line = Line(0)
    assert not line.wants_heartbeat(HEARTBEAT_NS)
    assert line.wants_heartbeat(HEARTBEAT_NS + 1)
    assert not line.wants_heartbeat(HEARTBEAT_NS + 2)
    line.send(1, 10, at_ns=HEARTBEAT_NS + 3)
    assert line.wants_heartbeat(2 * HEARTBEAT_NS + 2)


def test_a_line_that_never_answers_is_silent() -> None:
    """A small message without a reply for 15 s means that the connection is dead."""
    line = Line(0)
    line.send(1, 50, at_ns=40 * SECOND_NS)
    assert not line.is_silent(41 * SECOND_NS)
    assert line.is_silent(40 * SECOND_NS + SILENCE_NS + SECOND_NS)


def test_a_busy_thin_line_is_not_silent() -> None:
    """3 MB over 0.05 Mbit/s take eight minutes; the line is given that time before it is called dead."""
    line = Line(0)
    line.send(1, 3_000_000, at_ns=0)
    assert not line.is_silent(480 * SECOND_NS)
    assert line.is_silent(500 * SECOND_NS)


def test_the_wait_in_flight_counts_from_the_reply_before() -> None:
    """The oldest message's wait begins when the line became free for it."""
    line = Line(0)
    line.send(1, 100, at_ns=0)
    line.send(2, 200, at_ns=1_000_000)
    line.settle(1, at_ns=5_000_000)
    in_flight = line.in_flight(8_000_000)
    assert in_flight is not None
    assert (in_flight.size_bytes, in_flight.waiting_ms) == (200, 3.0)


def test_a_line_knows_the_slowest_pace_that_its_messages_had() -> None:
    """A pace that is set or lowered holds for what is under way too; one that is raised or lifted does not."""
    line = Line(0)
    for key, pace_mbps in enumerate((None, 18.0, 9.0, 12.0, None)):
        line.pace(pace_mbps)
        line.send(key, 10, at_ns=key)
    paces = []
    for key in range(5):
        settled = line.settle(key, at_ns=10 + key)
        assert settled is not None
        paces.append(settled.pace_mbps)
    assert paces == [9.0, 9.0, 9.0, 12.0, None]


def test_a_message_that_goes_out_late_keeps_its_place() -> None:
    """Its time counts from then on, and what was sent after it is not taken for lost."""
    line = Line(0)
    line.send(1, 10, at_ns=1)
    line.send(2, 10, at_ns=2)
    line.sent_late(1, at_ns=50)
    assert line.is_next(1)
    settled = line.settle(1, at_ns=60)
    assert settled is not None
    assert (settled.elapsed_ns, settled.alone, settled.lost) == (10, True, 0)
    assert line.awaits(2)
    line.forget(2)
    assert line.owed == 0


def test_a_busy_line_tells_whether_it_is_probed() -> None:
    """So that nobody asks for another probe, which would not be sent."""
    line = Line(0)
    line.send(1, 5_000, at_ns=100)
    assert line.in_flight(1_000_100) == InFlight(5_000, 1.0)
    line.look = Look(2, 3, ())
    assert line.in_flight(1_000_100) == InFlight(5_000, 1.0, is_probed=True)
