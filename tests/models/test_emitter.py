"""How a segment reaches the disk: weights within or outside the flatbuffer, copied by the kernel or by hand."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from chains import assert_every_cut_exact, assert_same, made_inputs, run_file

from models import emitter
from models.errors import ModelFileError
from models.graph import read_graph
from models.metadata import attach_metadata, read_metadata
from models.modelfile import open_model
from models.schema import Buffer
from models.slicer import slice_model

Models = Callable[[str], Path]


@pytest.mark.parametrize("name", ["branchy", "loops", "dynamic_batch"])
def test_weights_outside_the_flatbuffer(
    small_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What would exceed a flatbuffer's 2 GB has its weights after it, and is read, run and cut like any other."""
    monkeypatch.setattr(emitter, "MAX_FLATBUFFER_BYTES", 0)
    path, whole = small_model(name), tmp_path / "whole.tflite"
    slice_model(path, 0, len(read_graph(path).ops), whole)
    with open_model(whole) as model:
        assert any(buffer.scalar(Buffer.OFFSET, "Q") > 1 for buffer in model.buffers)
    arrays = made_inputs(read_graph(path))
    assert_same(run_file(whole, arrays), run_file(path, arrays))
    attach_metadata(whole, {"LABELS": b"cat"}, whole)
    assert read_metadata(whole, "LABELS") == b"cat"
    assert_every_cut_exact(whole, tmp_path)


@pytest.mark.parametrize("most", [0, 7], ids=["no copy", "a part"])
def test_copies_where_the_kernel_cannot(
    small_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Where the kernel refuses to copy from file to file, at once or midway, the file is the same."""
    path, kernel, by_hand = small_model("branchy"), tmp_path / "kernel.tflite", tmp_path / "by_hand.tflite"
    slice_model(path, 0, 4, kernel)
    copy = os.copy_file_range
    calls = []

    def refuse(source: int, target: int, count: int, position: int) -> int:
        calls.append(position)
        if most == 0 or len(calls) > 1:
            raise OSError(18, "Invalid cross-device link")
        return copy(source, target, min(count, most), position)

    monkeypatch.setattr(os, "copy_file_range", refuse)
    slice_model(path, 0, 4, by_hand)
    assert by_hand.read_bytes() == kernel.read_bytes()


def test_weights_are_aligned(small_model: Models, tmp_path: Path) -> None:
    """Every weight begins at a multiple of 64 bytes in a segment."""
    slice_model(small_model("branchy"), 0, 6, tmp_path / "head.tflite")
    with open_model(tmp_path / "head.tflite") as model:
        spans = [model.buffer_span(index) for index in range(len(model.buffers))]
    assert all(span.start % 64 == 0 for span in spans if span)


def test_full_disk_leaves_no_half_file(small_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, the error says so, the old output stays, and nothing is left beside it."""
    out = tmp_path / "out.tflite"
    out.write_bytes(b"precious")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(emitter, "_write", full)
    with pytest.raises(ModelFileError, match="No space left on device"):
        slice_model(small_model("branchy"), 0, 4, out)
    assert out.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out.tflite"]


def test_threads_that_write_one_file_do_not_disturb_each_other(
    small_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes a file of its own, which takes the name once it is whole: who maps it meanwhile never sees less."""
    path, alone, out = small_model("branchy"), tmp_path / "alone.tflite", tmp_path / "out.tflite"
    slice_model(path, 0, 4, alone)
    write, both = emitter._write, threading.Barrier(2, timeout=20.0)
    written = []

    def write_together(file: BinaryIO, *rest: Any) -> None:
        both.wait()
        write(file, *rest)
        written.append(os.fstat(file.fileno()).st_ino)

    monkeypatch.setattr(emitter, "_write", write_together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: slice_model(path, 0, 4, out), range(2)))
    assert len(set(written)) == 2
    assert out.read_bytes() == alone.read_bytes()
    assert sorted(left.name for left in tmp_path.iterdir()) == ["alone.tflite", "out.tflite"]
