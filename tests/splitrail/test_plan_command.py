"""`splitrail plan`: what it prints, where, and how it exits."""

import io
import json
import math
import re
import shlex
import subprocess
import sys
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


def with_spread(problem: Any, **changes: Any) -> Any:
    """The problem with times and bandwidths that vary, and other changes."""
    nodes = [{**node, "op_ms_std": [ms / 10 for ms in node["op_ms"]]} for node in problem["nodes"]]
    links = [{**link, "mbps_std": link["mbps"] / 5} for link in problem["links"]]
    return {**problem, "nodes": nodes, "links": links, **changes}


def printed_by(capsys: pytest.CaptureFixture[str], path: Path, problem: Any, *options: str) -> Any:
    """What `splitrail plan` prints for a problem with --json."""
    path.write_text(json.dumps(problem))
    assert main(["plan", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_risk_and_a_weight_on_throughput_add_their_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quantile is printed where the problem has a risk, the period where the objective weighs throughput."""
    path = tmp_path / "problem.json"
    risky = printed_by(capsys, path, with_spread(PROBLEM, risk=0.95))
    assert list(risky) == [*FIELDS[:5], "latency_quantile_ms", *FIELDS[5:]]
    assert risky["latency_quantile_ms"] > risky["latency_ms"]
    assert main(["plan", str(path)]) == 0
    assert f"(95 % quantile {risky['latency_quantile_ms']:.6g} ms)" in capsys.readouterr().out

    piped = printed_by(capsys, path, {**PROBLEM, "objective": {"throughput": 1.0}})
    assert list(piped) == [*FIELDS[:5], "period_ms", "throughput_per_s", *FIELDS[5:]]
    assert piped["throughput_per_s"] == pytest.approx(1000 / piped["period_ms"])
    assert main(["plan", str(path)]) == 0
    assert f"a full pipeline has a period of {piped['period_ms']:.6g} ms, " in capsys.readouterr().out


def test_energy_may_be_reckoned_by_the_model_of_reap(
    problem_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 W while the origin computes, said in the object and in the text."""
    printed = printed_by(capsys, tmp_path / "reap.json", PROBLEM, "--energy-model", "reap", "--strategy", "origin-only")
    assert (printed["energy_model"], printed["origin_energy_j"]) == ("reap", pytest.approx(12 * 0.320))
    assert main(["plan", str(problem_file), "--energy-model", "reap"]) == 0
    assert "energy (modelled as by reap)" in capsys.readouterr().out


def test_a_split_given_by_hand_is_scored(problem_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Transfers are raw unless a codec is given, and a relay takes what it forwards."""
    split = "pi:0-1,laptop:1-1,pc:1-2"
    assert main(["plan", str(problem_file), "--stages", split, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["strategy"] == "static"
    assert [stage["codec"] for stage in printed["stages"]] == [None, "raw", "raw"]
    assert printed["latency_ms"] == pytest.approx(72.6)
    assert (
        main(["plan", str(problem_file), "--stages", f" {split.replace(',', ', ')}@raw ", "--strategy", "static"]) == 0
    )


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("pi:0-1", "splitrail: the stages end at op 1, the model has 2 ops\n"),
        ("pi:0-1,pc:1-2", "splitrail: the plan sends tensors from 'pi' to 'pc', which no link joins\n"),
        ("pi:0-1,fog:1-2", "splitrail: stages[1] is on 'fog', which is none of the problem's nodes\n"),
        (
            "pi:0-1,laptop:1-2@zip",
            "splitrail: stages[1] takes its tensors by the codec 'zip', the problem has raw\n",
        ),
    ],
)
def test_a_split_that_is_no_plan_is_one_line(
    problem_file: Path, capsys: pytest.CaptureFixture[str], split: str, message: str
) -> None:
    """It says what is wrong with which stage."""
    assert main(["plan", str(problem_file), "--stages", split]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


def test_a_split_given_by_hand_keeps_the_bounds_or_says_which_it_breaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deadline that the split misses makes it infeasible, in the object too."""
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({**PROBLEM, "deadline_ms": 100}))
    assert main(["plan", str(path), "--stages", "pi:0-2", "--json"]) == 2
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert (printed["feasible"], printed["strategy"]) == (False, "static")
    assert "takes 320 ms" in captured.err


def test_the_front_has_a_plan_object_for_each_plan_the_quickest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each object of the front is as that of a single plan."""
    printed = printed_by(capsys, tmp_path / "problem.json", PROBLEM, "--pareto")
    assert list(printed) == ["strategy", "feasible", "front", "planning_ms"]
    assert (printed["strategy"], printed["feasible"]) == ("exact", True)
    assert all(list(plan) == FIELDS for plan in printed["front"])
    latencies = [plan["latency_ms"] for plan in printed["front"]]
    assert latencies == sorted(latencies)
    assert latencies[0] == pytest.approx(72.6)


def test_a_reader_sees_the_front_with_the_best_plan_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each plan, with its split in the form of --stages; the energies are said to be modelled."""
    path = tmp_path / "problem.json"
    path.write_text(json.dumps(with_spread(PROBLEM, risk=0.95, objective={"latency": 1.0})))
    assert main(["plan", str(path), "--pareto"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"toy, 2 ops: {len(lines) - 3} plan")
    assert lines[1].lstrip().startswith("95 % latency ms  origin J  total J  split")
    assert [line.split()[4] for line in lines[2:-1] if line.startswith("*")] == ["pi:0-1,laptop:1-1,pc:1-2"]
    assert lines[-1] == "* has the least objective; energies are modelled"


@pytest.mark.parametrize(("name", "signature"), [("front.png", b"\x89PNG"), ("front.SVG", b"<?xml")])
def test_the_front_is_drawn_into_a_file(
    problem_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, signature: bytes
) -> None:
    """--plot implies --pareto and replaces what was there; equal fronts make equal files."""
    picture = tmp_path / name
    picture.write_text("old")
    assert main(["plan", str(problem_file), "--plot", str(picture)]) == 0
    assert "no other beats" in capsys.readouterr().out
    drawn = picture.read_bytes()
    assert drawn.startswith(signature)
    assert main(["plan", str(problem_file), "--plot", str(picture), "--json"]) == 0
    assert "front" in json.loads(capsys.readouterr().out)
    assert picture.read_bytes() == drawn


def test_a_front_that_no_plan_is_on_is_an_answer_as_for_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bound is named, and exit code 2; nothing is drawn."""
    path, picture = tmp_path / "problem.json", tmp_path / "front.svg"
    path.write_text(json.dumps({**PROBLEM, "deadline_ms": 1}))
    assert main(["plan", str(path), "--plot", str(picture), "--json"]) == 2
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert (printed["feasible"], printed["front"]) == (False, [])
    assert captured.err == f"splitrail: {printed['reason']}\n"
    assert not picture.exists()


def fleet_of(*rates: float) -> Any:
    """A fleet of cameras that share the laptop and the PC."""

    def seen_from(name: str) -> Any:
        return json.loads(json.dumps(PROBLEM).replace('"pi"', f'"{name}"'))

    return {
        "deployments": [
            {"name": f"camera{index}", "requests_per_s": rate, "problem": seen_from(f"pi{index}")}
            for index, rate in enumerate(rates)
        ]
    }


def test_a_fleet_is_recognised_and_planned_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file with deployments gives a plan for each, and the load that all of them put on each node."""
    path = tmp_path / "fleet.json"
    printed = printed_by(capsys, path, fleet_of(1.0, 2.0))
    assert list(printed) == ["feasible", "deployments", "loads", "objective", "planning_ms"]
    assert [deployment["name"] for deployment in printed["deployments"]] == ["camera0", "camera1"]
    assert all(list(deployment["plan"]) == FIELDS for deployment in printed["deployments"])
    loads = {load["node"]: load["load"] for load in printed["loads"]}
    # Each camera runs its first op itself and leaves the second to the PC.
    assert loads == pytest.approx({"pi0": 0.020, "pi1": 0.040, "laptop": 0.0, "pc": 0.009})
    assert main(["plan", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 deployments, planned together in ")
    assert [line.split()[0] for line in lines[2:4]] == ["camera0", "camera1"]
    assert any(line.split() == ["pi1", "4.0", "%"] for line in lines)
    assert "energies are modelled" in lines[-1]


def test_a_fleet_that_overloads_a_node_or_is_malformed_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too many requests are an answer with a reason; a mistake has its place in the file."""
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet_of(1000.0)))
    assert main(["plan", str(path), "--json"]) == 2
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert (printed["feasible"], printed["deployments"], printed["objective"]) == (False, [], None)
    assert captured.err == f"splitrail: {printed['reason']}\n"

    path.write_text(json.dumps({"deployments": 3}))
    assert main(["plan", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"splitrail: {path}: ")
    assert captured.err.count("\n") == 1


def scarce() -> Any:
    """A problem in which no node can hold all weights, so that the best plan has to be searched."""
    ops = 24
    weights = [1.0 + (7 * op) % 5 for op in range(ops)]
    names = ("pi", "laptop", "pc")
    return {
        "model": {"bytes": [1000.0 + (37 * cut) % 11 * 20_000 for cut in range(ops + 1)], "weight_mb": weights},
        "origin": "pi",
        "nodes": [
            {"name": name, "op_ms": [speed * (1 + (5 * op) % 7) for op in range(ops)], "memory_mb": 0.4 * sum(weights)}
            for name, speed in zip(names, (9.0, 3.0, 1.0), strict=True)
        ],
        "links": [{"src": src, "dst": dst, "rtt_ms": 1, "mbps": 100} for src in names for dst in names if src != dst],
    }


def test_a_search_that_was_cut_short_says_how_far_from_the_best_it_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gap is printed where the search is limited: 0 if it came to an end all the same."""
    path = tmp_path / "problem.json"
    best = printed_by(capsys, path, scarce())
    at_ease = printed_by(capsys, path, scarce(), "--most-labels", "1000000")
    assert "gap" not in best
    assert (at_ease["gap"], at_ease["objective"]) == (0.0, best["objective"])
    assert list(at_ease) == [*FIELDS[:-1], "gap", FIELDS[-1]]
    hurried = printed_by(capsys, path, scarce(), "--most-labels", "1000")
    assert hurried["gap"] > 0.0
    assert best["objective"] <= hurried["objective"] <= best["objective"] * (1 + hurried["gap"]) * (1 + 1e-9)
    assert main(["plan", str(path), "--most-labels", "1000"]) == 0
    said = f"the search was cut short: this objective exceeds the least by at most {100 * hurried['gap']:.3g} %"
    assert capsys.readouterr().out.splitlines()[-1] == said


@pytest.mark.parametrize(
    "options",
    [
        ["--pareto", "--strategy", "reap"],
        ["--pareto", "--most-labels", "9"],
        ["--stages", "pi:0-2", "--most-labels", "9"],
        ["--strategy", "reap", "--most-labels", "9"],
        ["--plot", "front.png", "--strategy", "static"],
        ["--pareto", "--stages", "pi:0-2"],
        ["--stages", "pi:0-2", "--strategy", "exact"],
    ],
)
def test_options_that_contradict_each_other_are_one_line(
    problem_file: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """Exit code 2, and the option to leave out."""
    assert main(["plan", str(problem_file), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "leave out" in captured.err or "give one of them" in captured.err


@pytest.mark.parametrize("option", [["--pareto"], ["--plot", "f.png"], ["--stages", "pi:0-2"], ["--strategy", "reap"]])
def test_options_for_one_problem_are_refused_for_a_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    """One line that names the option."""
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet_of(1.0)))
    assert main(["plan", str(path), *option]) == 2
    assert capsys.readouterr().err == f"splitrail: {option[0]} is for one problem, {path} has a fleet: leave it out\n"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--plot", "front.pdf", "'front.pdf' must end in .png or .svg"),
        ("--stages", "pi", "'pi' is no stage: it must be NODE:START-STOP or NODE:START-STOP@CODEC, as in pi:0-24"),
    ],
)
def test_an_option_with_a_wrong_value_is_one_line(
    problem_file: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    """It says what would be right."""
    with pytest.raises(SystemExit) as caught:
        main(["plan", str(problem_file), option, value])
    assert caught.value.code == 2
    assert f"argument {option}: {message};" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_one_line(
    problem_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file and the reason; nothing is printed."""
    picture = tmp_path / "absent" / "front.png"
    assert main(["plan", str(problem_file), "--plot", str(picture)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"splitrail: {picture}: the picture cannot be written: No such file or directory\n"


@pytest.mark.parametrize(
    ("missing", "option", "message"),
    [
        ("numpy", "--pareto", "--pareto needs the package 'numpy': pip install 'splitrail[coordinator]'"),
        ("matplotlib", "--plot", "--plot needs the package 'matplotlib': pip install 'splitrail[experiments]'"),
        ("numpy", "", ""),
    ],
)
def test_what_an_option_needs_beyond_the_command_is_named(
    problem_file: Path, tmp_path: Path, missing: str, option: str, message: str
) -> None:
    """Without numpy and matplotlib a problem is planned; the options that need them name the extra."""
    options = [
        str(problem_file),
        *([option] if option else []),
        *([str(tmp_path / "f.png")] if option == "--plot" else []),
    ]
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from splitrail.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "plan", *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == (f"splitrail: {message}\n" if message else "")
    assert ended.returncode == (2 if message else 0)


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


PAGE = (Path(__file__).parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
TIMED = re.compile(r'( in |"planning_ms":)[\d.e-]+( ms)?')


def blocks_of_the_page() -> list[tuple[str, str]]:
    """The blocks of docs/planning.md, each with the text before it."""
    pieces = PAGE.split("```")
    return [(before, block.split("\n", 1)[1].strip()) for before, block in zip(pieces[::2], pieces[1::2], strict=False)]


def files_of_the_page() -> dict[str, str]:
    """The problems and the fleet that docs/planning.md asks to save, by file name."""
    named = ((re.findall(r"Save\s+this\s+as\s+`([\w.]+)`", before), block) for before, block in blocks_of_the_page())
    return {names[-1]: block for names, block in named if names and block.startswith("{")}


@pytest.mark.parametrize("shown", [block for _, block in blocks_of_the_page() if block.startswith("$ splitrail plan")])
def test_what_the_page_shows_is_what_the_command_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    """Every block of docs/planning.md that shows the command has its output, but for the time that planning took."""
    monkeypatch.chdir(tmp_path)
    for name, text in files_of_the_page().items():
        Path(name).write_text(text)
    command, *lines = shown.splitlines()
    assert main(shlex.split(command)[2:]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [TIMED.sub("", line) for line in printed] == [TIMED.sub("", line) for line in lines]


def test_the_bound_that_the_page_breaks_is_told_as_the_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/planning.md shows what a deadline of 50 ms is answered with."""
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({**json.loads(files_of_the_page()["problem.json"]), "deadline_ms": 50}))
    assert main(["plan", str(path)]) == 2
    assert capsys.readouterr().err.strip() in [block for _, block in blocks_of_the_page()]
