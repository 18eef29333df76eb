"""What packing tensors takes: half floats and int8 in a segment's graph beside numpy's, and every codec per MB.

    python benchmarks/codecs.py [--quick] [--json FILE]

At some cuts of MobileNetV2 and VGG16 (random weights), the ops just before and just after a cut run with the codec in
their graph and, in turns, without it and with the codec beside it: the time of ops and codec together, and its ratio to
that of numpy. Then the ms of each codec per MB before encoding, as profiles say them.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, repeated, spread, write
from zoo_models import zoo_model

from edge_agent.codec_speeds import codec_speeds
from models.codec_graph import AS_THEY_ARE, GraphCodec
from models.codecs import Number, pack, unpack
from models.graph import read_graph
from models.runtime import Segment
from models.scales import ranges_of
from models.slicer import slice_model

CUTS = {"mobilenetv2": (3, 12, 24), "vgg16": (3, 10)}
QUICK_CUTS = {"mobilenetv2": (3, 24)}
ROUNDS, QUICK_ROUNDS = 60, 25
NUMBERS: tuple[Number, ...] = ("fp16", "int8")

Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Compared:
    """The same work done in two ways, in turns; times in ms."""

    name: str
    graph_ms: tuple[float, ...]
    numpy_ms: tuple[float, ...]

    @property
    def figure(self) -> Figure:
        """The graph's, with numpy's as its reference."""
        graph_ms, numpy_ms = statistics.median(self.graph_ms), statistics.median(self.numpy_ms)
        noise = spread([statistics.median(self.graph_ms[start::5]) for start in range(5)])
        ratio = graph_ms / numpy_ms
        return Figure(self.name, graph_ms, "ms", "lower", noise=noise, reference=numpy_ms, ratio=ratio)


def main() -> None:
    """Measure everything and print one line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cuts and rounds")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    cuts, rounds = (QUICK_CUTS, QUICK_ROUNDS) if arguments.quick else (CUTS, ROUNDS)
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        for model, ks in cuts.items():
            for k in ks:
                for compared in at_cut(zoo_model(model), k, Path(directory), rounds):
                    figure = compared.figure
                    figures.append(figure)
                    print(f"{figure.name:36} {figure.value:7.3f} ms, {figure.ratio:5.2f} of numpy's", flush=True)
    for speed in codec_speeds():
        for direction, ms in (("encode", speed.encode_ms_per_mb), ("decode", speed.decode_ms_per_mb)):
            if ms > 0.0:
                figures.append(repeated(f"{speed.codec} {direction}", [ms], "ms/MB", "lower"))
        print(f"{speed.codec:10} {speed.encode_ms_per_mb:7.2f} {speed.decode_ms_per_mb:7.2f} ms/MB", flush=True)
    if arguments.json:
        write(arguments.json, figures)


def at_cut(path: Path, k: int, directory: Path, rounds: int) -> Iterator[Compared]:
    """Encoding before, and decoding after, cut point k of a model."""
    allowed = [cut.k for cut in read_graph(path).cuts if cut.allowed]
    place = allowed.index(k)
    before, after = allowed[place - 1], allowed[place + 1]

    def segment(start: int, stop: int, taken: GraphCodec = AS_THEY_ARE, given: GraphCodec = AS_THEY_ARE) -> Segment:
        piece = directory / "segment.tflite"
        slice_model(path, start, stop, piece, taken=taken, given=given)
        loaded = Segment(piece)
        piece.unlink()
        return loaded

    head, tail = segment(before, k), segment(k, after)
    generator = np.random.default_rng(0)
    inputs = [generator.uniform(0.0, 1.0, spec.shape).astype(spec.dtype) for spec in head.inputs]
    cut = head.run(inputs)
    kilobytes = sum(array.nbytes for array in cut) / 1e3
    for number in NUMBERS:
        scales = tuple(known.whole for known in ranges_of([cut])) if number == "int8" else ()
        codec = GraphCodec(number, scales)
        giving, taking = segment(before, k, given=codec), segment(k, after, taken=codec)
        packed = pack(cut, number, scales)
        name = f"{path.stem.partition('-')[0]} cut {k}, {kilobytes:.0f} kB, {number}"
        yield in_turns(f"{name} encode", run(giving, inputs), beside(head, inputs, number, scales), rounds)
        yield in_turns(f"{name} decode", run(taking, packed), after_unpacking(tail, packed, number, scales), rounds)


def run(segment: Segment, arrays: Arrays) -> Callable[[], None]:
    """A run whose outputs are read where they lie."""

    def do() -> None:
        segment.run_in_place(arrays)
        segment.release_outputs()

    return do


def beside(segment: Segment, arrays: Arrays, number: Number, scales: Any) -> Callable[[], None]:
    """The same, and numpy packs the outputs."""

    def do() -> None:
        pack(segment.run_in_place(arrays), number, scales)
        segment.release_outputs()

    return do


def after_unpacking(segment: Segment, packed: Arrays, number: Number, scales: Any) -> Callable[[], None]:
    """Numpy unpacks the inputs first."""

    def do() -> None:
        segment.run_in_place(unpack(packed, segment.inputs, number, scales))
        segment.release_outputs()

    return do


def in_turns(name: str, graph: Callable[[], None], beside_it: Callable[[], None], rounds: int) -> Compared:
    """Time both as often, one after the other, so that whatever else runs here slows both."""
    taken_ms: tuple[list[float], list[float]] = ([], [])
    for number, (ways, which) in itertools.product(range(rounds + 3), enumerate((graph, beside_it))):
        started_s = time.perf_counter()
        which()
        if number >= 3:  # what a first run puts off is not its time
            taken_ms[ways].append((time.perf_counter() - started_s) * 1e3)
    return Compared(name, tuple(taken_ms[0]), tuple(taken_ms[1]))


if __name__ == "__main__":
    main()
