"""Fixtures that every package's tests share: real models of the zoo, made once, and real photographs."""

import fcntl
import functools
import gc
import hashlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from influxd_fixture import *  # noqa: F403  # its fixtures, which pytest finds here by name
from leaks_fixture import *  # noqa: F403  # its fixture, which pytest finds here by name
from mosquitto_fixture import *  # noqa: F403  # its fixtures, which pytest finds here by name
from small_models_fixture import *  # noqa: F403  # as above

from models.images import sample_photographs

REPOSITORY = Path(__file__).parent.parent
# What a converted model depends on, besides TensorFlow.
SOURCES = ("zoo.py", "weights.py", "export.py", "calibration.py", "convert.py")

# By default a law must hold within 200 ms, which says more of what else the machine does than of the law.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Take what importing and collecting made, which stays for the whole run, out of the collector's sight.

    Some 350,000 objects: each `gc.collect()` of a test that looks for leaks would go through them, for 0.25 s.
    """
    gc.collect()
    gc.freeze()


def _tensorflow_version() -> str:
    for distribution in ("tensorflow-cpu", "tensorflow"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    pytest.fail("the tests convert real models: pip install 'splitrail[convert]'")


@pytest.fixture(scope="session")
def zoo_model() -> Callable[..., Path]:
    """Call with a zoo model's name and a quantisation: the .tflite, with random weights, kept between test runs."""

    @functools.cache
    def converted(name: str, quantize: str = "none") -> Path:
        key = hashlib.sha256(_tensorflow_version().encode())
        for source in SOURCES:
            key.update((REPOSITORY / "models" / source).read_bytes())
        directory = REPOSITORY / ".cache" / "test-models" / key.hexdigest()[:16]
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}-{quantize}.tflite"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                # A process of its own keeps TensorFlow's threads, memory and warnings out of the tests.
                command = [sys.executable, "-m", "splitrail", "convert", name, "--weights", "random"]
                command += ["--quantize", quantize, "-o", str(path)]
                subprocess.run(command, cwd=directory, check=True, timeout=280, stdin=subprocess.DEVNULL)
        return path

    return converted


@pytest.fixture(scope="session")
def photographs() -> tuple[Path, ...]:
    """The sample photographs."""
    return sample_photographs()
