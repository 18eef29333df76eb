"""Valid models of which a few fields are wrong, in the real interpreter, which works in a process of its own.

Each model that we take is loaded and run once. A death of the process is a finding; a run that does not end is none.
"""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fuzz_model
from fuzz_seeds import tiny_models
from mutated_models import mutated
from scratch_file import written

from models.errors import ModelError
from models.graph import read_graph

LONGEST_RUN_S = 10.0


class Interpreter:
    """The process that loads and runs models, begun anew when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def survives(self, path: Path) -> bool:
        """Whether the process is there still after it has loaded and run the model."""
        process = self._process = self._process or _begun()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n".encode())
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], LONGEST_RUN_S)
        if ready and process.stdout.readline():
            return True
        self.close()
        return not ready

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _begun() -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


@cache
def interpreter() -> Interpreter:
    """The one of this run, which whoever ends before this process does has to close."""
    return Interpreter()


def run(data: bytes) -> None:
    """What we take does not kill the runtime."""
    path = written("to-run.tflite", mutated(list(tiny_models()), data))
    try:
        read_graph(path)
    except ModelError:
        return
    assert interpreter().survives(path), "the runtime died of a model that was taken"


def seeds() -> Iterator[bytes]:
    """As without the runtime."""
    yield from fuzz_model.seeds()


def _serve() -> None:
    """Load and run each model that is named on standard input; answer with a line each."""
    import resource  # noqa: PLC0415  # for the process that serves alone

    from models.runtime import Segment  # noqa: PLC0415  # as above

    resource.setrlimit(resource.RLIMIT_AS, (8_000_000_000,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        try:
            segment = Segment(Path(line.strip()))
            segment.warm_up()
            segment.close()
            answer = "run"
        except ModelError as error:
            answer = type(error).__name__
        except MemoryError:
            answer = "no memory"
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
