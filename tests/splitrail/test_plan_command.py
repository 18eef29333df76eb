"""`splitrail plan`: what it prints, where, and how it exits."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from splitrail.cli import main

PROBLEM: Any = {
    "model": {"name": "toy", "bytes": [600000, 100000, 4000], "weight_mb": [1.5, 3.0]},
    "origin": "pi",
    "nodes": [
        {"name": "pi", "tier": "edge", "op_ms": [20, 300], "idle_w": 2.7, "busy_w": 6.4},
        {"name": "laptop", "tier": "fog", "op_ms": [900, 900]},
        {"name": "pc", "tier": "cloud", "op_ms": [2, 3]},
    ],
    "links": [
        {"src": src, "dst": dst, "rtt_ms": 4, "mbps": 40}
        for src, dst in (("pi", "laptop"), ("laptop", "pc"), ("pc", "laptop"), ("laptop", "pi"))
    ],
}
FIELDS = [
    "strategy",
    "feasible",
    "stages",
    "return",
    "latency_ms",
    "origin_energy_j",
    "total_energy_j",
    "objective",
    "planning_ms",
]


@pytest.fixture
def problem_file(tmp_path: Path) -> Path:
    """A file with a small problem."""
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(PROBLEM))
    return path


def test_json_has_the_plan_and_its_figures(problem_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object with half-open stages, the codec into each, the way back and finite figures."""
    assert main(["plan", str(problem_file), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == FIELDS
    assert (printed["strategy"], printed["feasible"]) == ("exact", True)
    assert printed["stages"] == [
        {"node": "pi", "start": 0, "stop": 1, "codec": None},
        {"node": "laptop", "start": 1, "stop": 1, "codec": "raw"},
        {"node": "pc", "start": 1, "stop": 2, "codec": "raw"},
    ]
    assert printed["return"] == ["pc", "laptop", "pi"]
    assert printed["latency_ms"] == pytest.approx(20 + 2 * (2 + 20) + 3 + 2 * (2 + 0.8))
    assert all(math.isfinite(printed[field]) for field in FIELDS[4:])


def test_a_strategy_can_be_named(problem_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--strategy origin-only` stays on the origin and returns nowhere."""
    assert main(["plan", str(problem_file), "--strategy", "origin-only", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["stages"] == [{"node": "pi", "start": 0, "stop": 2, "codec": None}]
    assert (printed["return"], printed["objective"]) == ([], 1.0)


def test_a_reader_sees_stages_relays_and_modelled_energy(
    problem_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --json the plan is a table, and the energy is said to be modelled."""
    assert main(["plan", str(problem_file)]) == 0
    printed = capsys.readouterr().out
    for words in ("toy, 2 ops", "[0, 1)", "relays", "pc -> laptop -> pi", "energy (modelled)", "origin-only: 1"):
        assert words in printed


def test_a_problem_comes_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dash reads standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(PROBLEM).encode())))
    assert main(["plan", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feasible"] is True


def test_an_infeasible_problem_is_an_answer_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The object says feasible false and why, its figures are null, and the same sentence is on standard error."""
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({**PROBLEM, "deadline_ms": 1}))
    assert main(["plan", str(path), "--json"]) == 2
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert list(printed) == [*FIELDS, "reason"]
    assert (printed["feasible"], printed["stages"], printed["return"], printed["latency_ms"]) == (False, [], [], None)
    assert "the quickest takes 72.6 ms" in printed["reason"]
    assert captured.err == f"splitrail: {printed['reason']}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2: not JSON: the text ends too early"),
        (json.dumps({**PROBLEM, "origin": "x"}), "origin is 'x', which is none of the nodes pi, laptop, pc"),
    ],
)
def test_a_malformed_problem_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    """Nothing on standard output, one line with path and place on standard error."""
    path = tmp_path / "problem.json"
    path.write_text(text)
    assert main(["plan", str(path), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"splitrail: {path}: {message}\n"


def test_a_file_that_is_not_there_or_an_unknown_strategy_is_one_line(
    problem_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both exit 2; the strategies that there are get listed."""
    assert main(["plan", "absent.json"]) == 2
    assert capsys.readouterr().err == "splitrail: absent.json: No such file or directory\n"
    with pytest.raises(SystemExit) as caught:
        main(["plan", str(problem_file), "--strategy", "best"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "origin-only" in error


def test_the_example_of_the_page_prints_what_the_page_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/planning.md shows what its own problem gives, but for the time that planning took."""
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    blocks = [block.split("\n", 1)[1].strip() for block in page.split("```")[1::2]]
    path = tmp_path / "problem.json"
    path.write_text(blocks[0])

    assert main(["plan", str(path)]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed[1:] == blocks[1].splitlines()[2:]

    assert main(["plan", str(path), "--json"]) == 0
    shown = json.loads(next(block for block in blocks if "--json" in block).splitlines()[1])
    assert {**json.loads(capsys.readouterr().out), "planning_ms": None} == {**shown, "planning_ms": None}

    path.write_text(json.dumps({**json.loads(blocks[0]), "deadline_ms": 50}))
    assert main(["plan", str(path)]) == 2
    assert capsys.readouterr().err.strip() in blocks
