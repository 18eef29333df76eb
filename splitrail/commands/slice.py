"""`splitrail slice`: a segment of a .tflite as a stand-alone .tflite."""

import argparse
from pathlib import Path

from models.graph import read_graph
from models.slicer import slice_model

EXAMPLE = "splitrail slice mobilenetv2.tflite 0 24 -o head.tflite"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a .tflite file")
    parser.add_argument("start", metavar="I", type=int, help="the first op of the segment")
    parser.add_argument("stop", metavar="J", type=int, help="the op after its last; `splitrail cuts` lists both")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the .tflite to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the segment. CutError if it cannot be cut, ModelFileError or ModelFormatError if a file is at fault."""
    slice_model(arguments.file, arguments.start, arguments.stop, arguments.output)
    segment = read_graph(arguments.output)
    inputs, outputs = (
        ", ".join(segment.tensors[index].name for index in indices) for indices in (segment.inputs, segment.outputs)
    )
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")
    print(f"  inputs:  {inputs}")
    print(f"  outputs: {outputs}")
    return 0
