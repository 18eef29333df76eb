"""Block profiles as Scission publishes them (Lockhart et al., UCC 2020), on the three machines that we emulate.

Its blocks are the ops here: Keras layers, or groups of them that branch inside. Weights are not in its files.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from broker.messages import MAX_OPS, PlanStage
from coordinator.field_checks import MAX_NUMBER
from testbed.errors import ExperimentError
from testbed.machines import LAPTOP, PC, PI
from testbed.paper.model_profile import ModelProfile, NodeTimes
from testbed.paper.profiled_model import ProfiledModel

DEVICES: Final = {PI.node: "device-raspi4", LAPTOP.node: "edge-2500", PC.node: "cloud-6700k(NoGPU)"}
"""The devices that our machines are emulated after; others in the file are left aside."""
INPUT_BYTES: Final = 602_112.0  # 224 x 224 x 3 numbers of 4 bytes, which the files leave out

# The last Keras layer of the features that the published static splits end at, on Pi and laptop (arXiv 2605.09623 by
# torchvision's indices: VGG16 10 and 30, MobileNetV2 9 and 18). Keras numbers the input 0.
_LAST_LAYERS: Final = {"vgg16": (7, 18), "mobilenetv2": (81, 154)}


class _Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    input_layer: Annotated[int, Meta(ge=0)]
    output_layer: Annotated[int, Meta(ge=0)]
    seconds: Annotated[float, Meta(ge=0.0, le=MAX_NUMBER)]
    output_bytes: Annotated[int, Meta(ge=0, le=int(MAX_NUMBER))]


_Blocks = Annotated[tuple[_Block, ...], Meta(min_length=2, max_length=MAX_OPS)]


def is_scission(content: Any) -> bool:
    """Whether decoded JSON looks like one of its files: an object that has one of the devices."""
    return isinstance(content, dict) and not content.keys().isdisjoint(DEVICES.values())


def profiled_models(content: Any) -> tuple[ProfiledModel, ...]:
    """Every model that the file has on all three devices. ExperimentError says what does not fit, without the file."""
    devices: dict[str, dict[str, tuple[_Block, ...]]] = {}
    for node, device in DEVICES.items():
        if device not in content:
            raise ExperimentError(f"has no device {device!r}, which {node} is emulated after")
        try:
            devices[node] = msgspec.convert(content[device], type=dict[str, _Blocks])
        except msgspec.ValidationError as error:
            raise ExperimentError(f"{device}: {error}") from None
    names = [name for name in devices[PI.node] if all(name in blocks for blocks in devices.values())]
    if not names:
        raise ExperimentError("has no model that was measured on all of: " + ", ".join(DEVICES.values()))
    return tuple(_profiled(name, {node: blocks[name] for node, blocks in devices.items()}) for name in names)


def _profiled(model: str, blocks: dict[str, tuple[_Block, ...]]) -> ProfiledModel:
    layers = [(block.input_layer, block.output_layer) for block in blocks[PI.node]]
    for node, others in blocks.items():
        if [(block.input_layer, block.output_layer) for block in others] != layers:
            raise ExperimentError(f"{model} has other blocks on {DEVICES[node]} than on {DEVICES[PI.node]}")
    count = len(layers)
    profile = ModelProfile(
        model=model,
        cut_bytes=(INPUT_BYTES, *(float(block.output_bytes) for block in blocks[PI.node])),
        weight_mb=(0.0,) * count,
        forbidden_cuts=(),
        nodes=tuple(
            NodeTimes(node=node, op_ms=tuple(1e3 * block.seconds for block in measured), op_ms_std=(0.0,) * count)
            for node, measured in blocks.items()
        ),
        source="Scission's published blocks, measured in Keras on " + ", ".join(DEVICES.values()),
    )
    split, remarks = _published_split(model, [last for _, last in layers])
    return ProfiledModel(profile=profile, published_split=split, remarks=remarks)


def _published_split(model: str, ends: list[int]) -> tuple[tuple[PlanStage, ...], tuple[str, ...]]:
    """The published static split by blocks; a layer inside a block moves to the nearer end of it."""
    if model not in _LAST_LAYERS:
        return (), ()
    cuts = [0]
    remarks = []
    for node, layer in zip((PI.node, LAPTOP.node), _LAST_LAYERS[model], strict=True):
        nearest = min(range(len(ends) - 1), key=lambda at: abs(ends[at] - layer))
        if ends[nearest] != layer:
            remarks.append(f"Keras layer {layer}, the last on {node}, is inside a block: cut after {ends[nearest]}")
        cuts.append(nearest + 1)
    cuts.append(len(ends))
    if sorted(set(cuts)) != cuts:
        raise ExperimentError(f"the blocks of {model} are not those of the architecture, no published split fits them")
    stages = (
        PlanStage(node=node, start=start, stop=stop)
        for node, start, stop in zip((PI.node, LAPTOP.node, PC.node), cuts[:-1], cuts[1:], strict=True)
    )
    return tuple(stages), tuple(remarks)
