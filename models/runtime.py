"""Runs a .tflite, whole or a segment, on whichever runtime is installed: ai-edge-litert, else tflite-runtime.

Loads by path, so that weights stay reclaimable file pages; who calls it, and when, is the caller's business.
"""

import importlib
import importlib.metadata
import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.batched import BatchedSegment, batched_segment
from models.compiled import CompiledInterpreter, Ports, compiled_interpreter, keeps_state, ports_of
from models.errors import RuntimeMissingError, SegmentInputError, SegmentRunError, UnsupportedOpError
from models.modelfile import open_model
from models.operators import is_flex
from models.runtime_memory import WORTH_IT_BYTES, InputLoan, own, runtime_memory
from models.soundness import check_sound

# Import name and distribution, the one that is preferred first.
_RUNTIMES = (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime"))

# The runtimes' own words: op_resolver_internal.h and model_builder/interpreter of TensorFlow 2.14 and LiteRT 2.3.
_MISSING_VERSION = re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'")
_MISSING_CUSTOM = re.compile(r"unresolved custom op: ([^\s.]+)")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The installed runtime, as its distribution calls itself."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a segment.

    `dtype` is numpy's name of the element type ("string" for strings); `signature` has -1 where `shape` may differ
    from one run to the next.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    signature: tuple[int, ...]


@cache
def runtime_identity() -> Runtime:
    """The runtime that segments run on. Raises RuntimeMissingError where none is installed, or none that can work."""
    for module, distribution in _RUNTIMES:
        if importlib.util.find_spec(module) is not None:
            runtime = Runtime(distribution, importlib.metadata.version(distribution))
            _refuse_wrong_numpy(runtime)
            return runtime
    raise RuntimeMissingError(
        "no runtime for .tflite files is installed: pip install 'splitrail[agent]'; on 32-bit Arm with Python 3.11, "
        "the last that tflite-runtime is built for"
    )


class Segment:
    """A loaded .tflite file; not to be run by two threads at once, but a run lets go of the GIL.

    Where `packed` names a file of `pack_weights`, its weights are that file's pages if `shares_weights` says so.
    To save copies, `lend_inputs` gives the memory that the next run reads, and `run_in_place` outputs where they lie.
    Raises UnsupportedOpError where the runtime lacks an op or its version, RuntimeMissingError where there is no
    runtime, SegmentRunError where the runtime refuses the file, ModelFileError and ModelFormatError as `read_graph`.
    """

    def __init__(self, path: Path, threads: int = 1, packed: Path | None = None) -> None:
        self._path = path
        self._threads = threads
        self._packed = packed
        self._traits = _traits(path)
        self._interpreter: Any = self._load()  # neither runtime ships types
        self.shares_weights = isinstance(self._interpreter, CompiledInterpreter)
        self._places: dict[int, np.ndarray] = {}
        self._input_details = self._interpreter.get_input_details()
        self._output_details = self._interpreter.get_output_details()
        self.inputs = tuple(_spec(detail) for detail in self._input_details)
        self.outputs = tuple(_spec(detail) for detail in self._output_details)
        self._shapes: list[tuple[int, ...]] | None = None  # those that tensors are allocated for
        self._loan = InputLoan(is_open=_lie_still(self.inputs) and not self._traits.keeps_state)
        self._kinds = tuple(np.dtype(object if spec.dtype == "string" else spec.dtype) for spec in self.inputs)
        self._is_read_in_place = tuple(_lie_still([spec]) for spec in self.outputs)
        try:
            self._allocate([spec.shape for spec in self.inputs])
        except SegmentRunError:
            # Where dimensions are open the file's sizes only stand in, and several inputs' need not fit each other.
            if not any(-1 in spec.signature for spec in self.inputs):
                raise

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs, in file order, for `arrays`, which match `inputs` in order, dtype and shape.

        The arrays returned are the caller's own. Raises SegmentInputError where an array does not fit,
        SegmentRunError where the runtime fails, for example for want of memory.
        """
        try:
            return list(own(self.run_in_place(arrays)))
        finally:
            self.release_outputs()

    def run_in_place(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As `run`, but arrays that were lent are not copied, and large outputs are read where the runtime has them.

        These are read-only and hold until `release_outputs`, or until the next run.
        """
        if self._interpreter is None:
            raise SegmentRunError(f"{self._path}: the segment is closed")
        if len(arrays) != len(self.inputs):
            raise SegmentInputError(f"{self._path}: takes {len(self.inputs)} arrays, and was given {len(arrays)}")
        for spec, kind, array in zip(self.inputs, self._kinds, arrays, strict=True):
            if array.shape != spec.shape or array.dtype != kind:
                self._check(spec, array)
        use = self._loan.use(arrays)
        is_there = use == "these"
        if use == "others":
            # These are still written as they come in, and keep their interpreter alive: this run gets another.
            self._interpreter, self._shapes, self._places = self._load(), None, {}
        if not is_there:
            self._resize([array.shape for array in arrays])
        try:
            if not is_there:
                for detail, array in zip(self._input_details, arrays, strict=True):
                    self._interpreter.set_tensor(detail["index"], np.ascontiguousarray(array).reshape(array.shape))
            self._interpreter.invoke()
            return list(map(self._output, self._output_details, self._is_read_in_place))
        except (RuntimeError, ValueError) as error:
            raise SegmentRunError(f"{self._path}: cannot be run: {_one_line(error)}") from None

    def lend_inputs(self) -> tuple[np.ndarray, ...] | None:
        """The memory that the runtime reads its inputs from, to be filled for one `run_in_place`; any thread may ask.

        None while it is lent, which is for as long as somebody holds the arrays, and while a run's outputs are in use;
        where the inputs are too small to be worth it, or move; and once another run had to take place meanwhile: that
        one loads the file anew, so that what was lent stays as it is, and is copied when its turn comes. Who writes to
        a view of an array has to hold the array too.
        """
        if self._interpreter is None:
            return None
        return self._loan.lend(lambda: tuple(self._memory(detail["index"]) for detail in self._input_details))

    def kept(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The same arrays for a run that comes after others: what was lent is copied, and is lent no more."""
        return own(arrays) if self._loan.end(arrays) else tuple(arrays)

    def release_outputs(self) -> None:
        """The outputs of the last run are needed no more."""
        self._loan.end_use()

    def batched(self, most: int) -> BatchedSegment | None:
        """What computes up to `most` requests in one run on the same weights; None where there is no such thing.

        Raises as the segment's own loading does.
        """
        if self._packed is None or not self.shares_weights:
            return None  # it would hold the weights once more
        return batched_segment(self._path, self._packed, self._threads, most)

    def warm_up(self) -> None:
        """Run once on zeros, for a runtime puts work off until its first run. Raises SegmentRunError as `run`.

        Nothing is run where that would leave a state behind, nor on strings or on sizes that do not fit each other.
        """
        if self._shapes is None or any(spec.dtype == "string" for spec in self.inputs) or self._traits.keeps_state:
            return
        try:
            self.run([np.zeros(spec.shape, spec.dtype) for spec in self.inputs])
        except SegmentRunError:
            # As above: where dimensions are open, other sizes than the file's may do.
            if not any(-1 in spec.signature for spec in self.inputs):
                raise

    def close(self) -> None:
        """Free the interpreter and its memory; what `run` returned stays valid, and so does what was lent."""
        self._interpreter, self._places = None, {}

    def _memory(self, index: int) -> np.ndarray:
        """A tensor's own memory, as a new array."""
        if not isinstance(self._interpreter, CompiledInterpreter):
            return runtime_memory(self._interpreter, index)
        place = self._places.get(index)
        if place is None:
            # It never moves there, and to ask for it takes ten times as long as a view.
            place = self._places[index] = runtime_memory(self._interpreter, index)
        return place.view()

    def _output(self, detail: Any, is_read_in_place: bool) -> np.ndarray:
        if is_read_in_place:
            view = self._memory(detail["index"])
            view.flags.writeable = False
            return view
        # get_tensor copies; of a tensor without dimensions it gives a scalar, hence the asarray.
        return np.asarray(self._interpreter.get_tensor(detail["index"]))

    def _load(self) -> Any:
        if self._packed is not None and self._traits.ports is not None:
            compiled = compiled_interpreter(self._path, self._traits.ports, self._packed, self._threads)
            if compiled is not None:
                return compiled
        return _load(self._path, self._threads)

    def _check(self, spec: TensorSpec, array: np.ndarray) -> None:
        expected = "object or bytes" if spec.dtype == "string" else spec.dtype
        right_type = array.dtype.kind in "OS" if spec.dtype == "string" else array.dtype == np.dtype(spec.dtype)
        right_shape = len(array.shape) == len(spec.shape) and all(
            given == wanted or (wanted == -1 and given > 0)
            for given, wanted in zip(array.shape, spec.signature, strict=True)
        )
        if not right_type or not right_shape:
            raise SegmentInputError(
                f"{self._path}: the input {spec.name!r} takes {expected} of shape {list(spec.signature)}, "
                f"and was given {array.dtype} of shape {list(array.shape)}"
            )

    def _resize(self, shapes: list[tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        for detail, shape in zip(self._input_details, shapes, strict=True):
            self._interpreter.resize_tensor_input(detail["index"], shape)
        self._allocate(shapes)

    def _allocate(self, shapes: list[tuple[int, ...]]) -> None:
        self._shapes = None
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise _load_error(self._path, error) from None
        self._shapes = shapes


def _lie_still(specs: Sequence[TensorSpec]) -> bool:
    """Whether these tensors keep their sizes, and are large enough for their memory to be worth finding."""
    if any(spec.dtype == "string" or -1 in spec.signature or 0 in spec.shape for spec in specs):
        return False
    return sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs) >= WORTH_IT_BYTES


def _refuse_wrong_numpy(runtime: Runtime) -> None:
    # The metadata of tflite-runtime admits numpy 2, with which 2.14 fails at the first interpreter.
    if runtime.name == "tflite-runtime" and int(np.__version__.split(".")[0]) > 1:
        raise RuntimeMissingError(
            f"{runtime.name} {runtime.version} is built for numpy 1 and does not work with numpy {np.__version__}: "
            "pip install 'numpy<2'"
        )


@dataclass(frozen=True, slots=True)
class _Traits:
    """What of a file decides how it is run."""

    keeps_state: bool
    ports: Ports | None


def _traits(path: Path) -> _Traits:
    """Say what neither runtime can hold, and what would crash it, before it is asked to load the file."""
    with open_model(path) as model:
        check_sound(model)
        for code in model.codes:
            if code.custom and is_flex(code.kind):
                raise UnsupportedOpError(
                    f"{path}: {runtime_identity().name} has no op {code.kind}, which needs TensorFlow: convert the "
                    "model with TFLITE_BUILTINS as its only supported ops",
                    code.kind,
                    code.version,
                )
        return _Traits(keeps_state(model), ports_of(model))


def _load(path: Path, threads: int) -> Any:
    runtime = runtime_identity()
    module = next(module for module, distribution in _RUNTIMES if distribution == runtime.name)
    try:
        interpreter = importlib.import_module(f"{module}.interpreter").Interpreter
        return interpreter(model_path=str(path), num_threads=threads)
    except ImportError as error:
        raise RuntimeMissingError(
            f"{runtime.name} {runtime.version} cannot be imported here ({_one_line(error)}): reinstall it"
        ) from None
    except (RuntimeError, ValueError) as error:
        raise _load_error(path, error) from None


def _load_error(path: Path, error: Exception) -> UnsupportedOpError | SegmentRunError:
    """What the runtime's refusal of a file means."""
    runtime = runtime_identity()
    words = f"{runtime.name} {runtime.version}"
    version = _MISSING_VERSION.search(str(error))
    if version:
        kind, number = version[1], int(version[2])
        way_out = (
            "convert the model without per-channel quantisation of dense layers"
            if kind == "FULLY_CONNECTED"
            else "convert the model with an older TensorFlow"
        )
        newer = (
            "install a newer one"
            if runtime.name == "ai-edge-litert"
            else "install ai-edge-litert >= 1.4 in its place on a 64-bit system"
        )
        return UnsupportedOpError(
            f"{path}: {words} has no {kind} version {number}: {newer}, or {way_out}", kind, number
        )
    custom = _MISSING_CUSTOM.search(str(error))
    if custom:
        return UnsupportedOpError(
            f"{path}: {words} has no op {custom[1]}: convert the model without custom ops", custom[1], 1
        )
    return SegmentRunError(f"{path}: {words} cannot load it: {_one_line(error)}")


def _spec(detail: Any) -> TensorSpec:
    shape = tuple(int(dimension) for dimension in detail["shape"])
    signature = tuple(int(dimension) for dimension in detail["shape_signature"])
    kind = np.dtype(detail["dtype"])
    return TensorSpec(
        name=str(detail["name"]),
        shape=shape,
        dtype="string" if kind.kind in "OSU" else kind.name,
        signature=signature if len(signature) == len(shape) else shape,
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
