"""The one page that says what a run of benchmarks found, in Markdown."""

import time
from collections.abc import Iterator, Sequence

from comparison import Change, Verdict, is_goal_met
from figures import Figure
from report import Outcome, Report


def page(report: Report, changes: Sequence[Change], against: Report | None) -> str:
    """The page, whose last column says what changed since `against`."""
    return "\n".join(_lines(report, {(change.benchmark, change.name): change for change in changes}, against)) + "\n"


def summary(report: Report, changes: Sequence[Change], against: Report | None) -> Iterator[str]:
    """What a terminal says at the end: the failures, the goals that are missed, and what is worse."""
    for outcome in report.outcomes:
        if outcome.failure is not None:
            yield f"{outcome.benchmark} gave no figures: {outcome.failure}"
    met = [(outcome, figure, is_goal_met(figure)) for outcome in report.outcomes for figure in outcome.figures]
    for outcome, figure, is_met in met:
        if is_met is False:
            yield f"goal missed: {outcome.benchmark}, {figure.name}: {_reached(figure)}, to be {_goal(figure)}"
    goals = [is_met for _, _, is_met in met if is_met is not None]
    yield f"{len(met)} figures; {sum(goals)} of {len(goals)} goals are met."
    yield from _news(changes, against)


def _news(changes: Sequence[Change], against: Report | None) -> Iterator[str]:
    if against is None:
        yield "There is no earlier run to compare with."
        return
    worse = [change for change in changes if change.verdict is Verdict.WORSE]
    better = [change for change in changes if change.verdict is Verdict.BETTER]
    yield f"Beside the committed run of {_day(against.at)}, more than noise: {len(worse)} worse, {len(better)} better."
    for change in worse:
        yield f"worse: {change.benchmark}, {change.name}: {_share(change)}"


def _lines(report: Report, changes: dict[tuple[str, str], Change], against: Report | None) -> Iterator[str]:
    machine = report.machine
    yield "# Benchmarks"
    yield ""
    yield (
        f"{_day(report.at)}, {machine.processor}, {machine.cores} cores, {machine.memory_gb:g} GB, {machine.system}, "
        f"Python {machine.python}. Written by `make bench`; what each figure means: [docs](../../docs/benchmarks.md)."
    )
    if against is None:
        yield "There was no earlier run to compare with."
    elif against.machine.is_like(machine):
        yield f"Changes are beside the run of {_day(against.at)}; within noise is no change."
    else:
        yield (
            f"Changes are beside the run of {_day(against.at)} on another machine ({against.machine.processor}, "
            f"{against.machine.cores} cores), of what stands beside a reference alone."
        )
    yield ""
    yield from _times(report.outcomes)
    for outcome in report.outcomes:
        yield ""
        yield f"## {outcome.benchmark}"
        yield ""
        yield from _table(outcome, changes)


def _times(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| benchmark | took | of | figures |"
    yield "|---|--:|--:|---|"
    for outcome in outcomes:
        found = str(len(outcome.figures)) if outcome.failure is None else f"**none: {_cell(outcome.failure)}**"
        yield f"| {outcome.benchmark} | {outcome.seconds:.0f} s | {outcome.limit_s:.0f} s | {found} |"
    seconds, limit_s = sum(one.seconds for one in outcomes), sum(one.limit_s for one in outcomes)
    yield f"| all | {seconds:.0f} s | {limit_s:.0f} s | {sum(len(one.figures) for one in outcomes)} |"


def _cell(text: str) -> str:
    """What a benchmark said last, which may be anything, as a cell of a table."""
    return text.replace("|", "\\|")


def _table(outcome: Outcome, changes: dict[tuple[str, str], Change]) -> Iterator[str]:
    if outcome.failure is not None:
        yield f"No figures: {outcome.failure}"
        return
    yield "| figure | value | noise | reference | ratio | goal | change |"
    yield "|---|--:|--:|--:|--:|---|---|"
    for figure in outcome.figures:
        reference = _number(figure.reference, figure.unit) if figure.reference is not None else ""
        ratio = f"{figure.relative:.3g}" if figure.relative is not None else ""
        noise = f"± {_number(figure.noise, '')}" if figure.noise is not None else ""
        met = is_goal_met(figure)
        goal = "" if met is None else f"{_goal(figure)}: {'met' if met else '**missed**'}"
        change = changes.get((outcome.benchmark, figure.name))
        cells = (figure.name, _number(figure.value, figure.unit), noise, reference, ratio, goal, _words(change))
        yield f"| {' | '.join(cells)} |"


def _words(change: Change | None) -> str:
    if change is None or change.verdict is Verdict.SAME:
        return ""
    if change.verdict in {Verdict.WORSE, Verdict.BETTER}:
        said = f"{change.verdict.value} {_share(change)}"
        return f"**{said}**" if change.verdict is Verdict.WORSE else said
    return str(change.verdict.value)


def _share(change: Change) -> str:
    if change.share is None or change.noise is None:
        return "it was 0"
    return f"{change.share:+.0%} (noise {change.noise:.0%})"


def _reached(figure: Figure) -> str:
    return f"{figure.ratio:.3g} times" if figure.ratio is not None else _number(figure.value, figure.unit)


def _goal(figure: Figure) -> str:
    bound = "at most" if figure.better == "lower" else "at least"
    goal = figure.goal if figure.goal is not None else 0.0
    return f"{bound} {goal:g} times" if figure.ratio is not None else f"{bound} {_number(goal, figure.unit)}"


def _number(number: float, unit: str) -> str:
    shown = f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.3g}"
    return f"{shown} {unit}".strip()


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
