"""Measures what each codec costs and changes at the cuts of a model: heads run from cut to cut, tails at each.

The figures are `models.codec_figures`', those of images `models.image_codecs`' part; which cuts and images, and where
the file goes, is the caller's choice.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.cache import file_sha256
from models.calibration import calibration_samples
from models.codec_figures import NAMES, CodecFigures, CodecName, CutCodec, Scale
from models.codecs import FLOAT, Number, pack, unpack
from models.errors import EvaluationError
from models.graph import CutPoint, Graph, read_graph
from models.image_codecs import image_codecs, image_input
from models.images import to_pixels
from models.runtime import Segment, TensorSpec
from models.scales import ranges_of
from models.slicer import slice_model

IMAGES: Final = 40
CALIBRATION_IMAGES: Final = 12
TIMED_IMAGES: Final = 8
"""How many images each codec is timed on, once each."""
WIDEST: Final = 4.0
"""A cut is of interest up to so many times the input's bytes: beyond, even int8 sends more than the raw input."""
_BYTES_PER_MB: Final = 1e6

Arrays = Sequence[NDArray[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """Of one image: the tensors at a cut, and the whole model's answer."""

    tensors: Arrays
    answer: Arrays


def interesting_cuts(graph: Graph, most: int | None = None) -> tuple[int, ...]:
    """The cuts at which a codec may pay, in rising order: the input, and the allowed ones that are narrow enough.

    Of these the `most` with the fewest bytes, where that is given.
    """
    input_bytes = graph.cuts[0].size_bytes
    inner = [cut for cut in graph.cuts[1:-1] if cut.allowed and cut.size_bytes < WIDEST * input_bytes]
    if most is not None:
        inner = sorted(inner, key=lambda cut: cut.size_bytes)[: max(0, most - 1)]
    return (0, *sorted(cut.k for cut in inner))


def evaluate_codecs(
    path: Path,
    images: Sequence[Path],
    *,
    machine: str,
    at: float,
    cuts: Sequence[int] | None = None,
    count: int = IMAGES,
    threads: int = 1,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> CodecFigures:
    """What every codec costs and changes at these cuts (else the interesting ones) of the .tflite at `path`.

    `count` images are run, the given ones and crops of them; int8 is calibrated on other crops. `machine` and `at`
    are recorded. `scratch` is a directory with room for the model. `progress(steps done, steps in all)` is called
    often. EvaluationError where the model takes no image or a cut is none; ImageError, ModelError as elsewhere.
    """
    graph = read_graph(path)
    chosen = _checked(path, graph, interesting_cuts(graph) if cuts is None else cuts)
    wanted, total = image_input(path, graph), count + CALIBRATION_IMAGES
    crops = itertools.islice(calibration_samples(images, total), total)
    inputs = [wanted.tensor_of(to_pixels(image, wanted.shape)) for image in crops]
    figures: list[CutCodec] = []
    with tempfile.TemporaryDirectory(prefix="splitrail-codecs-", dir=scratch) as directory:
        measurement = _Measurement(path, graph, Path(directory), threads)
        runs: list[Arrays] = [(array,) for array in inputs]
        answers = measurement.run(0, len(graph.ops), runs)
        for step, (before, k) in enumerate(itertools.pairwise((0, *chosen))):
            if progress is not None:
                progress(step, len(chosen))
            if before < k:
                runs = measurement.run(before, k, runs)
            samples = [_Sample(*pair) for pair in zip(runs, answers, strict=True)]
            figures += measurement.cut(graph.cuts[k], samples)
    if chosen[0] == 0:
        figures += image_codecs(wanted, images)
    if progress is not None:
        progress(len(chosen), len(chosen))
    return CodecFigures(
        model=file_sha256(path),
        images=len(inputs) - CALIBRATION_IMAGES,
        machine=machine,
        at=at,
        cuts=tuple(sorted(figures, key=lambda each: (each.k, NAMES.index(each.codec)))),
    )


class _Measurement:
    """One model on this machine; its segments are cut as they are needed."""

    def __init__(self, path: Path, graph: Graph, directory: Path, threads: int) -> None:
        self._path = path
        self._graph = graph
        self._directory = directory
        self._threads = threads

    def run(self, start: int, stop: int, runs: Sequence[Arrays]) -> list[Arrays]:
        """What ops `start`..`stop`-1 make of each run's tensors."""
        with self._segment(start, stop) as segment:
            return [tuple(segment.run(arrays)) for arrays in runs]

    def cut(self, cut: CutPoint, samples: Sequence[_Sample]) -> Iterator[CutCodec]:
        """All codecs of tensors at a cut; the last samples are for calibration."""
        specs = [
            TensorSpec(str(index), array.shape, array.dtype.name, array.shape)
            for index, array in enumerate(samples[0].tensors)
        ]
        judged, calibrating = samples[:-CALIBRATION_IMAGES], samples[-CALIBRATION_IMAGES:]
        numbers: tuple[Number, ...] = (
            ("raw", "fp16", "int8") if any(spec.dtype == FLOAT for spec in specs) else ("raw",)
        )
        has_fixed_sizes = not any(self._graph.tensors[index].dynamic for index in cut.tensors)
        with self._segment(cut.k, len(self._graph.ops)) as tail:
            for number in numbers:
                loss, scales = _Loss(0.0, 0.0), tuple[Scale, ...]()
                if number == "int8":
                    scales = _best_scales(tail, specs, calibrating)
                if number != "raw":
                    loss = _loss(tail, specs, number, scales, judged)
                for codec in _codecs_of(number, compressed=has_fixed_sizes):
                    cost = _cost(codec, scales, specs, [sample.tensors for sample in judged[:TIMED_IMAGES]])
                    yield _figures(cut.k, codec, cost, loss, scales)

    @contextmanager
    def _segment(self, start: int, stop: int) -> Iterator[Segment]:
        piece = self._directory / "segment.tflite"
        slice_model(self._path, start, stop, piece)
        segment = Segment(piece, self._threads)
        try:
            yield segment
        finally:
            segment.close()


@dataclass(frozen=True, slots=True)
class _Loss:
    """What a codec changes: a share of the answers, and of the outputs' range."""

    changed: float
    error: float


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a codec costs and saves; times are per MB before encoding."""

    ratio: float
    encode_ms_per_mb: float
    decode_ms_per_mb: float


def _codecs_of(number: Number, *, compressed: bool) -> list[CodecName]:
    """The codecs that write numbers so."""
    return [codec for codec in NAMES if codec == number or (compressed and codec.startswith(f"{number}+"))]


def _best_scales(tail: Segment, specs: Sequence[TensorSpec], samples: Sequence[_Sample]) -> tuple[Scale, ...]:
    """Those of the whole range or without its rarest, whichever change the outputs less on the calibration's images."""
    ranges = ranges_of([sample.tensors for sample in samples])
    candidates = [tuple(known.whole for known in ranges), tuple(known.clipped for known in ranges)]
    # So few images tell more by how far outputs are off than by whose top-1 changes.
    return min(candidates, key=lambda scales: _loss(tail, specs, "int8", scales, samples).error)


def _loss(
    tail: Segment,
    specs: Sequence[TensorSpec],
    number: Number,
    scales: Sequence[Scale],
    samples: Sequence[_Sample],
) -> _Loss:
    changed, errors = 0, []
    for sample in samples:
        outputs = tail.run(unpack(pack(sample.tensors, number, scales), specs, number, scales))
        changed += int(np.argmax(outputs[0]) != np.argmax(sample.answer[0]))
        errors.append(max(map(_relative_difference, outputs, sample.answer)))
    return _Loss(changed / len(samples), statistics.fmean(errors))


def _relative_difference(given: NDArray[Any], expected: NDArray[Any]) -> float:
    """The greatest difference of two outputs, as a share of the range of the expected one; 1 at the most."""
    values, wanted = given.astype(np.float64), expected.astype(np.float64)
    difference, extent = float(np.abs(values - wanted).max()), float(np.ptp(wanted))
    if not np.isfinite(difference):
        return 1.0
    return min(1.0, difference / extent) if extent > 0.0 else float(difference > 0.0)


def _cost(codec: CodecName, scales: Sequence[Scale], specs: Sequence[TensorSpec], runs: Sequence[Arrays]) -> _Cost:
    # CPU time, for codecs wait for nothing, and what else runs here is not theirs.
    unpack(pack(runs[0], codec, scales), specs, codec, scales)  # a first time takes what later ones do not
    timed = []
    for arrays in runs:
        started_s = time.thread_time()
        packed = pack(arrays, codec, scales)
        packed_s = time.thread_time()
        unpack(packed, specs, codec, scales)
        ended_s = time.thread_time()
        timed.append((_bytes(packed) / _bytes(arrays), packed_s - started_s, ended_s - packed_s))
    ratios, encoding_s, decoding_s = zip(*timed, strict=True)
    per_mb = 1e3 / (_bytes(runs[0]) / _BYTES_PER_MB)
    return _Cost(
        statistics.fmean(ratios), statistics.median(encoding_s) * per_mb, statistics.median(decoding_s) * per_mb
    )


def _figures(k: int, codec: CodecName, cost: _Cost, loss: _Loss, scales: tuple[Scale, ...]) -> CutCodec:
    return CutCodec(
        k=k,
        codec=codec,
        ratio=cost.ratio,
        encode_ms_per_mb=cost.encode_ms_per_mb,
        decode_ms_per_mb=cost.decode_ms_per_mb,
        changed=loss.changed,
        error=loss.error,
        scales=scales,
    )


def _checked(path: Path, graph: Graph, cuts: Sequence[int]) -> tuple[int, ...]:
    if not cuts:
        raise EvaluationError(f"{path}: no cut is named; `splitrail cuts` lists those there are")
    for k in cuts:
        if not 0 <= k < len(graph.ops):
            raise EvaluationError(
                f"{path}: there is no cut {k} that a codec may be at: they are 0..{len(graph.ops) - 1}"
            )
        if not graph.cuts[k].allowed:
            raise EvaluationError(f"{path}: the cut at {k} is not allowed: {graph.cuts[k].why}")
    return tuple(sorted(set(cuts)))


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)
