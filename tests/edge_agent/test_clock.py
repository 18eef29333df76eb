"""The node's wall clock, and what an emulated one makes of its file."""

import ast
import logging
import time
from pathlib import Path

import pytest

import edge_agent
from edge_agent.clock import WallClock

AGENT_MODULES = Path(edge_agent.__file__).parent


def test_without_a_file_it_is_the_machines_clock() -> None:
    """A real node's time is nobody else's business."""
    before = time.time()
    assert before <= WallClock().now() <= time.time()


def test_the_offset_is_read_at_each_look(tmp_path: Path) -> None:
    """A testbed sets the clock an hour ahead, and back, while the agent runs."""
    path = tmp_path / "offset"
    clock = WallClock(path)
    for offset_s in (3_600.0, -3_600.0, 0.0):
        path.write_text(f"{offset_s}\n")
        before = time.time()
        assert before + offset_s <= clock.now() <= time.time() + offset_s


@pytest.mark.parametrize("content", ["", "soon", "nan", "inf", "1e18", "1" * 100, "\xff"])
def test_a_file_that_holds_no_offset_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """The last offset stays, and one warning says so."""
    path = tmp_path / "offset"
    path.write_text("3600")
    clock = WallClock(path)
    clock.now()
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert all(clock.now() > time.time() + 3_000 for _ in range(2))
    assert len(caplog.records) == 1


def test_a_missing_file_is_no_offset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The clock is right until somebody sets it wrong."""
    assert abs(WallClock(tmp_path / "none").now() - time.time()) < 60.0
    assert "none: no offset of the clock can be read, so it stays at 0 s" in caplog.text


def test_no_module_of_the_agent_reads_the_wall_clock_by_itself() -> None:
    """Intervals are monotonic, and timestamps come from the node's clock: a jump of an hour changes nothing else."""
    wall_clocks = {"time", "time_ns", "now", "utcnow", "today"}
    readers = []
    for path in sorted(AGENT_MODULES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("time", "datetime", "date")
                and node.attr in wall_clocks
            ):
                readers.append(path.name)
    assert set(readers) == {"clock.py"}
