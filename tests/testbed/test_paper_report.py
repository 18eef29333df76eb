"""The experiment's report, tables and pictures, from made-up runs."""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from paper_records import key, run
from rich.console import Console
from test_paper_journal import SETTINGS

from testbed.paper.deviations import deviations
from testbed.paper.intervals import Estimate
from testbed.paper.plots import draw
from testbed.paper.published import published_gains
from testbed.paper.records import Mode, RunRecord
from testbed.paper.report import details, summary, written
from testbed.paper.results import Explanation, ModelFacts, PublishedGain, Results
from testbed.paper.statistics import averages, contender_figures
from testbed.paper.tables import Table, figure, markdown, show
from testbed.traces import Trace

TRACE = Trace("bus.csv", (0.0, 50.0), (10.0, 1.0))
CONTENDERS = ("paper-static", "best-fixed", "reap", "latency", "clairvoyant")
LATENCIES = {"paper-static": 400.0, "best-fixed": 200.0, "reap": 380.0, "latency": 110.0, "clairvoyant": 100.0}


def records(modes: Sequence[Mode] = ("emulated", "simulated"), repetitions: int = 2) -> list[RunRecord]:
    return [
        run(
            key(name, repetition, mode=mode, trace=TRACE.label),
            [LATENCIES[name] * (1.1 if mode == "simulated" else 1.0) + repetition] * 5,
            switches=name == "latency",
        )
        for mode in modes
        for repetition in range(1, repetitions + 1)
        for name in CONTENDERS
    ]


def results(of: list[RunRecord]) -> Results:
    rows = contender_figures(of)
    means = averages(rows)
    return Results(
        settings=msgspec.structs.replace(SETTINGS, contenders=CONTENDERS),
        models=(ModelFacts(model="vgg16", weights="random weights", profile="measured here", machines=("a Pi",)),),
        runs=len(of),
        took_s=100.0,
        contenders=rows,
        averages=means,
        deviations=deviations(rows),
        explanations=(
            Explanation(
                contender="latency",
                model="vgg16",
                switched_off=None,
                regret_percent=Estimate(mean=10.0, half_width=None, n=1),
                pairs=1,
            ),
        ),
        published=published_gains(of, means),
    )


def test_results_travel_as_json() -> None:
    """What is written can be read again."""
    made = results(records())
    assert msgspec.json.decode(msgspec.json.encode(made), type=Results) == made


def test_the_report_says_what_is_emulated_and_modelled() -> None:
    """And names the weights, the trace and where times come from; every contender has its row."""
    text = written(results(records()), ("picture.svg",))
    for words in ("Emulated, on one host", "Simulated, in virtual time", "is modelled, none is measured"):
        assert words in text
    for words in ("random weights", "bus.csv", "measured here", "![picture.svg](picture.svg)", "95 % interval"):
        assert words in text
    for name in CONTENDERS:
        assert f"| {name} |" in text


def test_a_simulation_alone_claims_no_emulation() -> None:
    """What was not done is not said to have been."""
    made = results(records(("simulated",)))
    made = msgspec.structs.replace(made, settings=msgspec.structs.replace(made.settings, mode="simulated"))
    assert "Emulated, on one host" not in written(made, ())


def test_no_interval_is_shown_of_one_repetition() -> None:
    """A single value stands alone."""
    [table] = details(results(records(("emulated",), repetitions=1)))
    assert not any("±" in cell for row in table.rows for cell in row)


def test_the_simulator_is_put_beside_the_emulation() -> None:
    """How much more it says, of each contender."""
    table = next(table for table in summary(results(records())) if table.title.startswith("The simulator"))
    assert {row[1] for row in table.rows} == {"+9.9", "+10.0"}


def test_published_gains() -> None:
    """reap's own, by its own energy model, beside what was published, with the plans that explain it."""
    [gain] = results(records(("emulated",))).published
    assert gain.published_energy_percent == -35.82
    assert gain.energy_percent is not None
    assert gain.energy_percent.mean == pytest.approx(-5.0, abs=0.1)
    assert gain.reap_plan == "pi relays"
    assert gain.same_direction


def test_a_gain_in_the_other_direction_is_told() -> None:
    """Whether both moved as published is never guessed."""
    [gain] = results(records(("emulated",))).published
    slower = msgspec.structs.replace(gain, latency_percent=Estimate(mean=3.0, half_width=None, n=1))
    assert isinstance(slower, PublishedGain)
    assert not slower.same_direction


@pytest.mark.parametrize(
    ("estimate", "digits", "words"),
    [
        (None, 0, "-"),
        (Estimate(mean=12.34, half_width=None, n=1), 1, "+12.3"),
        (Estimate(mean=-12.34, half_width=1.26, n=3), 1, "-12.3 ± 1.3"),
        (Estimate(mean=-0.004, half_width=None, n=1), 1, "0.0"),
    ],
)
def test_figures_in_words(estimate: Estimate | None, digits: int, words: str) -> None:
    """A mean with its interval where there is one, without a sign before a zero."""
    assert figure(estimate, digits, signed=True) == words


def test_a_table_reads_the_same_everywhere() -> None:
    """In a terminal and as Markdown, in which a bar inside a cell would end it."""
    table = Table("A title", ("name", "ms"), (("one|two", "3"),), ("A note.",))
    text = StringIO()
    show(table, Console(file=text, width=80))
    assert "one|two" in text.getvalue()
    assert markdown([table]) == "## A title\n\n| name | ms |\n| --- | ---: |\n| one\\|two | 3 |\n\nA note."


def test_pictures(tmp_path: Path) -> None:
    """One for each question, as SVG that is the same each time."""
    of = records()
    names = draw(results(of), of, {TRACE.label: TRACE}, tmp_path)
    assert set(names) == {
        "contenders-emulated.svg",
        "regret-emulated.svg",
        "timeline-emulated-vgg16.svg",
        "contenders-simulated.svg",
        "regret-simulated.svg",
        "timeline-simulated-vgg16.svg",
        "simulated-against-emulated.svg",
    }
    before = {name: (tmp_path / name).read_bytes() for name in names}
    draw(results(of), of, {TRACE.label: TRACE}, tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


def test_pictures_of_runs_without_answers(tmp_path: Path) -> None:
    """Nothing to draw is no reason to fail."""
    of = [run(key(name, trace=TRACE.label), [None]) for name in CONTENDERS]
    assert "contenders-emulated.svg" in draw(results(of), of, {TRACE.label: TRACE}, tmp_path)
