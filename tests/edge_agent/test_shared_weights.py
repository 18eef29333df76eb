"""The segments of a packed model share its weights: what overlaps is held, and counted, once."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from plans import MODEL, plan_of

from broker.messages import Plan
from edge_agent.room import SegmentWeights, weights_mb
from edge_agent.shelf import Holdings, Shelf
from models.cache import ModelCache, file_sha256
from models.file_records import Record, fingerprint_of, write_record
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.packed import PackedWeights

needs_litert = pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")


class Shared:
    """A shelf of the Pi, and plans that run the first ops of the branchy model there."""

    def __init__(self, model: Path, directory: Path, *, free_mb: float = 1_000.0, bound_mb: float = 1_000.0) -> None:
        self.model, self.sha256 = model, file_sha256(model)
        graph = read_graph(model)
        self.ops, self.cuts = len(graph.ops), [cut.k for cut in graph.cuts[1:-1] if cut.allowed]
        self.op_mb = [op.weight_bytes / 1e6 for op in graph.ops]
        self.cache = ModelCache(directory)
        self.packed = PackedWeights(self.cache, "here")
        self.shelf = Shelf(
            "pi", self.cache, self.packed, threads=lambda _: 1, bound_mb=bound_mb, free_mb=lambda: free_mb
        )

    def plan(self, stop: int, epoch: int = 1) -> Plan:
        """The Pi begins, the PC ends."""
        reference = msgspec.structs.replace(MODEL, sha256=self.sha256, ops=self.ops)
        plan = plan_of(("pi", 0, stop), ("pc", stop, self.ops), way_back=("pc", "pi"), epoch=epoch)
        return msgspec.structs.replace(plan, model=reference)

    def pack(self) -> None:
        """As at the profile of the model."""
        self.shelf.pack(self.sha256, lambda: self.model)


@pytest.fixture
def shared(small_model: Callable[[str], Path], tmp_path: Path) -> Shared:
    """With room for everything."""
    return Shared(small_model("branchy"), tmp_path)


def test_shared_weights_count_once() -> None:
    """Those of segments that have their own, as often as they are there; another model's are others."""
    ten = (1.0,) * 10
    assert weights_mb([SegmentWeights("m", 0, ten, True), SegmentWeights("m", 0, ten[:8], True)]) == 10.0
    assert weights_mb([SegmentWeights("m", 0, ten, True), SegmentWeights("m", 8, ten, True)]) == 18.0
    assert weights_mb([SegmentWeights("m", 0, ten, True), SegmentWeights("m", 0, ten, False)]) == 20.0
    assert weights_mb([SegmentWeights("m", 0, ten, True), SegmentWeights("n", 0, ten, True)]) == 20.0
    assert weights_mb([]) == 0.0


@needs_litert
def test_a_change_of_plan_holds_no_weights_twice(shared: Shared) -> None:
    """Both epochs' segments are loaded at once, and the outputs stay what they were."""
    shared.pack()
    first, second = shared.plan(shared.cuts[-2]), shared.plan(shared.cuts[-1], epoch=2)
    shared.shelf.hold(Holdings((first, second), (), ()))
    shared.shelf.load(first, shared.model)
    shared.shelf.load(second, shared.model)
    old = shared.shelf.segment(shared.sha256, 0, shared.cuts[-2])
    new = shared.shelf.segment(shared.sha256, 0, shared.cuts[-1])
    assert old is not None
    assert new is not None
    assert old.shares_weights
    assert new.shares_weights
    assert shared.shelf.held_mb == pytest.approx(sum(shared.op_mb[: shared.cuts[-1]]))
    image = np.ones(new.inputs[0].shape, np.float32)
    expected = new.run([image])
    shared.shelf.hold(Holdings((second,), (), ()))
    del old
    assert all(np.array_equal(left, right) for left, right in zip(new.run([image]), expected, strict=True))


@needs_litert
def test_the_next_plan_needs_room_for_what_it_adds_alone(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """A bound that would not hold both segments with weights of their own."""
    model = small_model("branchy")
    held_mb = sum(op.weight_bytes for op in read_graph(model).ops) / 1e6
    shared = Shared(model, tmp_path, bound_mb=1.01 * held_mb)
    shared.pack()
    first, second = shared.plan(shared.cuts[-2]), shared.plan(shared.cuts[-1], epoch=2)
    shared.shelf.hold(Holdings((first, second), (), (second,)))
    shared.shelf.load(first, model)
    shared.shelf.load(second, model)
    shared.shelf.load_fallback(second, model)
    assert {(key.start, key.stop) for key in shared.shelf.held} == {
        (0, shared.cuts[-2]),
        (0, shared.cuts[-1]),
        (0, shared.ops),
    }


@needs_litert
def test_a_model_is_packed_once(shared: Shared) -> None:
    """The second time it is not even fetched."""
    shared.pack()
    shared.shelf.pack(shared.sha256, lambda: pytest.fail("fetched"))


@needs_litert
def test_packed_weights_that_are_of_no_use_are_given_up(shared: Shared) -> None:
    """The segment is loaded with weights of its own, and so is the next."""
    shared.pack()
    shared.shelf.close()
    path = shared.packed.find(shared.sha256)
    assert path is not None
    path.write_bytes(b"")
    write_record(path, Record(fingerprint_of(path)))
    plan = shared.plan(shared.cuts[-1])
    shared.shelf.load(plan, shared.model)
    segment = shared.shelf.segment(shared.sha256, 0, shared.cuts[-1])
    assert segment is not None
    assert not segment.shares_weights
    assert shared.packed.find(shared.sha256) is None


def test_a_model_that_memory_does_not_hold_is_not_packed(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """Its parts may still fit."""
    poor = Shared(small_model("branchy"), tmp_path, free_mb=10.0)
    poor.pack()
    assert poor.packed.find(poor.sha256) is None
