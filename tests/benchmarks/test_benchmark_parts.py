"""A benchmark's processes: heard line by line, and ended with the block that began them."""

from pathlib import Path

import parts
import pytest
from parts import line_from, process

ANSWERS = """
import signal, sys
print(sys.argv[1], flush=True)
def end(*_):
    print("asked", flush=True)
    raise SystemExit
signal.signal(signal.SIGTERM, end)
print(sys.stdin.readline(), end="", flush=True)
signal.pause()
"""
STAYS = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Where a part's program is written."""
    return tmp_path / "part.py"


def test_a_part_gets_its_arguments_and_is_spoken_with_by_lines(script: Path) -> None:
    """And what it says once it is asked to end is still heard."""
    script.write_text(ANSWERS)
    with process(script, "hello") as part:
        assert line_from(part) == b"hello\n"
        assert part.stdin is not None
        part.stdin.write(b"heard\n")
        part.stdin.flush()
        assert line_from(part) == b"heard\n"
        part.terminate()
        assert line_from(part) == b"asked\n"
        part.wait(60.0)
    assert part.returncode == 0


def test_a_part_is_asked_to_end_with_the_block(script: Path) -> None:
    """Whatever ends the block."""
    script.write_text(ANSWERS)
    with pytest.raises(ZeroDivisionError), process(script, "hello") as part:
        line_from(part)
        part.stdin.write(b"on\n")  # type: ignore[union-attr]  # it is a pipe
        part.stdin.flush()  # type: ignore[union-attr]  # as above
        line_from(part)
        raise ZeroDivisionError
    assert part.returncode == 0


def test_a_part_that_does_not_end_is_killed(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its time to end is over."""
    monkeypatch.setattr(parts, "ENDING_S", 0.1)
    script.write_text(STAYS)
    with process(script) as part:
        line_from(part)
    assert part.returncode == -9


def test_a_part_that_has_ended_ends_the_benchmark(script: Path) -> None:
    """It has said why by itself."""
    script.write_text("")
    with pytest.raises(SystemExit, match="has ended"), process(script) as part:
        line_from(part)
