"""What becomes of benchmarks that fail, take too long, or write nothing: the rest runs all the same."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

# Benchmarks are scripts that stand beside one another, and no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import run as running
from figures import Figure
from run import Benchmark, run_all

WORKS = """
import json, sys
path = sys.argv[sys.argv.index("--json") + 1]
assert "--quick" in sys.argv
open(path, "w").write('[{"name": "a", "value": 1.5, "unit": "ms", "better": "lower"}]')
"""
SCRIPTS = {
    "fails": "raise SystemExit('it has no model')",
    "hangs": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])",
    "silent": "",
    "works": WORKS,
}


def test_one_benchmarks_failure_does_not_end_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that gave no figures says why; what it started is ended with it."""
    for name, script in SCRIPTS.items():
        (tmp_path / f"{name}.py").write_text(script)
    monkeypatch.setattr(running, "HERE", tmp_path)
    limits = {"fails": 60.0, "hangs": 1.0, "silent": 60.0, "works": 60.0}
    console = Console(file=io.StringIO())
    outcomes = run_all([Benchmark(name, limit_s) for name, limit_s in limits.items()], console)
    failures = {outcome.benchmark: outcome.failure for outcome in outcomes}
    assert failures["fails"] == "it ended with 1: it has no model"
    assert failures["hangs"] == "it took longer than 1 s"
    assert failures["silent"] is not None
    assert failures["silent"].startswith("it wrote no figures")
    assert failures["works"] is None
    assert outcomes[-1].figures == (Figure("a", 1.5, "ms", "lower"),)


def test_every_benchmark_is_a_script_with_a_short_form_and_figures() -> None:
    """So that one command runs them all."""
    for benchmark in running.BENCHMARKS:
        text = (running.HERE / f"{benchmark.name}.py").read_text(encoding="utf-8")
        assert '"--quick"' in text, benchmark.name
        assert '"--json"' in text, benchmark.name
