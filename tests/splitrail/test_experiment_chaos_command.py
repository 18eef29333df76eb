"""`splitrail experiment chaos`: its list and bad options; the trials themselves are the testbed's tests."""

import json
from pathlib import Path

import pytest

from splitrail.cli import main


def run(*arguments: str) -> int:
    try:
        return main(["experiment", "chaos", *arguments])
    except SystemExit as exit_:  # as argparse ends
        assert isinstance(exit_.code, int)
        return exit_.code


def test_the_list_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each fault; those that need locks are listed with them; what is emulated is said."""
    assert run("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(names) > 25
    assert {"kill-pi", "pause-broker", "cut-pi-to-laptop", "fill-spool-disk", "kill-leader"} < set(names)
    assert all("emulated" in line for line in lines if line.startswith(("cut-", "clocks-")))
    assert "revoke-node" not in names
    assert run("--list", "--secured", "--json") == 0
    assert "revoke-node" in {each["fault"] for each in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fault", "earthquake"], "--fault earthquake: there is none of this name; `--list` shows them all"),
        (["--fault", "revoke-node"], "--fault revoke-node: there is none of this name"),
        (["--rounds", "0"], "'0' is not a whole number from 1 to 1000"),
        (["--model", "none.tflite"], "none.tflite"),
        (["--out", "."], "--out .: is there already; name another, or remove it"),
    ],
)
def test_a_bad_option_is_one_line(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says what would be right, with exit code 2, before anything is started."""
    (tmp_path / "something").touch()
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert sentence in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]
