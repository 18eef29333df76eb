"""The static splits that the published experiment compares with, found in the graph of a converted model.

They are published by the indices of torchvision's `features`; which ops those are is read from kinds and order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from broker.messages import PlanStage
from models.graph import Graph
from testbed.errors import UnpublishedModelError
from testbed.machines import LAPTOP, PC, PI


@dataclass(frozen=True, slots=True)
class PublishedSplit:
    """Stages of Pi, laptop and PC, in this order; `remarks` are sentences on what could not be taken literally."""

    stages: tuple[PlanStage, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Published:
    """The last feature on the Pi and on the laptop; the PC has the rest. `form` finds features among an op's letters.

    Each match of `form` is one feature, or two where a convolution holds its ReLU (`relu_is_feature`).
    """

    features: int
    pi_last: int
    laptop_last: int
    form: re.Pattern[str]
    relu_is_feature: bool


# torchvision's vgg.py and alexnet.py: convolution, ReLU and pooling are a feature each.
_PLAIN = re.compile(r"CR?|P")
# torchvision's mobilenetv2.py: a first and a last convolution, between them blocks of an expansion (not in the first
# block), a depthwise convolution, a projection and perhaps a sum; the activations R belong to their convolutions.
_BLOCKS = re.compile(r"^CR?|(?:CR?)?DR?CA?|CR?")

# The static baselines of arXiv 2605.09623, from its public code.
_SPLITS = {
    "vgg16": _Published(features=31, pi_last=10, laptop_last=30, form=_PLAIN, relu_is_feature=True),
    "alexnet": _Published(features=13, pi_last=9, laptop_last=12, form=_PLAIN, relu_is_feature=True),
    "mobilenetv2": _Published(features=19, pi_last=9, laptop_last=18, form=_BLOCKS, relu_is_feature=False),
}

_LETTERS = {
    "CONV_2D": "C",
    "DEPTHWISE_CONV_2D": "D",
    "MAX_POOL_2D": "P",
    "ADD": "A",
    "RELU": "R",
    "RELU6": "R",
}


def published_split(model: str, graph: Graph) -> PublishedSplit:
    """The split that was published for the zoo model `model`, whose .tflite has `graph`.

    UnpublishedModelError if there is none for this name, or the graph is not of that architecture.
    """
    published = _SPLITS.get(model)
    if published is None:
        raise UnpublishedModelError(
            f"no static split was published for {model!r}; there is one for: {', '.join(_SPLITS)}"
        )
    ends = tuple(_feature_ends(graph, published))
    if len(ends) != published.features:
        raise UnpublishedModelError(
            f"the graph is not that of {model}: {len(ends)} features were found in it, {model} has {published.features}"
        )
    remarks: list[str] = []
    cuts = [0]
    for machine, last in ((PI, published.pi_last), (LAPTOP, published.laptop_last)):
        if published.relu_is_feature and last + 1 < published.features and ends[last] == ends[last + 1]:
            remarks.append(f"feature {last + 1}, a ReLU, is one op with feature {last}, and so runs on {machine.node}")
        cut = _nearest_allowed(graph, ends[last])
        if cut != ends[last]:
            remarks.append(f"the cut at op {ends[last]} is not allowed ({graph.cuts[ends[last]].why}): cut at {cut}")
        cuts.append(cut)
    cuts.append(len(graph.ops))
    nodes = (PI.node, LAPTOP.node, PC.node)
    stages = (PlanStage(node=node, start=cuts[at], stop=cuts[at + 1]) for at, node in enumerate(nodes))
    return PublishedSplit(tuple(stages), tuple(remarks))


def _feature_ends(graph: Graph, published: _Published) -> Iterator[int]:
    """For each feature, in order, the cut point behind its last op; pads and the like go with the op that they precede.

    What follows the last feature is the classifier; adaptive pooling, at these sizes the identity, is no op before it.
    """
    ops = [op for op in graph.ops if op.kind in _LETTERS]
    for match in published.form.finditer("".join(_LETTERS[op.kind] for op in ops)):
        last = ops[match.end() - 1]
        if published.relu_is_feature and match[0].startswith("C"):
            yield ops[match.start()].index + 1
        yield last.index + 1


def _nearest_allowed(graph: Graph, k: int) -> int:
    """The allowed cut point inside the model that is nearest to k; the earlier of two."""
    inside = [cut.k for cut in graph.cuts[1:-1] if cut.allowed]
    if not inside:
        raise UnpublishedModelError("the graph allows no cut inside the model, so no published split can be made of it")
    return min(inside, key=lambda allowed: (abs(allowed - k), allowed))
