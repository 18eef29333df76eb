"""How a codec packs the tensors of one cut for a transfer between two nodes, and what of it is allowed.

Which codec is taken where is the planners' choice.
"""

from coordinator.errors import PlanError
from coordinator.problem import BYTES_PER_MB, Codec, Node, Packing


def packing_of(codec: Codec, cut: int) -> Packing:
    """How a codec packs a cut's tensors. PlanError where it is not allowed."""
    packing = codec.at(cut)
    if packing is None:
        raise PlanError(f"the plan sends tensors by the codec {codec.name!r} at cut {cut}, where it is not allowed")
    return packing


def packs(node: Node, packing: Packing | Codec) -> bool:
    """Whether a node can pack and unpack so."""
    return packing.is_free or node.codec_factor is not None


def ends_ms(packing: Packing, size: float, src: Node, dst: Node) -> tuple[float, float]:
    """The ms that the maker and the reader of `size` bytes take, without load. PlanError if one of them cannot."""
    if packing.is_free:
        return 0.0, 0.0
    for node in (src, dst):
        if node.codec_factor is None:
            raise PlanError(
                f"the plan has {node.name!r} pack or unpack tensors by the codec {packing.codec!r}, "
                "but it takes them raw only"
            )
    size_mb = size / BYTES_PER_MB
    return (
        packing.encode_ms_per_mb * size_mb * (src.codec_factor or 0.0),
        packing.decode_ms_per_mb * size_mb * (dst.codec_factor or 0.0),
    )
