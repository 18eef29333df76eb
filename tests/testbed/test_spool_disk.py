"""The small disk of a spool: full it takes nothing more from its process, freed it does, with and without a mount."""

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.chaos.spool_disk import SpoolDisk

# Appends 10 kB at each line of its input, and says how that went.
WRITER = """
import sys
from pathlib import Path
for line in sys.stdin:
    try:
        with Path(sys.argv[1]).open("ab", buffering=0) as file:
            print("written" if file.write(bytes(10_000)) == 10_000 else "cut short", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize("may_mount", [True, False])
def test_a_full_disk_and_room_again(may_mount: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be mounted, the process may let no file grow; to it that is the same."""
    if not may_mount:
        monkeypatch.setenv("PATH", "")
    writers: list[subprocess.Popen[str]] = []
    with SpoolDisk(tmp_path / "disk", lambda: writers[0].pid) as disk:
        command = [sys.executable, "-c", WRITER, str(tmp_path / "disk" / "spool")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            writers.append(writer)

            def told() -> str:
                assert writer.stdin is not None and writer.stdout is not None
                writer.stdin.write("\n")
                writer.stdin.flush()
                return writer.stdout.readline().strip()

            assert told() == "written"
            disk.fill()
            assert told() in ("OSError", "cut short")
            assert told() == "OSError"
            disk.free()
            assert told() == "written"
        if not may_mount:
            assert disk.words == "no file may grow (RLIMIT_FSIZE)"
    assert str(tmp_path / "disk") not in Path("/proc/mounts").read_text()
