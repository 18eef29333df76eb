"""The tensors that a quantisation names by their indices, as a blockwise or multi-axis one keeps its scales."""

from models.flatbuffer import Table
from models.schema import INDEXED_DETAILS, Quantization


def detail_tensors(quantization: Table, tensors: int) -> tuple[int, ...]:
    """The indices of the scales and of the zero points (-1: none) in a subgraph of that many tensors, or nothing.

    Raises ModelFormatError where an index is out of range.
    """
    if quantization.scalar(Quantization.DETAILS_TYPE, "B") not in INDEXED_DETAILS:
        return ()
    details = quantization.table(Quantization.DETAILS)
    if details is None:
        return ()
    found = (details.scalar(Quantization.SCALES, "i"), details.scalar(Quantization.ZERO_POINTS, "i"))
    if any(not -1 <= index < tensors for index in found):
        raise details.buffer.broken(f"a quantisation names tensors {found} of {tensors}")
    return found
