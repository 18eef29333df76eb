"""Faults under load on a real site: nothing lost or doubled, all well again; a handful here, all of them by name."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from testbed.chaos.experiment import QUICK, ChaosOptions, run_chaos
from testbed.chaos.faults import faults
from testbed.chaos.results import Results
from testbed.processes import silently

SHORT = ("kill-pi", "kill-broker", "pause-laptop", "cut-pi-and-laptop", "fill-spool-disk")


def played(
    names: Collection[str], out: Path, model: Path, photographs: tuple[Path, ...], *, secured: bool = False
) -> Results:
    chosen = tuple(fault for fault in faults(secured=secured) if fault.name in names or not names)
    return run_chaos(
        ChaosOptions(
            faults=chosen,
            rounds=1,
            seed=1,
            model=model,
            photographs=photographs,
            out=out,
            timing=QUICK,
            secured=secured,
        ),
        silently,
        lambda _trial: None,
    )


def broken(results: Results) -> list[str]:
    return [
        f"{trial.fault}: {check.name}: {check.fault}"
        for trial in results.trials
        for check in trial.checks
        if not check.passed
    ]


def test_a_handful_of_faults_under_load(
    tmp_path: Path, zoo_model: Callable[..., Path], photographs: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead origin, dead broker, stopped node, cut link, full disk: every check holds after each of them."""
    monkeypatch.chdir(tmp_path)
    results = played(SHORT, Path("out"), zoo_model("mobilenetv2"), photographs)
    assert broken(results) == []
    assert [trial.fault for trial in results.trials] == [
        each.name for each in faults(secured=False) if each.name in SHORT
    ]
    assert all(trial.recovery.first_whole_s is not None for trial in results.trials)
    assert (tmp_path / "out" / "report.md").read_text().startswith("# Faults under load")
    assert not list((tmp_path / "out").glob("site-*")), "a site is kept only where a trial failed"


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("secured", [False, True], ids=["open", "secured"])
def test_every_fault_under_load(
    secured: bool, tmp_path: Path, zoo_model: Callable[..., Path], photographs: tuple[Path, ...]
) -> None:
    """The whole registry, once each, on an open site and on a secured one."""
    results = played((), tmp_path / "out", zoo_model("mobilenetv2"), photographs, secured=secured)
    assert broken(results) == []
