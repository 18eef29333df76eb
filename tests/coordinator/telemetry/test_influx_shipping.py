"""What is done with a batch after each answer: every point is stored, or refused for what it is; none is given up."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from coordinator.telemetry.influx_answers import Denied, Rejected, Stored, TooLarge, Unavailable, WriteAnswer
from coordinator.telemetry.influx_shipping import (
    DENIED_WAIT_S,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    Event,
    Lines,
    Refused,
    Rest,
    Rested,
    Send,
    Settle,
    Shipping,
    Taken,
    step,
)

BATCH = (b"one", b"two", b"three", b"four")


class Server:
    """A model of InfluxDB: it refuses bad lines, keeps the good ones of a partial write, and takes so many bytes."""

    def __init__(self, bad: frozenset[bytes], largest: int, *, says_dropped: bool, troubles: list[WriteAnswer]) -> None:
        self.stored: list[bytes] = []
        self.requests = 0
        self._bad = bad
        self._largest = largest
        self._says_dropped = says_dropped
        self._troubles = troubles

    def write(self, lines: Lines) -> WriteAnswer:
        self.requests += 1
        if self._troubles:
            return self._troubles.pop()
        if sum(len(line) + 1 for line in lines) > self._largest:
            return TooLarge()
        bad = sum(line in self._bad for line in lines)
        self.stored += [line for line in lines if line not in self._bad]
        return Rejected("partial write", bad if self._says_dropped else 0) if bad else Stored()


def ship(server: Server, lines: Lines, state: Shipping = Shipping()) -> tuple[Shipping, tuple[Refused, ...]]:  # noqa: B008  # frozen
    event: Event = Taken(lines)
    while True:
        state, instruction = step(event, state)
        match instruction:
            case Send(part):
                event = server.write(part)
            case Rest():
                event = Rested()
            case Settle(refused):
                return state, refused


@given(
    lines=st.lists(st.binary(min_size=1, max_size=12), unique=True, max_size=60).map(tuple),
    share=st.sets(st.integers(0, 59)),
    largest=st.integers(1, 400),
    says_dropped=st.booleans(),
    troubles=st.lists(st.sampled_from([Unavailable("away"), Denied("no")]), max_size=4),
)
def test_every_point_is_stored_or_refused_alone(
    lines: Lines, share: set[int], largest: int, says_dropped: bool, troubles: list[WriteAnswer]
) -> None:
    """Whatever is wrong with some points, and however the server fails between: the others are all stored."""
    bad = frozenset(line for index, line in enumerate(lines) if index in share)
    server = Server(bad, largest, says_dropped=says_dropped, troubles=troubles)
    state, refused = ship(server, lines)
    too_large = {line for line in lines if len(line) + 1 > largest}
    assert set(server.stored) == set(lines) - bad - too_large
    assert {each.line for each in refused} == (bad | too_large) & set(lines)
    assert len(refused) == len({each.line for each in refused})
    assert (state.parts, state.obstacle) == ((), None)


def test_one_bad_point_among_a_thousand_costs_few_requests() -> None:
    """The batch is halved to it, not sent point by point."""
    lines = tuple(f"line{number}".encode() for number in range(1_000))
    server = Server(frozenset([lines[700]]), 10**6, says_dropped=True, troubles=[])
    _, refused = ship(server, lines)
    assert refused == (Refused(lines[700], "partial write"),)
    assert server.requests <= 2 * 10 + 1


def test_a_batch_of_which_the_server_dropped_everything_is_not_halved() -> None:
    """Points older than the retention come in thousands after a long absence: each is refused by one answer."""
    server = Server(frozenset(BATCH), 10**6, says_dropped=True, troubles=[])
    assert ship(server, BATCH)[1] == tuple(Refused(line, "partial write") for line in BATCH)
    assert server.requests == 1


def test_an_answer_of_413_halves_what_is_sent_from_then_on() -> None:
    """The size that a server does not take is not tried again with the next batch."""
    server = Server(frozenset(), 12, says_dropped=True, troubles=[])
    state, refused = ship(server, BATCH)
    assert refused == ()
    tries = server.requests
    ship(server, BATCH, state)
    assert server.requests - tries < tries


def test_waits_grow_with_failures_up_to_a_bound_and_are_drawn_from_zero() -> None:
    """Full jitter: many coordinators do not come back at once."""
    state, _ = step(Taken(BATCH), Shipping())
    longest = []
    for _ in range(20):
        state, rest = step(Unavailable("away"), state)
        assert isinstance(rest, Rest)
        assert rest.least_s == 0.0
        longest.append(rest.most_s)
    assert longest[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert longest[-1] == LONGEST_WAIT_S
    assert state.obstacle == "away"
    assert step(Stored(), state)[0].failures == 0


def test_a_server_may_say_how_long_to_wait() -> None:
    """`Retry-After` is the least."""
    state, _ = step(Taken(BATCH), Shipping())
    assert step(Unavailable("busy", 7.0), state)[1] == Rest(7.0, 7.0 + FIRST_WAIT_S)


def test_a_denial_keeps_everything_and_says_so_until_it_is_mended() -> None:
    """Wrong credentials or a missing database are no reason to give a point up, however long they last."""
    taken, _ = step(Taken(BATCH), Shipping())
    state = taken
    for _ in range(100):
        state, rest = step(Denied("no such database"), state)
        assert rest == Rest(0.0, DENIED_WAIT_S)
        assert (state.obstacle, state.is_denied) == ("no such database", True)
        state, send = step(Rested(), state)
        assert send == Send(BATCH)
    assert step(Stored(), state) == (replace(taken, parts=()), Settle(()))
