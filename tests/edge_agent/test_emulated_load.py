import logging
from pathlib import Path

import pytest

from edge_agent.emulated_load import EmulatedLoad


def test_the_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """A testbed changes it while the agent runs."""
    path = tmp_path / "load"
    emulated = EmulatedLoad(path)
    path.write_text("0.25\n")
    assert emulated.load() == 0.25
    path.write_text("0.5")
    assert emulated.load() == 0.5


def test_without_a_file_there_is_no_load() -> None:
    """An emulated machine that nobody else uses."""
    assert EmulatedLoad(None).load() == 0.0


@pytest.mark.parametrize("content", ["", "much", "1", "-0.1", "nan", "inf", "0." + "1" * 100, "0.5 0.6", "\xff"])
def test_a_file_that_holds_no_load_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """The last load stays, and one warning says so."""
    path = tmp_path / "load"
    path.write_text("0.25")
    emulated = EmulatedLoad(path)
    emulated.load()
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert [emulated.load(), emulated.load()] == [0.25, 0.25]
    assert len(caplog.records) == 1
    path.write_text("0.75")
    assert emulated.load() == 0.75


def test_a_file_that_is_not_there_is_no_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was read before it, so the load is 0; the warning names the file."""
    assert EmulatedLoad(tmp_path / "none").load() == 0.0
    assert "none: no load can be read, so it stays at 0" in caplog.text
