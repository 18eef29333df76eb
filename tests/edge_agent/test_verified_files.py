"""No model or segment is run that is not, byte for byte, what it should be."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from plans import MODEL, plan_of

from edge_agent.shelf import Holdings, Shelf
from models.cache import ModelCache, file_sha256
from models.graph import read_graph
from models.packed import PackedWeights

NOTHING = Holdings(plans=(), superseded=(), served=())


@pytest.fixture
def whole(tmp_path: Path, small_model: Callable[[str], Path]) -> Path:
    """A model in a cache of its own."""
    # A copy: the cache takes files in as hard links, and the tests below write to them.
    copy = tmp_path / "branchy.tflite"
    copy.write_bytes(small_model("branchy").read_bytes())
    return ModelCache(tmp_path).add(copy).path


def test_a_segment_that_was_replaced_on_disk_is_cut_anew(tmp_path: Path, whole: Path) -> None:
    """Freed and loaded again in the same run, it counts only if it is what was cut."""
    cache, sha256, ops = ModelCache(tmp_path), file_sha256(whole), len(read_graph(whole).ops)
    reference = msgspec.structs.replace(MODEL, sha256=sha256, ops=ops)
    plan = msgspec.structs.replace(plan_of(("pi", 0, ops)), model=reference)
    shelf = Shelf(
        "pi", cache, PackedWeights(cache, "here"), threads=lambda _: 1, bound_mb=1_000.0, free_mb=lambda: 1_000.0
    )
    shelf.load(plan, whole)
    piece = cache.segment_path(sha256, 0, ops)
    content = piece.read_bytes()
    for replacement in (b"", b"another file", content[:-1] + bytes([content[-1] ^ 1])):
        shelf.hold(NOTHING)
        piece.write_bytes(replacement)
        shelf.load(plan, whole)
        assert shelf.segment(sha256, 0, ops) is not None
        assert piece.read_bytes() == content


def test_a_segment_of_an_earlier_run_does_not_count(tmp_path: Path, whole: Path) -> None:
    """Nothing tells whether it is what that run had cut."""
    cache, sha256, ops = ModelCache(tmp_path), file_sha256(whole), len(read_graph(whole).ops)
    plan = msgspec.structs.replace(
        plan_of(("pi", 0, ops)), model=msgspec.structs.replace(MODEL, sha256=sha256, ops=ops)
    )
    piece = cache.segment_path(sha256, 0, ops)
    piece.write_bytes(b"what an earlier run, or somebody else, has left")
    Shelf(
        "pi", cache, PackedWeights(cache, "here"), threads=lambda _: 1, bound_mb=1_000.0, free_mb=lambda: 1_000.0
    ).load(plan, whole)
    assert piece.stat().st_size > 100


def test_a_model_that_changes_on_disk_is_not_handed_out(tmp_path: Path, whole: Path) -> None:
    """Rewritten in place or replaced, between two runs or within one: it is gone, and fetched again."""
    content, sha256 = whole.read_bytes(), file_sha256(whole)
    within = ModelCache(tmp_path)
    assert within.get(sha256) == whole
    whole.write_bytes(content[:-1])
    assert within.get(sha256) is None
    assert not whole.exists()
    whole.write_bytes(content[:-1] + b"\0")
    assert ModelCache(tmp_path).get(sha256) is None
