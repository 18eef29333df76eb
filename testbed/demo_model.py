"""The demo's MobileNetV2, converted once and kept; in a process of its own, so that TensorFlow leaves with it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed.errors import DemoError
from testbed.processes import ChildProcess, Step, last_line, splitrail_command

Weights = Literal["imagenet", "random"]

ZOO_NAME = "mobilenetv2"
CONVERT_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class DemoModel:
    """The model's file, its weights, and why they are not the ones that were hoped for, if they are not."""

    path: Path
    weights: Weights
    excuse: str | None = None


def default_cache() -> Path:
    """Where converted models are kept: below XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "splitrail" / "zoo"


def prepare(cache: Path, weights: Weights | None, step: Step) -> DemoModel:
    """MobileNetV2 with `weights`; None takes ImageNet's where they can be had and random ones otherwise.

    DemoError says why it cannot be converted. A conversion with random weights is remembered, and not tried anew.
    """
    cache.mkdir(parents=True, exist_ok=True)
    kept: tuple[Weights, ...] = (weights,) if weights else ("imagenet", "random")
    for choice in kept:
        if (path := _path(cache, choice)).is_file():
            return DemoModel(path, choice, None if choice == kept[0] else f"kept from an earlier run: {path}")
    excuse = None
    for choice in kept:
        with step(f"trying to convert MobileNetV2 with {_words(choice)} (once; it is kept in {cache})"):
            failure = _convert(cache, choice)
        if failure is None:
            return DemoModel(_path(cache, choice), choice, excuse)
        excuse = f"{_words(choice)} cannot be had here: {_log(cache, choice)} says why"
    raise DemoError(f"MobileNetV2 cannot be converted: {failure}")


def _convert(cache: Path, weights: Weights) -> str | None:
    """None once the file is there, otherwise why it is not."""
    log = _log(cache, weights)
    log.unlink(missing_ok=True)
    command = splitrail_command(
        "convert", ZOO_NAME, "--quantize", "none", "--weights", weights, "-o", str(_path(cache, weights))
    )
    child = ChildProcess("the conversion", command, log)
    try:
        ended = child.wait(CONVERT_TIMEOUT_S)
    finally:
        child.kill()
    if not ended:
        return f"not done after {CONVERT_TIMEOUT_S:g} s (log: {log})"
    return None if _path(cache, weights).is_file() else last_line(log).removeprefix("splitrail: ")


def _path(cache: Path, weights: Weights) -> Path:
    return cache / f"{ZOO_NAME}-{weights}.tflite"


def _log(cache: Path, weights: Weights) -> Path:
    return cache / f"{ZOO_NAME}-{weights}.log"


def _words(weights: Weights) -> str:
    return "ImageNet's weights" if weights == "imagenet" else "random weights"
