"""The small models that the tests' TensorFlow has made, wherever they are kept; none where none were made yet."""

import os
from functools import cache
from pathlib import Path

NAMED = "SPLITRAIL_FUZZ_MODELS"
"""The environment variable that names another directory of models."""
KEPT = Path(__file__).parents[2] / ".cache" / "test-models"


@cache
def tiny_models() -> tuple[Path, ...]:
    """Valid .tflite files of some kilobytes, in a fixed order."""
    named = os.environ.get(NAMED)
    directories = [Path(named)] if named else sorted(KEPT.glob("small-*/"), key=lambda found: found.stat().st_mtime)
    return tuple(sorted(directories[-1].glob("*.tflite"))) if directories else ()
