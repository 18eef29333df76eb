"""Models of the zoo with random weights, converted once and kept from run to run."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from models.convert import Quantize

KEPT: Final = Path(__file__).resolve().parent.parent / ".cache" / "benchmark-models"


def kept_file(name: str, quantize: Quantize = "none") -> Path:
    """Where a model is kept, whether it is there or not."""
    return KEPT / f"{name}-{quantize}.tflite"


def conversion(name: str, quantize: Quantize = "none") -> tuple[str, ...]:
    """The command that puts it there."""
    wanted = (name, "--weights", "random", "--quantize", quantize, "-o", str(kept_file(name, quantize)))
    return (sys.executable, "-m", "splitrail", "convert", *wanted)


def zoo_model(name: str, quantize: Quantize = "none") -> Path:
    """The file of a model, which is converted now if it is not there; SystemExit if it cannot be.

    Another process converts it: TensorFlow's memory and threads would count as the benchmark's.
    """
    file = kept_file(name, quantize)
    if not file.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        print(f"converting {name} ...", file=sys.stderr, flush=True)
        done = subprocess.run(conversion(name, quantize), capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise SystemExit(f"{name} cannot be converted: {said[-1]}")
    return file
