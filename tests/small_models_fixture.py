"""Small .tflite files for the tests, made once by TensorFlow and kept between test runs."""

import fcntl
import hashlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["small_model", "small_models"]

SCRIPT = Path(__file__).parent / "models" / "small_models.py"


@pytest.fixture(scope="session")
def small_models() -> Path:
    """The directory of the files that small_models.py builds."""
    versions = [importlib.metadata.version(name) for name in ("keras", "numpy")]
    key = hashlib.sha256(SCRIPT.read_bytes() + repr(versions).encode()).hexdigest()[:16]
    kept = Path(__file__).parent.parent / ".cache" / "test-models"
    kept.mkdir(parents=True, exist_ok=True)
    directory = kept / f"small-{key}"
    with (kept / f"small-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            partial = kept / f"small-{key}.part"
            partial.mkdir(exist_ok=True)
            command = [sys.executable, "-W", "ignore", str(SCRIPT), str(partial)]
            subprocess.run(command, check=True, timeout=280, stdin=subprocess.DEVNULL, capture_output=True)
            partial.replace(directory)
    return directory


@pytest.fixture(scope="session")
def small_model(small_models: Path) -> Callable[[str], Path]:
    """Call with a name of small_models.py: the .tflite."""
    return lambda name: small_models / f"{name}.tflite"
