"""Which segments a node holds, and what it does where there is no room for more."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from plans import plan_of

from broker.messages import ModelReference, Plan
from edge_agent.errors import NoRoomError
from edge_agent.shelf import Holdings, Shelf
from models.cache import ModelCache, file_sha256
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.packed import PackedWeights


class Shelved:
    """A shelf of the Pi for one small model, with as much room as is wanted."""

    def __init__(self, model: Path, directory: Path) -> None:
        graph = read_graph(model)
        self.model = model
        self.cache = ModelCache(directory)
        self.ops = len(graph.ops)
        self.cuts = [cut.k for cut in graph.cuts[1:-1] if cut.allowed]
        self.weights_mb = [op.weight_bytes / 1e6 for op in graph.ops]
        self.reference = ModelReference(
            sha256=file_sha256(model), name="m", size_bytes=1, ops=self.ops, url="http://127.0.0.1:1/"
        )

    def shelf(self, bound_mb: float = 1e3, free_mb: float = 1e4) -> Shelf:
        """A shelf with this room."""
        return Shelf(
            "pi",
            self.cache,
            PackedWeights(self.cache, "here"),
            threads=lambda _: 1,
            bound_mb=bound_mb,
            free_mb=lambda: free_mb,
        )

    def plan(self, stop: int, epoch: int = 1) -> Plan:
        """The Pi begins, the PC ends."""
        plan = plan_of(("pi", 0, stop), ("pc", stop, self.ops), way_back=("pc", "pi"), epoch=epoch)
        return msgspec.structs.replace(plan, model=self.reference)

    def mb(self, start: int, stop: int) -> float:
        """The weights of ops."""
        return sum(self.weights_mb[start:stop])


@pytest.fixture
def shelved(tmp_path: Path, small_model: Callable[[str], Path]) -> Shelved:
    """The branchy model."""
    return Shelved(small_model("branchy"), tmp_path)


def keys(shelf: Shelf) -> set[tuple[int, int]]:
    """The ops that it holds."""
    return {(key.start, key.stop) for key in shelf.held}


def test_weights_beyond_the_bound_are_refused_with_the_figures(shelved: Shelved) -> None:
    """Those of other plans that are still held count."""
    first, second = shelved.plan(shelved.cuts[-2]), shelved.plan(shelved.cuts[-1], epoch=2)
    needed_mb = shelved.mb(0, shelved.cuts[-2])
    shelf = shelved.shelf(bound_mb=1.5 * needed_mb)
    shelf.hold(Holdings((first, second), (), ()))
    shelf.load(first, shelved.model)
    with pytest.raises(NoRoomError, match=r"pi cannot hold .* beside the .* of other segments: its memory_mb is"):
        shelf.load(second, shelved.model)
    assert keys(shelf) == {(0, shelved.cuts[-2])}
    assert not shelf.drains_enough(second, shelved.model)
    shelf.hold(Holdings((first, second), (first,), ()))
    assert shelf.drains_enough(second, shelved.model)
    shelf.hold(Holdings((second,), (), ()))
    shelf.load(second, shelved.model)
    assert keys(shelf) == {(0, shelved.cuts[-1])}


def test_memory_that_the_machine_does_not_have_free_is_a_reason_too(shelved: Shelved) -> None:
    """Before the runtime is asked for it, and killed."""
    with pytest.raises(NoRoomError, match="pi has 10 MB of memory free"):
        shelved.shelf(free_mb=10.0).load(shelved.plan(shelved.cuts[-1]), shelved.model)


def test_what_is_loaded_already_needs_no_room(shelved: Shelved) -> None:
    """Two plans may share a segment."""
    plan = shelved.plan(shelved.cuts[-1])
    shelf = shelved.shelf(bound_mb=shelved.mb(0, shelved.cuts[-1]))
    shelf.load(plan, shelved.model)
    shelf.load(msgspec.structs.replace(plan, epoch=2), shelved.model)
    assert keys(shelf) == {(0, shelved.cuts[-1])}


def test_the_fallback_is_the_whole_model_where_it_fits(shelved: Shelved) -> None:
    """It serves every plan of the deployment, so a change of plan loads nothing."""
    plan, other = shelved.plan(shelved.cuts[0]), shelved.plan(shelved.cuts[1], epoch=2)
    shelf = shelved.shelf()
    shelf.hold(Holdings((plan,), (), (plan,)))
    assert not shelf.has_fallback(plan)
    shelf.load_fallback(plan, shelved.model)
    assert keys(shelf) == {(0, shelved.ops)}
    assert shelf.has_fallback(other)
    shelf.hold(Holdings((other,), (), (other,)))
    assert keys(shelf) == {(0, shelved.ops)}
    shelf.hold(Holdings((), (), ()))
    assert keys(shelf) == set()


def test_what_a_plan_that_ran_everything_here_leaves_becomes_the_fallback(shelved: Shelved) -> None:
    """So the first change away from it loads nothing."""
    alone = msgspec.structs.replace(plan_of(("pi", 0, shelved.ops)), model=shelved.reference)
    plan = shelved.plan(shelved.cuts[0], epoch=2)
    shelf = shelved.shelf()
    shelf.hold(Holdings((alone,), (), (alone,)))
    shelf.load(alone, shelved.model)
    shelf.hold(Holdings((alone, plan), (alone,), (plan,)))
    shelf.hold(Holdings((plan,), (), (plan,)))
    assert keys(shelf) == {(0, shelved.ops)}
    assert shelf.has_fallback(plan)


def test_else_it_is_what_comes_after_the_leading_stage(shelved: Shelved) -> None:
    """Or nothing, where there is no room for that either."""
    k = next(k for k in shelved.cuts if shelved.mb(0, k) > 0 and shelved.mb(k, shelved.ops) > 0)
    plan = shelved.plan(k)
    shelf = shelved.shelf(bound_mb=shelved.mb(0, shelved.ops) * 1.001)
    shelf.hold(Holdings((plan,), (), (plan,)))
    shelf.load(plan, shelved.model)
    shelf.load_fallback(plan, shelved.model)
    assert keys(shelf) == {(0, k), (k, shelved.ops)}
    poor = shelved.shelf(bound_mb=shelved.mb(0, k) * 1.001)
    poor.hold(Holdings((plan,), (), (plan,)))
    poor.load(plan, shelved.model)
    poor.load_fallback(plan, shelved.model)
    assert keys(poor) == {(0, k)}
    assert not poor.has_fallback(plan)


def test_a_fallback_gives_way_to_a_plan(shelved: Shelved) -> None:
    """It is a reserve."""
    plan, next_plan = shelved.plan(shelved.cuts[0]), shelved.plan(shelved.cuts[-1], epoch=2)
    shelf = shelved.shelf(bound_mb=shelved.mb(0, shelved.ops) * 1.001)
    shelf.hold(Holdings((plan, next_plan), (), (plan,)))
    shelf.load_fallback(plan, shelved.model)
    assert keys(shelf) == {(0, shelved.ops)}
    shelf.load(next_plan, shelved.model)
    assert (0, shelved.cuts[-1]) in keys(shelf)
    assert (0, shelved.ops) not in keys(shelf)


def test_what_was_loaded_for_a_plan_that_is_gone_is_freed(shelved: Shelved) -> None:
    """A plan may be replaced while it loads."""
    plan = shelved.plan(shelved.cuts[0])
    shelf = shelved.shelf()
    shelf.hold(Holdings((), (), ()))
    shelf.load(plan, shelved.model)
    shelf.release_unheld()
    assert keys(shelf) == set()


def test_what_is_held_may_be_read_while_it_changes(shelved: Shelved) -> None:
    """Plans drain on another thread than the one that loads and prunes the cache."""
    shelf, plans = shelved.shelf(), [shelved.plan(cut) for cut in shelved.cuts]
    shelf.hold(Holdings(tuple(plans), (), ()))
    for plan in plans:
        shelf.load(plan, shelved.model)
    segments = dict(shelf._segments)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            shelf._segments.clear()
            shelf._segments.update(segments)

    thread, before_s = threading.Thread(target=change), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(60_000):  # one in 7,000 met a change, before it was read at once
            assert shelf.models_held <= {shelved.reference.sha256}
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before_s)


@pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")
def test_what_was_loaded_before_the_weights_were_packed_shares_them_from_then_on(shelved: Shelved) -> None:
    """A node's first plan is ready before that is done, and may stay for long."""
    plan = shelved.plan(shelved.cuts[-1])
    shelf = shelved.shelf()
    shelf.hold(Holdings((plan,), (), (plan,)))
    shelf.load(plan, shelved.model)
    key = (shelved.reference.sha256, 0, shelved.cuts[-1])
    before = shelf.segment(*key)
    assert before is not None
    assert not before.shares_weights
    shelf.pack(shelved.reference.sha256, lambda: shelved.model)
    after = shelf.segment(*key)
    assert after is not None
    assert after.shares_weights
    assert keys(shelf) == {(0, shelved.cuts[-1])}
