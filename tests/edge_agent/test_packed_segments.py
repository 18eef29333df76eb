"""Segments whose graphs do the codecs of a plan: loaded where that costs no memory, and never missed where not."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from plans import MODEL, plan_of

from broker.messages import CodecName, Plan, TensorScale
from edge_agent.packing import PLAIN, Ends, computing_ends, packing_between, stage_packing
from edge_agent.routes import route
from edge_agent.shelf import Holdings, Shelf
from models.cache import ModelCache, file_sha256
from models.codec_figures import Scale
from models.codec_graph import GraphCodec
from models.errors import UnsupportedOpError
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.packed import PackedWeights
from models.runtime import Segment

needs_litert = pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")


class Packing:
    """A shelf of the Pi, and plans of the branchy model whose second part runs on the PC."""

    def __init__(self, model: Path, directory: Path) -> None:
        self.model, self.sha256 = model, file_sha256(model)
        self.graph = read_graph(model)
        self.ops = len(self.graph.ops)
        self.stop = next(cut.k for cut in self.graph.cuts[1:-1] if cut.allowed)
        self.cache = ModelCache(directory)
        self.shelf = Shelf(
            "pi",
            self.cache,
            PackedWeights(self.cache, "here"),
            threads=lambda _: 1,
            bound_mb=1_000.0,
            free_mb=lambda: 1_000.0,
        )

    def plan(self, codec: CodecName, epoch: int = 1) -> Plan:
        """The Pi begins, the PC ends."""
        reference = msgspec.structs.replace(MODEL, sha256=self.sha256, ops=self.ops)
        plan = plan_of(("pi", 0, self.stop), ("pc", self.stop, self.ops), way_back=("pc", "pi"), epoch=epoch)
        floats = len(self.graph.cuts[self.stop].tensors)
        scales = (TensorScale(scale=0.05, zero_point=-100),) * floats if codec.startswith("int8") else ()
        first, second = plan.stages
        stages = (first, msgspec.structs.replace(second, codec=codec, scales=scales))
        return msgspec.structs.replace(plan, model=reference, stages=stages)

    def loaded(self, plan: Plan) -> Segment:
        """The Pi's segment of a plan, once that is prepared."""
        self.shelf.hold(Holdings((plan,), (), ()))
        self.shelf.load(plan, self.model)
        self.shelf.release_unheld()
        segment = self.shelf.segment(self.sha256, 0, self.stop, computing_ends(plan)[0])
        assert segment is not None
        return segment


@pytest.fixture
def packing(small_model: Callable[[str], Path], tmp_path: Path) -> Packing:
    return Packing(small_model("branchy"), tmp_path)


def test_each_hop_knows_what_its_graph_may_do() -> None:
    """Numbers are converted in the graph, compression and images beside it; relays and results have nothing to do."""
    plan = plan_of(("pi", 0, 3), ("laptop", 3, 3), ("pc", 3, 10), way_back=("pc", "pi"))
    scale = TensorScale(scale=0.5, zero_point=7)
    stages = (
        msgspec.structs.replace(plan.stages[0], codec="jpeg"),
        plan.stages[1],
        msgspec.structs.replace(plan.stages[2], codec="int8+zstd", scales=(scale,)),
    )
    int8 = GraphCodec("int8", (Scale(scale=0.5, zero_point=7),))
    assert computing_ends(msgspec.structs.replace(plan, stages=stages)) == (
        Ends(given=int8),
        PLAIN,
        Ends(taken=int8),
        PLAIN,
    )
    assert computing_ends(plan) == (PLAIN,) * 4
    assert PLAIN.word == ""
    assert Ends(given=int8).word != Ends(taken=int8).word


@needs_litert
@pytest.mark.parametrize(("codec", "dtype"), [("fp16", "float16"), ("int8", "int8"), ("int8+lz4", "int8")])
def test_with_shared_weights_the_graph_converts(packing: Packing, codec: CodecName, dtype: str) -> None:
    """The segment gives what travels, its weights are the packed ones, and what is left to do changes nothing of it."""
    packing.shelf.pack(packing.sha256, lambda: packing.model)
    plan = packing.plan(codec)
    segment = packing.loaded(plan)
    assert {spec.dtype for spec in segment.outputs} == {dtype}
    assert segment.shares_weights
    image = np.random.default_rng(0).standard_normal(segment.inputs[0].shape).astype(np.float32)
    todo = stage_packing(plan, 0, lambda _: None)
    assert todo is not None
    outputs = segment.run(list(todo.unpack([image], segment.inputs)))
    plain = packing.loaded(packing.plan("raw", epoch=2)).run([image])
    for one, other in zip(todo.pack(outputs), todo.pack(plain), strict=True):
        if "+" not in codec:
            np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=1.0)


def test_without_shared_weights_it_is_done_beside_the_graph(packing: Packing) -> None:
    """The plain segment serves every codec, so that a change of codec loads nothing."""
    first = packing.loaded(packing.plan("raw"))
    assert packing.loaded(packing.plan("int8", epoch=2)) is first
    assert packing.loaded(packing.plan("fp16", epoch=3)) is first


@needs_litert
def test_a_runtime_without_the_ops_is_no_obstacle(packing: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot load a segment with codecs, the plain one is loaded."""
    packing.shelf.pack(packing.sha256, lambda: packing.model)

    def refusing(path: Path, *rest: object) -> Segment:
        if len(path.name.split(".")[1]) == 16:
            raise UnsupportedOpError(f"{path}: has no CAST version 5", "CAST", 5)
        return Segment(path, *rest)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr("edge_agent.segment_loading.Segment", refusing)
    assert {spec.dtype for spec in packing.loaded(packing.plan("fp16")).outputs} == {"float32"}


@needs_litert
def test_a_change_of_codec_leaves_one_segment(packing: Packing) -> None:
    """What an earlier plan's codecs needed goes with it."""
    packing.shelf.pack(packing.sha256, lambda: packing.model)
    codecs: tuple[CodecName, ...] = ("raw", "fp16", "int8", "raw+zstd")
    for epoch, codec in enumerate(codecs, start=1):
        packing.loaded(packing.plan(codec, epoch))
        assert len(packing.shelf.held) == 1


def test_only_what_is_packed_needs_packing() -> None:
    """Between raw transfers there is nothing to do."""
    plan = plan_of(("pi", 0, 3), ("pc", 3, 10), way_back=("pc", "pi"))
    here, there, *_ = route(plan)
    assert packing_between(here, there, lambda: None) is None
