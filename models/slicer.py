"""Cuts a segment [start, stop) out of a .tflite into a stand-alone .tflite, or says why it cannot be cut.

Which cuts are allowed graph.py says; what a segment is made of, segment.py.
"""

from pathlib import Path

from models.codec_graph import AS_THEY_ARE, GraphCodec, with_codecs
from models.constants import find_constants
from models.emitter import write_flatbuffer
from models.errors import CutError, ModelFileError
from models.graph import Graph, build_graph
from models.modelfile import open_model
from models.operators import is_flex
from models.schema import IDENTIFIER
from models.segment import segment_tree


def slice_model(
    path: Path,
    start: int,
    stop: int,
    out: Path,
    *,
    taken: GraphCodec = AS_THEY_ARE,
    given: GraphCodec = AS_THEY_ARE,
) -> None:
    """Write ops `start`..`stop`-1 of the .tflite at `path` as a stand-alone .tflite to `out`, whole or not at all.

    Its inputs are the cut tensors at `start` and its outputs those at `stop`, in the order of `CutPoint.tensors`.
    A chain of segments gives the whole model's outputs bit for bit. Where the file leaves the batch open, that whole
    is the segment of all ops: with the batch bound, a runtime may pick faster kernels than for the open file.
    With codecs, its float32 inputs are taken, and its float32 outputs given, as float16 or int8.
    Raises CutError where the segment cannot be cut out, ModelFormatError where the file is not a valid .tflite,
    ModelFileError where a file cannot be read or written, CodecError where a codec's scales do not fit its tensors.
    """
    if out.exists() and out.samefile(path):
        raise CutError(f"{out}: the segment would overwrite the model that it is cut from; name another file")
    if out.is_dir():
        raise ModelFileError(f"{out}: cannot be written: it is a directory; name a file")
    with open_model(path) as model:
        constants = find_constants(model, model.main)
        graph = build_graph(model, constants)
        check_segment(graph, start, stop)
        try:
            tree = with_codecs(segment_tree(model, constants, graph, start, stop), taken, given)
            write_flatbuffer(tree, IDENTIFIER, out)
        except OSError as error:
            raise ModelFileError(f"{out}: cannot be written: {error.strerror or error}") from None


def check_segment(graph: Graph, start: int, stop: int) -> None:
    """Raise CutError, with the reason, unless ops `start`..`stop`-1 can be cut out."""
    count = len(graph.ops)
    if not 0 <= start <= stop <= count:
        raise CutError(
            f"there is no segment [{start}, {stop}): this model's cut points are 0..{count}, in rising order"
        )
    if start == stop:
        raise CutError(f"the segment [{start}, {stop}) is empty: it relays its tensors and has no file")
    for k in (start, stop):
        if not graph.cuts[k].allowed:
            raise CutError(f"the cut at {k} is not allowed: {graph.cuts[k].why}; `splitrail cuts` lists those that are")
    for op in graph.ops[start:stop]:
        if op.custom and is_flex(op.kind):
            raise CutError(
                f"op {op.index} is {op.kind}, which needs TensorFlow's Flex delegate: convert the model with "
                "TFLITE_BUILTINS as its only supported ops"
            )
