from pathlib import Path

import figures
import pytest
from comparison import FADING, Verdict, compare, is_goal_met, remembering
from figures import Figure
from hypothesis import given
from hypothesis import strategies as st
from page import page, summary
from report import Machine, Outcome, Report

HERE = Machine("a processor", 2, 8.0, "Linux", "3.11")
ELSEWHERE = Machine("another processor", 2, 8.0, "Linux", "3.11")


def report(*found: Figure, machine: Machine = HERE, failure: str | None = None) -> Report:
    """A run of one benchmark."""
    return Report(0.0, machine, (Outcome("bench", 1.0, 60.0, found, failure),))


def verdicts(before: Report | None, after: Report) -> list[Verdict]:
    """What became of each figure."""
    return [change.verdict for change in compare(before, after)]


def test_what_grew_by_more_than_both_noises_is_worse_where_less_is_better() -> None:
    """10 ± 0.5 and then 11.2 ± 0.5 ms are a change of 12 %, and the noises add up to 9.5 %."""
    before, after = Figure("latency", 10.0, "ms", "lower", noise=0.5), Figure("latency", 11.2, "ms", "lower", noise=0.5)
    assert verdicts(report(before), report(after)) == [Verdict.WORSE]
    assert verdicts(report(after), report(before)) == [Verdict.BETTER]


def test_within_the_noise_of_both_runs_nothing_has_changed() -> None:
    """10 ± 1 and then 11 ± 1 ms."""
    before, after = Figure("latency", 10.0, "ms", "lower", noise=1.0), Figure("latency", 11.0, "ms", "lower", noise=1.0)
    assert verdicts(report(before), report(after)) == [Verdict.SAME]


def test_a_figure_that_was_measured_once_is_taken_to_be_off_by_a_tenth() -> None:
    """8 % more may be nothing; 12 % are a change."""
    before = Figure("rate", 100.0, "1/s", "higher")
    assert verdicts(report(before), report(Figure("rate", 92.0, "1/s", "higher"))) == [Verdict.SAME]
    assert verdicts(report(before), report(Figure("rate", 88.0, "1/s", "higher"))) == [Verdict.WORSE]


def test_on_another_machine_a_figure_is_compared_beside_its_reference() -> None:
    """Twice the time beside twice the reference is no change; beside the same reference it is."""
    before = Figure("latency", 10.0, "ms", "lower", reference=5.0)
    slower = Figure("latency", 20.0, "ms", "lower", reference=10.0)
    worse = Figure("latency", 20.0, "ms", "lower", reference=5.0)
    assert verdicts(report(before), report(slower, machine=ELSEWHERE)) == [Verdict.SAME]
    assert verdicts(report(before), report(worse, machine=ELSEWHERE)) == [Verdict.WORSE]


def test_on_another_machine_a_figure_without_reference_is_not_compared() -> None:
    """A slower machine is no fault of ours."""
    before, after = Figure("latency", 10.0, "ms", "lower"), Figure("latency", 20.0, "ms", "lower")
    assert verdicts(report(before), report(after, machine=ELSEWHERE)) == [Verdict.ELSEWHERE]


def test_a_figure_with_a_ratio_is_compared_by_it_on_the_same_machine_too() -> None:
    """A machine that was busy made both slower."""
    before = Figure("latency", 10.0, "ms", "lower", reference=5.0, ratio=2.0)
    after = Figure("latency", 30.0, "ms", "lower", reference=15.0, ratio=2.0)
    assert verdicts(report(before), report(after)) == [Verdict.SAME]


def test_a_loss_that_was_never_there_is_worse() -> None:
    """From 0 there is no share, and no noise either."""
    before, after = Figure("lost", 0.0, "", "lower"), Figure("lost", 1.0, "", "lower")
    assert verdicts(report(before), report(after)) == [Verdict.WORSE]
    assert verdicts(report(before), report(before)) == [Verdict.SAME]


def test_figures_come_and_go() -> None:
    """A new one has nothing to be compared with, nor has one of another unit; one that is no more is told."""
    before, after = report(Figure("old", 1.0, "ms", "lower")), report(Figure("new", 1.0, "ms", "lower"))
    assert verdicts(before, after) == [Verdict.NEW, Verdict.GONE]
    assert verdicts(before, report(Figure("old", 1.0, "s", "lower"))) == [Verdict.NEW]
    assert verdicts(None, after) == [Verdict.NEW]


def test_of_a_benchmark_that_failed_nothing_is_gone() -> None:
    """That it failed is told by itself."""
    assert verdicts(report(Figure("old", 1.0, "ms", "lower")), report(failure="it ended with 1")) == []


@given(st.floats(0.001, 1e6), st.floats(0.0, 1e3), st.sampled_from(["lower", "higher"]))
def test_a_run_is_never_worse_than_itself(value: float, noise: float, better: str) -> None:
    """Whatever the figure and its noise are."""
    once = report(Figure("figure", value, "", better, noise=noise))  # type: ignore[arg-type]  # one of the two words
    assert verdicts(once, once) == [Verdict.SAME]


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_what_is_worse_in_one_direction_is_better_in_the_other(before: float, after: float) -> None:
    """The same change of a figure of which more is better."""
    low = verdicts(report(Figure("a", before, "", "lower")), report(Figure("a", after, "", "lower")))
    high = verdicts(report(Figure("a", before, "", "higher")), report(Figure("a", after, "", "higher")))
    opposite = {Verdict.WORSE: Verdict.BETTER, Verdict.BETTER: Verdict.WORSE, Verdict.SAME: Verdict.SAME}
    assert high == [opposite[verdict] for verdict in low]


def test_what_goes_from_run_to_run_by_itself_counts_where_it_goes_twice_as_far() -> None:
    """10, 12 and 14 ms on one machine: the first 20 % were a change, another 17 % are what it does."""
    first, second, third, fourth = (
        report(Figure("latency", ms, "ms", "lower", noise=0.01)) for ms in (10.0, 12.0, 14.0, 20.0)
    )
    assert verdicts(first, second) == [Verdict.WORSE]
    kept = remembering(first, second)
    assert verdicts(kept, third) == [Verdict.SAME]
    assert verdicts(kept, fourth) == [Verdict.WORSE]


def test_a_drift_fades_while_a_figure_stays() -> None:
    """And is of one machine."""
    first, second = (report(Figure("latency", ms, "ms", "lower")) for ms in (10.0, 12.0))
    drifts = []
    kept = remembering(first, second)
    for _ in range(2):
        drifts += [figure.drift for figure in kept.figures().values()]
        kept = remembering(kept, second)
    assert drifts == pytest.approx([0.2, 0.2 * FADING])
    elsewhere = report(Figure("latency", 12.0, "ms", "lower"), machine=ELSEWHERE)
    assert remembering(first, elsewhere) == elsewhere
    assert remembering(None, first) == first


def test_a_goal_is_one_of_the_ratio_where_there_is_one() -> None:
    """1.8 times is within twice, whatever the milliseconds are; without a ratio the value counts."""
    assert is_goal_met(Figure("overhead", 9.0, "ms", "lower", reference=5.0, ratio=1.8, goal=2.0))
    assert not is_goal_met(Figure("memory", 61.0, "MB", "lower", reference=40.0, goal=60.0))
    assert is_goal_met(Figure("share", 0.93, "", "higher", goal=0.9))
    assert is_goal_met(Figure("memory", 61.0, "MB", "lower")) is None


def test_a_figure_is_written_and_read_as_it_is(tmp_path: Path) -> None:
    """With and without what may be left out."""
    found = [Figure("a", 1.0, "ms", "lower", 0.1, 0.5, 2.0, 3.0), Figure("b", 2.0, "", "higher")]
    figures.write(tmp_path / "found.json", found)
    assert figures.read(tmp_path / "found.json") == found


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    """They could not be told apart in the next run."""
    with pytest.raises(ValueError, match="'a'"):
        figures.write(tmp_path / "found.json", [Figure("a", 1.0, "ms", "lower"), Figure("a", 2.0, "ms", "lower")])


def test_a_figure_that_is_no_number_is_refused() -> None:
    """JSON has no infinity."""
    with pytest.raises(ValueError, match="finite"):
        Figure("a", float("inf"), "ms", "lower")


def test_noise_leaves_out_the_outermost_of_five_repetitions() -> None:
    """One that was disturbed says little of the others."""
    assert figures.spread([1.0]) is None
    assert figures.spread([1.0, 2.0]) == 0.5
    assert figures.spread([1.0, 2.0, 3.0, 4.0, 100.0]) == 1.0
    assert figures.repeated("a", [3.0, 1.0, 2.0], "ms", "lower").value == 2.0


def test_a_report_is_written_and_read_as_it_is() -> None:
    """So that it can be committed."""
    found = report(Figure("latency", 10.0, "ms", "lower", noise=0.5), failure=None)
    assert Report.from_json(found.to_json()) == found


def test_the_page_says_what_is_worse_what_failed_and_which_goals_are_missed() -> None:
    """In the line of the figure, and at the end of the run."""
    before = report(Figure("latency", 10.0, "ms", "lower", goal=15.0))
    after = Report(
        86_400.0,
        HERE,
        (
            Outcome("bench", 1.0, 60.0, (Figure("latency", 20.0, "ms", "lower", goal=15.0),)),
            Outcome("broken", 1.0, 60.0, (), "it ended with 1: a|b"),
        ),
    )
    changes = compare(before, after)
    text = page(after, changes, before)
    assert "| latency | 20 ms |  |  |  | at most 15 ms: **missed** | **worse +100% (noise 10%)** |" in text
    assert "| bench | 1 s | 60 s | 1 |" in text
    assert "| broken | 1 s | 60 s | **none: it ended with 1: a\\|b** |" in text
    assert "| all | 2 s | 120 s | 1 |" in text
    assert "No figures: it ended with 1: a|b" in text
    assert list(summary(after, changes, before)) == [
        "broken gave no figures: it ended with 1: a|b",
        "goal missed: bench, latency: 20 ms, to be at most 15 ms",
        "1 figures; 0 of 1 goals are met.",
        "Beside the committed run of 1970-01-01, more than noise: 1 worse, 0 better.",
        "worse: bench, latency: +100% (noise 10%)",
    ]
