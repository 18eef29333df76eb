"""The zoo's models, converted once and kept; in a process of its own each, so that TensorFlow leaves with it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.zoo import find_zoo_model
from testbed.errors import ConversionFailedError
from testbed.processes import ChildProcess, Step, last_line, splitrail_command

Weights = Literal["imagenet", "random"]

CONVERT_TIMEOUT_S = 900.0
_TITLES = {"alexnet": "AlexNet", "vgg16": "VGG16", "mobilenetv2": "MobileNetV2"}


@dataclass(frozen=True, slots=True)
class KeptModel:
    """The model's file, its weights, and why they are not the ones that were hoped for, if they are not."""

    path: Path
    weights: Weights
    excuse: str | None = None


def default_cache() -> Path:
    """Where converted models are kept: below XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "splitrail" / "zoo"


def prepare(cache: Path, name: str, weights: Weights | None, step: Step) -> KeptModel:
    """The zoo model `name` with `weights`; None takes ImageNet's where they can be had and random ones otherwise.

    ConversionError if the zoo has no such model, ConversionFailedError if it cannot be converted here. What is
    converted once, with whichever weights, is not tried anew.
    """
    zoo_model, title = find_zoo_model(name), _TITLES.get(name, name)
    cache.mkdir(parents=True, exist_ok=True)
    hoped: tuple[Weights, ...] = ("imagenet", "random") if zoo_model.has_imagenet_weights else ("random",)
    wanted = (weights,) if weights else hoped
    for choice in wanted:
        if (path := _path(cache, name, choice)).is_file():
            return KeptModel(path, choice, None if choice == wanted[0] else f"kept from an earlier run: {path}")
    excuse = None
    for choice in wanted:
        with step(f"trying to convert {title} with {_words(choice)} (once; it is kept in {cache})"):
            failure = _convert(cache, name, choice)
        if failure is None:
            return KeptModel(_path(cache, name, choice), choice, excuse)
        excuse = f"{_words(choice)} cannot be had here: {_log(cache, name, choice)} says why"
    raise ConversionFailedError(f"{title} cannot be converted: {failure}")


def _convert(cache: Path, name: str, weights: Weights) -> str | None:
    """None once the file is there, otherwise why it is not."""
    path, log = _path(cache, name, weights), _log(cache, name, weights)
    log.unlink(missing_ok=True)
    command = splitrail_command("convert", name, "--quantize", "none", "--weights", weights, "-o", str(path))
    child = ChildProcess("the conversion", command, log)
    try:
        ended = child.wait(CONVERT_TIMEOUT_S)
    finally:
        child.kill()
    if not ended:
        return f"not done after {CONVERT_TIMEOUT_S:g} s (log: {log})"
    return None if path.is_file() else last_line(log).removeprefix("splitrail: ")


def _path(cache: Path, name: str, weights: Weights) -> Path:
    return cache / f"{name}-{weights}.tflite"


def _log(cache: Path, name: str, weights: Weights) -> Path:
    return cache / f"{name}-{weights}.log"


def _words(weights: Weights) -> str:
    return "ImageNet's weights" if weights == "imagenet" else "random weights"
