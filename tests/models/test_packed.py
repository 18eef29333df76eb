"""Packed weights are kept beside their model, found again, and trusted only as they were written."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.cache import ModelCache, file_sha256
from models.errors import CacheError
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.packed import PackedWeights
from models.slicer import slice_model

pytestmark = pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")

Models = Callable[[str], Path]
CONDITIONS = "LiteRT 2.3, some CPU/4 cores"


class Kept:
    """The branchy model's packed weights in a cache."""

    def __init__(self, model: Path, directory: Path) -> None:
        self.cache = ModelCache(directory)
        self.model = model
        self.sha256 = file_sha256(model)
        self.whole = self.cache.segment_path(self.sha256, 0, len(read_graph(model).ops))
        slice_model(model, 0, len(read_graph(model).ops), self.whole)
        self.weights = PackedWeights(self.cache, CONDITIONS)


@pytest.fixture
def kept(small_model: Models, tmp_path: Path) -> Kept:
    """Nothing is packed yet."""
    return Kept(small_model("branchy"), tmp_path)


def test_they_are_packed_once_and_found_again(kept: Kept) -> None:
    """By whoever asks under the same conditions, and by nobody else."""
    assert kept.weights.find(kept.sha256) is None
    made = kept.weights.make(kept.sha256, kept.whole, 40_000)
    assert made is not None
    assert kept.weights.find(kept.sha256) == made
    kept.weights.close()
    assert PackedWeights(kept.cache, CONDITIONS).find(kept.sha256) == made
    assert PackedWeights(kept.cache, "LiteRT 2.3, another CPU").find(kept.sha256) is None
    assert {path.suffix for path in made.parent.iterdir()} == {".packed", ".record", ".attempts"}


@pytest.mark.parametrize(
    "meddle",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".record").write_text("{"),
        lambda path: path.with_suffix(".record").unlink(),
    ],
)
def test_what_was_touched_is_not_trusted(kept: Kept, meddle: Callable[[Path], object]) -> None:
    """For LiteRT ends the process on a file that is broken."""
    made = kept.weights.make(kept.sha256, kept.whole, 40_000)
    kept.weights.close()
    assert made is not None
    meddle(made)
    later = PackedWeights(kept.cache, CONDITIONS)
    assert later.find(kept.sha256) is None
    assert later.make(kept.sha256, kept.whole, 40_000) == made
    assert later.find(kept.sha256) == made
    later.close()


def test_who_waited_for_another_to_pack_takes_what_that_one_made(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even before the disk has it; after a restart of the system nobody trusts it."""

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("models.packed.os.fsync", fail)
    made = kept.weights.make(kept.sha256, kept.whole, 40_000)
    kept.weights.close()
    assert made is not None
    lying = made.stat().st_ino
    assert PackedWeights(kept.cache, CONDITIONS).make(kept.sha256, kept.whole, 40_000) == made
    assert made.stat().st_ino == lying
    monkeypatch.setattr("models.packed.this_boot", lambda: "the next")
    assert PackedWeights(kept.cache, CONDITIONS).find(kept.sha256) is None


def test_what_a_killed_process_left_is_packed_over(kept: Kept) -> None:
    """It is not taken for a file to be read, and goes away."""
    path = kept.cache.packed_path(kept.sha256, CONDITIONS)
    path.with_suffix(".packing").write_bytes(b"half of it")
    made = kept.weights.make(kept.sha256, kept.whole, 40_000)
    kept.weights.close()
    assert made == path
    assert {path.suffix for path in made.parent.iterdir()} == {".packed", ".record", ".attempts"}


def test_what_was_discarded_while_the_disk_took_it_stays_so(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the disk does not say again that the file is right."""
    monkeypatch.setattr("models.packed.os.fsync", lambda _: kept.weights.discard(kept.sha256))
    kept.weights.make(kept.sha256, kept.whole, 40_000)
    kept.weights.close()
    assert PackedWeights(kept.cache, CONDITIONS).find(kept.sha256) is None


def test_what_is_discarded_is_packed_anew(kept: Kept) -> None:
    """Whoever reads the old file goes on."""
    kept.weights.make(kept.sha256, kept.whole, 40_000)
    kept.weights.close()
    kept.weights.discard(kept.sha256)
    kept.weights.discard(kept.sha256)
    assert kept.weights.find(kept.sha256) is None


def test_a_full_disk_packs_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model runs without."""
    monkeypatch.setattr(ModelCache, "free_bytes", lambda _: 70_000)
    assert kept.weights.make(kept.sha256, kept.whole, 40_000) is None


def test_a_cache_that_cannot_be_written_is_said(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the path."""

    def refuse(path: Path, out: Path) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.packed.pack_weights", refuse)
    with pytest.raises(CacheError, match=r"cannot keep the packed weights .*: No space left on device"):
        kept.weights.make(kept.sha256, kept.whole, 40_000)


def test_they_count_in_the_cache_and_are_pruned_with_it(kept: Kept) -> None:
    """The least recently used first, as all that the cache holds, unless the model is in use."""
    made = kept.weights.make(kept.sha256, kept.whole, 40_000)
    kept.weights.close()
    assert made is not None
    assert kept.cache.prune(0, keep=[kept.sha256]) == made.stat().st_size + kept.whole.stat().st_size
    assert kept.cache.prune(0) == 0
    assert kept.weights.find(kept.sha256) is None


def test_a_model_whose_packing_ends_the_process_is_left_alone(kept: Kept) -> None:
    """An agent that is started again must not end again, each time; after one end it may have been the power."""
    script = (
        "import os, sys; import models.packed; from pathlib import Path; from models.cache import ModelCache;"
        "models.packed.pack_weights = lambda *_: os.abort();"
        "weights = models.packed.PackedWeights(ModelCache(Path(sys.argv[1])), sys.argv[2]);"
        "print(weights.make(sys.argv[3], Path(sys.argv[4]), 1))"
    )
    command = (sys.executable, "-c", script, str(kept.whole.parents[2]), CONDITIONS, kept.sha256, str(kept.whole))
    ended = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(3)]
    assert [done.returncode for done in ended] == [-signal.SIGABRT, -signal.SIGABRT, 0]
    assert ended[-1].stdout.strip() == "None"
    assert kept.weights.make(kept.sha256, kept.whole, 40_000) is None


def test_an_error_does_not_count_as_an_end(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and may be over."""

    def refuse(path: Path, out: Path) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("models.packed.pack_weights", refuse)
        for _ in range(3):
            with pytest.raises(CacheError):
                kept.weights.make(kept.sha256, kept.whole, 40_000)
    assert kept.weights.make(kept.sha256, kept.whole, 40_000) is not None
    kept.weights.close()
