"""The report of a chaos experiment in words: a table of recovery, and what did not hold; for terminal and report.md."""

from collections import Counter
from collections.abc import Iterable, Sequence

from testbed.chaos.results import Results, Trial
from testbed.paper.tables import Table, markdown

MOST_REASONS = 12


def summary(results: Results) -> tuple[Table, ...]:
    """The faults with how the site came through them; why requests failed; and what did not hold, if anything."""
    tables = [_recovery(results.trials)]
    reasons = _reasons(results.trials)
    if reasons.rows:
        tables.append(reasons)
    broken = _broken(results.trials)
    if broken.rows:
        tables.append(broken)
    return tuple(tables)


def circumstances(results: Results) -> tuple[str, ...]:
    """Under which conditions the figures came about, and what is emulated."""
    conditions = results.conditions
    return (
        f"Emulated: {conditions.emulated}.",
        f"{conditions.model}, {conditions.rate_per_s:g} requests/s; the site is "
        f"{'secured: TLS, passwords, topic rights' if conditions.secured else 'open, on loopback alone'}; "
        f"the spool's full disk is {conditions.spool_disk}; seed {conditions.seed}; Splitrail {results.version}.",
        "Leases, heartbeats, probes and planning are quicker than by default (2 s, 0.5 s, 1 s and 1 s).",
    )


def verdict(results: Results) -> str:
    """In one sentence how many trials held all that they must."""
    passed = sum(trial.passed for trial in results.trials)
    sent, answered = (sum(getattr(trial.requests, what) for trial in results.trials) for what in ("sent", "answered"))
    return (
        f"{passed} of {len(results.trials)} trials held all checks; of {sent} requests {answered} were answered, "
        f"{sent - answered} failed with a reason"
    )


def written(results: Results) -> str:
    """The whole report as Markdown."""
    parts = ["# Faults under load", *circumstances(results), verdict(results) + ".", markdown(summary(results))]
    return "\n\n".join(parts) + "\n"


def _recovery(trials: Sequence[Trial]) -> Table:
    by_fault: dict[str, list[Trial]] = {}
    for trial in trials:
        by_fault.setdefault(trial.fault, []).append(trial)
    return Table(
        title="Faults and recovery",
        headings=(
            "fault",
            "held",
            "sent",
            "answered",
            "fallback",
            "failed",
            "first answer, s",
            "by a whole plan, s",
            "longest gap, s",
            "converged, s",
            "telemetry, s",
            "released, s",
        ),
        rows=tuple(_row(fault, each) for fault, each in by_fault.items()),
        notes=(
            "Times are the worst of the rounds. First answer: from the fault to the first answer to a request that was "
            "sent after it. By a whole plan: the same, not finished by the origin alone. Longest gap: without an "
            "answer, from the fault on. Converged: from the end of the fault until every node is there and ready, none "
            "is left out, and the plan is the best by the true links, or within 15 % of it.",
            "Telemetry: from the end of the load until all of it is stored. Released: from then until no process holds "
            "more threads or descriptors than before the first fault.",
            "Held: in how many of the rounds all checks held.",
        ),
    )


def _row(fault: str, trials: Sequence[Trial]) -> tuple[str, ...]:
    requests = [trial.requests for trial in trials]
    recoveries = [trial.recovery for trial in trials]
    return (
        fault,
        f"{sum(trial.passed for trial in trials)} of {len(trials)}",
        str(sum(each.sent for each in requests)),
        str(sum(each.answered for each in requests)),
        str(sum(each.fallback for each in requests)),
        str(sum(each.failed for each in requests)),
        _worst([each.first_answer_s for each in recoveries]),
        _worst([each.first_whole_s for each in recoveries]),
        _worst([each.longest_gap_s for each in recoveries]),
        _worst([each.converged_s for each in recoveries]),
        _worst([each.telemetry_s for each in recoveries]),
        _worst([each.released_s for each in recoveries]),
    )


def _worst(times_s: Iterable[float | None]) -> str:
    """The longest; "never" where one did not come about."""
    known = list(times_s)
    times = [time_s for time_s in known if time_s is not None]
    return f"{max(times):.1f}" if len(times) == len(known) else "never"


def _reasons(trials: Iterable[Trial]) -> Table:
    counts: Counter[tuple[str, str]] = Counter()
    for trial in trials:
        for reason, count in trial.requests.reasons.items():
            counts[trial.fault, reason] += count
    listed = counts.most_common(MOST_REASONS)
    more = len(counts) - len(listed)
    return Table(
        title="Why requests failed",
        headings=("fault", "reason", "requests"),
        rows=tuple((fault, reason, str(count)) for (fault, reason), count in listed),
        notes=(f"{more} more are in results.json.",) if more else (),
        words=2,
    )


def _broken(trials: Iterable[Trial]) -> Table:
    return Table(
        title="What did not hold",
        headings=("fault", "round", "check", "what is wrong"),
        rows=tuple(
            (trial.fault, str(trial.round), check.name, check.fault)
            for trial in trials
            for check in trial.checks
            if not check.passed
        ),
        words=4,
    )
