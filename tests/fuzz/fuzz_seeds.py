"""The small models that the tests' TensorFlow has made, wherever they are kept; none where no test has made them yet."""

import os
from functools import cache
from pathlib import Path

KEPT = Path(__file__).parents[2] / ".cache" / "test-models"


@cache
def tiny_models() -> tuple[Path, ...]:
    """Valid .tflite files of some kilobytes, in a fixed order."""
    named = os.environ.get("SPLITRAIL_FUZZ_MODELS")
    directories = [Path(named)] if named else sorted(KEPT.glob("small-*/"), key=lambda found: found.stat().st_mtime)
    return tuple(sorted(directories[-1].glob("*.tflite"))) if directories else ()
