"""What a ledger says of numbered telemetry, in whatever order it comes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import SpoolMark
from coordinator.telemetry.ledger import MAX_RANGES, Ledger, Verdict, fold


def mark(sequence: int, oldest: int = 1) -> SpoolMark:
    return SpoolMark(session="s", sequence=sequence, oldest=oldest, age_s=0.0)


def folded(*marks: SpoolMark) -> tuple[Ledger, list[Verdict]]:
    ledger, verdicts = Ledger(), []
    for each in marks:
        ledger, verdict = fold(ledger, each)
        verdicts.append(verdict)
    return ledger, verdicts


def test_what_comes_in_order_is_contiguous() -> None:
    """Numbers from 1 leave nothing ahead."""
    ledger, verdicts = folded(mark(1), mark(2), mark(3))
    assert ledger == Ledger(contiguous=3, stored=3)
    assert verdicts == [Verdict.NEW] * 3


def test_news_may_come_before_the_backlog() -> None:
    """What is ahead is kept as ranges, and joined when the gap is filled."""
    ledger, _ = folded(mark(1), mark(5), mark(6), mark(3))
    assert ledger == Ledger(contiguous=1, ahead=((3, 3), (5, 6)), stored=4)
    ledger, verdict = fold(ledger, mark(4))
    assert (ledger, verdict) == (Ledger(contiguous=1, ahead=((3, 6),), stored=5), Verdict.NEW)
    assert fold(ledger, mark(2))[0] == Ledger(contiguous=6, stored=6)


def test_what_comes_twice_is_a_duplicate() -> None:
    """Below the contiguous part, and in what is ahead."""
    _, verdicts = folded(mark(1), mark(1), mark(3), mark(3))
    assert verdicts == [Verdict.NEW, Verdict.DUPLICATE, Verdict.NEW, Verdict.DUPLICATE]


def test_what_the_node_has_no_more_is_not_waited_for() -> None:
    """Below the oldest that it holds, what was never stored is counted as skipped."""
    ledger, verdict = fold(Ledger(contiguous=2, ahead=((5, 6), (9, 12)), stored=8), mark(20, oldest=10))
    assert verdict is Verdict.NEW
    assert ledger == Ledger(contiguous=12, ahead=((20, 20),), stored=9, skipped=4)  # 3, 4, 7 and 8
    assert fold(ledger, mark(15, oldest=18))[0].skipped == 4 + 2  # a mark does not deny itself: 13 and 14


def test_what_is_scattered_too_far_is_refused_until_gaps_are_filled() -> None:
    """A ledger does not grow without bound; what fills its first gap is always taken."""
    ledger, verdicts = folded(*(mark(2 * number) for number in range(1, MAX_RANGES + 2)))
    assert verdicts == [Verdict.NEW] * MAX_RANGES + [Verdict.REFUSED]
    assert len(ledger.ahead) == MAX_RANGES
    ledger, verdict = fold(ledger, mark(1))
    assert verdict is Verdict.NEW
    assert fold(ledger, mark(2 * MAX_RANGES + 2))[1] is Verdict.NEW


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=120))
def test_every_number_is_accounted_for_once(marks: list[tuple[int, int]]) -> None:
    """Whatever comes: stored and skipped make up all that is settled, and each number is new at most once."""
    ledger, new = Ledger(), []
    for sequence, oldest in marks:
        before = ledger
        ledger, verdict = fold(ledger, mark(sequence, oldest))
        if verdict is Verdict.NEW:
            new.append(sequence)
        ahead = sum(last - first + 1 for first, last in ledger.ahead)
        assert ledger.stored + ledger.skipped == ledger.contiguous + ahead
        assert ledger.contiguous >= before.contiguous
        starts = [ledger.contiguous, *(last for _, last in ledger.ahead)]
        assert all(end + 1 < first <= last for end, (first, last) in zip(starts, ledger.ahead, strict=False))
    assert ledger.stored == len(new) == len(set(new))


@settings(deadline=None)
@given(st.permutations(list(range(1, 30))))
def test_the_order_does_not_matter(order: list[int]) -> None:
    """All numbers that come, in any order, end as one contiguous part."""
    assert folded(*map(mark, order))[0] == Ledger(contiguous=29, stored=29)
