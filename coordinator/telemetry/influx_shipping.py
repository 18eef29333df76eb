"""What to do next with a batch of points, given what the server said: pure decisions.

Sending, waiting and keeping are `coordinator.telemetry.influx_shipper`'s.
"""

from dataclasses import dataclass, replace
from typing import Final

from coordinator.telemetry.influx_answers import Denied, Rejected, Stored, TooLarge, Unavailable, WriteAnswer

Lines = tuple[bytes, ...]

MAX_BODY_BYTES: Final = 8_000_000
"""InfluxDB 1 takes 25 MB, 3 Core 10 MB, unless it is told otherwise."""
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
DENIED_WAIT_S: Final = 10.0
"""Who mends a password or makes a database should not wait long to see it work."""
_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class Refused:
    """A point that the server will never take, and why."""

    line: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch was taken out of the spool."""

    lines: Lines


@dataclass(frozen=True, slots=True)
class Rested:
    """The wait is over."""


Event = Taken | Rested | WriteAnswer


@dataclass(frozen=True, slots=True)
class Send:
    """Write these lines in one request."""

    lines: Lines


@dataclass(frozen=True, slots=True)
class Settle:
    """Every point of the batch is stored or refused: keep the refused ones aside and forget the batch."""

    refused: tuple[Refused, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait for a time drawn evenly between these two (full jitter), in s."""

    least_s: float
    most_s: float


Instruction = Send | Settle | Rest


@dataclass(frozen=True, slots=True)
class Shipping:
    """How far a batch is, and what was learnt of the server."""

    parts: tuple[Lines, ...] = ()
    """What of the batch is still to be sent, the next part first."""
    refused: tuple[Refused, ...] = ()
    most_bytes: int = MAX_BODY_BYTES
    """No larger request is sent; halved where the server finds one too large."""
    failures: int = 0
    """In a row."""
    obstacle: str | None = None
    """Why nothing goes on; None while it does."""
    is_denied: bool = False
    """Whether the obstacle stays until somebody changes something."""


def step(event: Event, state: Shipping) -> tuple[Shipping, Instruction]:
    """What to do after an event. Each point of a batch is sent until it is stored or, alone, refused."""
    match event:
        case Taken(lines):
            after = replace(state, parts=_parts(lines, state.most_bytes), refused=())
        case Rested():
            after = state
        case Stored():
            after = replace(_in_touch(state), parts=state.parts[1:])
        case Rejected():
            after = _bisected(event, _in_touch(state))
        case TooLarge():
            after = _halved(_in_touch(state))
        case Denied() | Unavailable():
            return _stopped(event, state)
    return after, Send(after.parts[0]) if after.parts else Settle(after.refused)


def _stopped(answer: Denied | Unavailable, state: Shipping) -> tuple[Shipping, Rest]:
    is_denied = isinstance(answer, Denied)
    after = replace(state, failures=state.failures + 1, obstacle=answer.reason, is_denied=is_denied)
    if isinstance(answer, Denied):
        return after, Rest(0.0, DENIED_WAIT_S)
    longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(state.failures, _MOST_DOUBLINGS))
    return after, Rest(answer.retry_after_s, answer.retry_after_s + longest_s)


def _in_touch(state: Shipping) -> Shipping:
    return replace(state, failures=0, obstacle=None, is_denied=False)


def _bisected(answer: Rejected, state: Shipping) -> Shipping:
    part, rest = state.parts[0], state.parts[1:]
    if len(part) == 1 or answer.dropped == len(part):
        refused = tuple(Refused(line, answer.reason) for line in part)
        return replace(state, parts=rest, refused=state.refused + refused)
    middle = len(part) // 2
    # Good points of a partial write are written again: one series and time is one point, however often it comes.
    return replace(state, parts=(part[:middle], part[middle:], *rest))


def _halved(state: Shipping) -> Shipping:
    part, rest = state.parts[0], state.parts[1:]
    if len(part) == 1:
        refused = Refused(part[0], f"{len(part[0])} bytes are more than the server takes in one request")
        return replace(state, parts=rest, refused=(*state.refused, refused))
    most_bytes = max(1, _size(part) // 2)
    smaller = tuple(part for large in state.parts for part in _parts(large, most_bytes))
    return replace(state, parts=smaller, most_bytes=most_bytes)


def _parts(lines: Lines, most_bytes: int) -> tuple[Lines, ...]:
    """The lines in runs that are no larger each, but for a line that is larger alone."""
    parts: list[Lines] = []
    first, size = 0, 0
    for index, line in enumerate(lines):
        if index > first and size + len(line) + 1 > most_bytes:
            parts.append(lines[first:index])
            first, size = index, 0
        size += len(line) + 1
    if first < len(lines):
        parts.append(lines[first:])
    return tuple(parts)


def _size(lines: Lines) -> int:
    return sum(len(line) + 1 for line in lines)
