"""What a coordinator counts, and that it counts each thing once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_site import inference_message
from messages_to_count import plan, reading

from broker.messages import InferenceReport, SpoolMark
from coordinator import tally as tally_module
from coordinator.tally import LATENCY_BOUNDS_S, Counts, Tally


def inference(
    sequence: int | None = None, *, session: str = "s1", oldest: int = 1, **changes: object
) -> InferenceReport:
    mark = None if sequence is None else SpoolMark(session=session, sequence=sequence, oldest=oldest, age_s=0.0)
    return msgspec.structs.replace(inference_message(), mark=mark, **changes)


def counted(*reports: InferenceReport) -> Counts:
    tally = Tally(["photos"])
    for report in reports:
        tally.count(report, 0.0)
    return tally.counts()


def inferences(counts: Counts) -> dict[tuple[str, str], int]:
    return {key: count for key, count in counts.inferences if count}


def test_inferences_are_counted_by_how_they_ended() -> None:
    """What the origin finished is told apart from what went by plan, and from what failed."""
    counts = counted(inference(), inference(), inference(fallback="laptop is silent"), inference(error="late"))
    assert inferences(counts) == {("photos", "answered"): 2, ("photos", "rescued"): 1, ("photos", "failed"): 1}


def test_a_declared_deployment_begins_at_zero() -> None:
    """So that the first inference is a rise that can be seen."""
    counts = Tally(["photos"]).counts()
    assert [count for _, count in counts.inferences] == [0, 0, 0]
    assert counts.plan_changes == (("photos", 0),)


def test_a_deployment_that_nobody_declared_makes_no_series() -> None:
    """Whatever a node names; they are counted together."""
    counts = counted(*(inference(deployment=name) for name in ("x", "y", "z")))
    assert inferences(counts) == {("other", "answered"): 3}


@given(st.lists(st.floats(0.0, 100.0), max_size=50))
def test_latencies_fall_between_their_bounds(latencies_s: list[float]) -> None:
    """Each counts once, at the first bound that is not below it; those of failures do not."""
    counts = counted(*(inference(latency_ms=1e3 * each) for each in latencies_s), inference(error="late"))
    found = dict(counts.latencies).get(("photos", False))
    if found is None:
        assert not latencies_s
        return
    for place, bound in enumerate(LATENCY_BOUNDS_S):
        assert sum(found.counts[: place + 1]) == sum(1e3 * each / 1e3 <= bound for each in latencies_s)
    assert found.sum_s == pytest.approx(sum(latencies_s))


def test_emulated_latencies_are_told_apart() -> None:
    """Nobody takes them for measurements of a real continuum."""
    assert [kind for kind, _ in counted(inference(), inference(emulated=True)).latencies] == [
        ("photos", False),
        ("photos", True),
    ]


@given(st.permutations(range(1, 9)), st.lists(st.integers(0, 7), max_size=20))
def test_what_is_sent_again_counts_once_in_whatever_order(order: list[int], again: list[int]) -> None:
    """News may overtake what waited in the spool, and both may come twice."""
    sent = [*order, *(order[place] for place in again)]
    assert inferences(counted(*(inference(number) for number in sent))) == {("photos", "answered"): 8}


def test_another_run_of_a_node_counts_anew() -> None:
    """Its numbers begin at 1 again, also where the last of the run before come later."""
    reports = (inference(1), inference(1, session="s2"), inference(2), inference(2, session="s2"), inference(2))
    assert inferences(counted(*reports)) == {("photos", "answered"): 4}


def test_what_is_remembered_of_runs_and_meters_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were heard of longest ago are forgotten first."""
    monkeypatch.setattr(tally_module, "MAX_RUNS", 2)
    monkeypatch.setattr(tally_module, "MAX_METERS", 2)
    tally = Tally(["photos"])
    for number in range(5):
        tally.count(inference(1, session=f"s{number}"), 0.0)
        tally.count(reading("pi", f"meter {number}", sequence=number + 1), 0.0)
    assert len(tally._ledgers) == 2
    assert [heard.reading.meter for heard in tally.counts().readings] == ["meter 3", "meter 4"]


def test_each_meters_newest_reading_is_kept() -> None:
    """One that waited in the spool says nothing of the present."""
    tally = Tally(["photos"])
    tally.count(reading("pi", "rapl", sequence=1, power_w=2.0), 1.0)
    tally.count(reading("pi", "model", sequence=2, power_w=3.0), 1.0)
    tally.count(reading("pi", "rapl", sequence=4, power_w=5.0), 2.0)
    tally.count(reading("pi", "rapl", sequence=3, power_w=4.0, age_s=60.0), 3.0)
    assert [(heard.reading.meter, heard.reading.power_w, heard.arrived_at) for heard in tally.counts().readings] == [
        ("model", 3.0, 1.0),
        ("rapl", 5.0, 2.0),
    ]


def test_a_plan_counts_as_a_change_once_and_not_when_it_is_the_first_heard_of() -> None:
    """What the broker had kept is no change, nor is the same plan under a new term."""
    tally = Tally(["photos"])
    for told in (plan(3), plan(3, term=2), plan(4), plan(4), plan(2), plan(9, deployment="unknown")):
        tally.count_plan(told)
    assert tally.counts().plan_changes == (("photos", 1),)
