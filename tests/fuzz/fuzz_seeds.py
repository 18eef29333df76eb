"""The small models that the tests' TensorFlow has made, wherever they are kept."""

import os
from functools import cache
from pathlib import Path

NAMED = "SPLITRAIL_FUZZ_MODELS"
"""The environment variable that names another directory of models."""
KEPT = Path(__file__).parents[2] / ".cache" / "test-models"


@cache
def tiny_models() -> tuple[Path, ...]:
    """Valid .tflite files of some kilobytes, in a fixed order; FileNotFoundError where no test has made them yet."""
    named = os.environ.get(NAMED)
    kept = [directory for directory in sorted(KEPT.glob("small-*/"), key=_made_at) if not directory.suffix]
    directories = [Path(named)] if named else kept
    if not directories:
        raise FileNotFoundError(f"{KEPT} has no models to begin from: run `make test ARGS=tests/models` once")
    return tuple(sorted(directories[-1].glob("*.tflite")))


def _made_at(directory: Path) -> float:
    return directory.stat().st_mtime
