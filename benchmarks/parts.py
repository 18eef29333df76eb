"""The parts of a benchmark that are processes of their own: scripts that stand beside it, by their arguments.

What a part does, and what it prints for whoever began it, is the script's own.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.server_process import ends_with_parent

ENDING_S: Final = 30.0
"""What a part has to end in once it is asked to."""


@contextmanager
def process(script: str | Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A script that runs, with pipes to it and from it, and is asked to end with the block; killed if it does not."""
    started = subprocess.Popen(
        [sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
    )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()


def line_from(started: subprocess.Popen[bytes]) -> bytes:
    """The next line that a part prints; SystemExit once it has ended."""
    assert started.stdout is not None
    line = started.stdout.readline()
    if not line:
        raise SystemExit("a part of the benchmark has ended: see above")
    return line
