"""`splitrail profile`: its figures, and what it refuses in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.graph import read_graph
from splitrail.cli import main


def test_the_figures_are_one_json_object(
    small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A time for each op, and the runtime that they hold for."""
    path = small_model("branchy")
    assert main(["profile", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["op_ms"]) == len(read_graph(path).ops)
    assert figures["threads"] == 1


@pytest.mark.parametrize("threads", ["0", "-1", "2.5", "many", "9999999999999"])
def test_a_wrong_number_of_threads_is_one_line(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what would be right."""
    with pytest.raises(SystemExit) as left:
        main(["profile", "model.tflite", f"--threads={threads}"])
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert f"'{threads}' is not a whole number from 1 to 256" in printed
    assert printed.count("\n") == 1


def test_a_model_of_text_is_one_line(small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2: its inputs cannot be made up."""
    assert main(["profile", str(small_model("strings"))]) == 2
    assert "is of type string" in capsys.readouterr().err
