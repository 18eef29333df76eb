"""The published static splits, found in the graphs of the zoo's models."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from models.graph import CutPoint, Graph, Op, Tensor, read_graph
from testbed.errors import UnpublishedModelError
from testbed.paper.splits import PublishedSplit, published_split


def ranges(split: PublishedSplit) -> list[tuple[str, int, int]]:
    return [(stage.node, stage.start, stage.stop) for stage in split.stages]


def kinds(graph: Graph, start: int, stop: int) -> list[str]:
    return [op.kind for op in graph.ops[start:stop]]


def graph_of(kinds: Sequence[str]) -> Graph:
    """A chain of ops of these kinds, which may be cut anywhere."""
    tensors = tuple(Tensor(at, f"t{at}", (1, 4), "float32", 16, False, None) for at in range(len(kinds) + 1))
    ops = tuple(Op(at, kind, 1, False, (at,), (at + 1,), 0, False) for at, kind in enumerate(kinds))
    cuts = tuple(CutPoint(k, (k,), 16, True, None) for k in range(len(kinds) + 1))
    return Graph(ops, tensors, (0,), (len(kinds),), cuts)


def vgg16_kinds(*, convolution: Sequence[str]) -> list[str]:
    """The ops of VGG16, whose convolutions are of these kinds each."""
    blocks = [[*convolution * length, "MAX_POOL_2D"] for length in (2, 2, 3, 3, 3)]
    return [*(kind for block in blocks for kind in block), "RESHAPE", *["FULLY_CONNECTED"] * 3, "SOFTMAX"]


def test_vgg16() -> None:
    """The Pi has features 0-10: five convolutions and two poolings; the PC has the classifier alone."""
    split = published_split("vgg16", graph_of(vgg16_kinds(convolution=["CONV_2D"])))
    assert ranges(split) == [("pi", 0, 7), ("laptop", 7, 18), ("pc", 18, 23)]
    assert split.remarks == ("feature 11, a ReLU, is one op with feature 10, and so runs on pi",)


def test_vgg16_whose_relus_are_ops() -> None:
    """Where a convolution's ReLU is an op of its own, the split is taken literally."""
    kinds = vgg16_kinds(convolution=["CONV_2D", "RELU"])
    split = published_split("vgg16", graph_of(kinds))
    assert ranges(split) == [("pi", 0, 11), ("laptop", 11, 31), ("pc", 31, 36)]
    assert (kinds[10], kinds[11]) == ("CONV_2D", "RELU")
    assert split.remarks == ()


@pytest.mark.slow  # converting VGG16 takes most of a minute and 6 GB
def test_vgg16_of_the_zoo_is_made_of_these_ops(zoo_model: Callable[..., Path]) -> None:
    """The chain that the tests above make up is the real one."""
    assert [op.kind for op in read_graph(zoo_model("vgg16")).ops] == vgg16_kinds(convolution=["CONV_2D"])


def test_alexnet(zoo_model: Callable[..., Path]) -> None:
    """Features 0-9 end behind the fourth convolution's ReLU; the laptop has the fifth and its pooling."""
    graph = read_graph(zoo_model("alexnet"))
    split = published_split("alexnet", graph)
    assert ranges(split) == [("pi", 0, 6), ("laptop", 6, 8), ("pc", 8, 13)]
    assert kinds(graph, 6, 8) == ["CONV_2D", "MAX_POOL_2D"]
    assert split.remarks == ()


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_mobilenetv2(zoo_model: Callable[..., Path], quantize: str) -> None:
    """A feature is a block: the Pi has the first convolution and nine blocks, the PC pooling and classifier."""
    graph = read_graph(zoo_model("mobilenetv2", quantize))
    split = published_split("mobilenetv2", graph)
    first, second, third = split.stages
    on_pi = kinds(graph, first.start, first.stop)
    assert on_pi.count("DEPTHWISE_CONV_2D") == 9
    assert on_pi[-1] == "ADD"
    assert kinds(graph, second.start, second.stop).count("DEPTHWISE_CONV_2D") == 8
    assert kinds(graph, third.start, third.stop)[0] == "MEAN"
    assert (first.start, first.stop, second.stop, third.stop) == (0, second.start, third.start, len(graph.ops))
    if quantize == "none":
        assert ranges(split) == [("pi", 0, 32), ("laptop", 32, 62), ("pc", 62, 65)]


def test_a_cut_that_the_graph_forbids_moves_and_says_so(zoo_model: Callable[..., Path]) -> None:
    """The nearest allowed cut stands in, and the remark gives the reason."""
    graph = read_graph(zoo_model("mobilenetv2"))
    cuts = list(graph.cuts)
    for k in (31, 32):
        cuts[k] = dataclasses.replace(cuts[k], allowed=False, why="no reason")
    split = published_split("mobilenetv2", dataclasses.replace(graph, cuts=tuple(cuts)))
    assert ranges(split)[0] == ("pi", 0, 33)
    assert split.remarks == ("the cut at op 32 is not allowed (no reason): cut at 33",)


def test_only_what_was_published_has_a_split(
    zoo_model: Callable[..., Path], small_model: Callable[[str], Path]
) -> None:
    """Another model, or a published name on another graph, is refused with the reason."""
    graph = read_graph(zoo_model("mobilenetv2"))
    with pytest.raises(UnpublishedModelError, match="no static split was published for 'resnet50'; there is one for"):
        published_split("resnet50", graph)
    with pytest.raises(
        UnpublishedModelError, match=r"the graph is not that of vgg16: \d+ features were found in it, vgg16 has 31"
    ):
        published_split("vgg16", graph)
    with pytest.raises(UnpublishedModelError, match="the graph is not that of mobilenetv2"):
        published_split("mobilenetv2", read_graph(small_model("branchy")))
