"""Which pieces of telemetry of one run of a node are stored: what is new, what came before, what never came.

Pure values; the telemetry store keeps them, in the same transaction as the telemetry itself.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from broker.messages import SpoolMark

MAX_RANGES = 256
"""Bound on the islands above the contiguous part; what would make one more is refused, and comes again later."""


class Verdict(Enum):
    """What to do with a marked message."""

    NEW = auto()
    DUPLICATE = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The sequence numbers of one session, from 1: all up to `contiguous` are settled, stored or never to come.

    `ahead` are the stored ones above it, as inclusive ranges in order, no two of them adjacent. Always
    `stored` + `skipped` = `contiguous` + the numbers in `ahead`.
    """

    contiguous: int = 0
    ahead: tuple[tuple[int, int], ...] = ()
    stored: int = 0
    skipped: int = 0
    """What the node has no more and this store never got: dropped there, or stored by another coordinator."""


def fold(ledger: Ledger, mark: SpoolMark) -> tuple[Ledger, Verdict]:
    """The ledger after a message with this mark, and what to do with the message."""
    if mark.sequence == ledger.contiguous + 1 and not ledger.ahead:
        # By far the most frequent, and the rest would come to the same.
        return Ledger(mark.sequence, (), ledger.stored + 1, ledger.skipped), Verdict.NEW
    ledger = _without_waiting_for(ledger, min(mark.oldest, mark.sequence) - 1)
    if mark.sequence <= ledger.contiguous or any(first <= mark.sequence <= last for first, last in ledger.ahead):
        return ledger, Verdict.DUPLICATE
    ahead = _with(ledger.ahead, mark.sequence)
    if len(ahead) > MAX_RANGES and ahead[0][0] != ledger.contiguous + 1:
        return ledger, Verdict.REFUSED
    return _joined(replace(ledger, ahead=ahead, stored=ledger.stored + 1)), Verdict.NEW


def _without_waiting_for(ledger: Ledger, number: int) -> Ledger:
    """The ledger when nothing up to this number will come any more."""
    if number <= ledger.contiguous:
        return ledger
    there = sum(min(last, number) - first + 1 for first, last in ledger.ahead if first <= number)
    skipped = number - ledger.contiguous - there
    above = tuple((max(first, number + 1), last) for first, last in ledger.ahead if last > number)
    return _joined(replace(ledger, contiguous=number, ahead=above, skipped=ledger.skipped + skipped))


def _with(ranges: tuple[tuple[int, int], ...], number: int) -> tuple[tuple[int, int], ...]:
    """The ranges with a number that is in none of them."""
    below = [each for each in ranges if each[1] < number]
    above = [each for each in ranges if each[0] > number]
    first = last = number
    if below and below[-1][1] == number - 1:
        first = below.pop()[0]
    if above and above[0][0] == number + 1:
        last = above.pop(0)[1]
    return (*below, (first, last), *above)


def _joined(ledger: Ledger) -> Ledger:
    """The ledger with its contiguous part grown over the range that it has reached."""
    if ledger.ahead and ledger.ahead[0][0] == ledger.contiguous + 1:
        return replace(ledger, contiguous=ledger.ahead[0][1], ahead=ledger.ahead[1:])
    return ledger
