"""An interpreter over LiteRT's compiled models, whose packed weights are file pages that all segments of a model share.

It has those methods of the runtimes' `Interpreter` that models.runtime calls. Which files suit it is told here too.
"""

import os
import struct
import weakref
from collections.abc import Callable, Sequence
from ctypes import Array, c_int, c_size_t, c_void_p, create_string_buffer
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.litert_calls import HARDWARE_CPU, LiteRtCalls, litert_calls
from models.modelfile import ModelFile, open_model
from models.operators import RESOURCE_KINDS
from models.schema import SENDABLE_TYPES

_ALIGNMENT = 64  # LITERT_HOST_MEMORY_BUFFER_ALIGNMENT, litert/c/litert_tensor_buffer.h
_READ_BEYOND = 64  # XNNPACK may read 16 bytes past the end (XNN_EXTRA_BYTES, xnnpack.h); this is a cache line
_TYPE_BYTES = 512  # a LiteRtRankedTensorType has 72; it is only handed from one function to another

_FIRST_DIMENSION = 8  # in a LiteRtRankedTensorType, after the element's type and the rank

Made = list[tuple[str, c_void_p]]
Memory = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its shape is fixed and its elements are numpy's."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class _Room:
    """The memory of all tensors for so many rows, and LiteRT's buffers on it."""

    memory: Memory
    inputs: "Array[c_void_p]"
    outputs: "Array[c_void_p]"


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and outputs of a file that can be compiled."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def compiled_interpreter(path: Path, ports: Ports, packed: Path, threads: int) -> "CompiledInterpreter | None":
    """An interpreter of the .tflite at `path` on the weights in `packed`.

    None where there is no LiteRT that is known, or `packed` is not there. Weights that `packed` lacks are packed anew,
    in memory. SegmentRunError where LiteRT refuses the file.
    """
    calls = litert_calls()
    if calls is None:
        return None
    try:
        descriptor = os.open(packed, os.O_RDONLY)
    except OSError:
        return None
    # Read-only: else LiteRT would mark a file that lacks something, and write it anew under those who read it.
    # LiteRT closes it with the model (2.3.0, tried), so that closing it here could close another file by then.
    return CompiledInterpreter(
        calls, path, ports, f"num_threads = {threads}\nweight_cache_file_descriptor = {descriptor}\n"
    )


def pack_weights(path: Path, out: Path) -> bool:
    """Pack the weights of the .tflite at `path` into a new file `out`; False where they cannot be shared so.

    Both paths must be free of quotes and backslashes, as those that `ModelCache` makes are where its directory is.
    SegmentRunError as `compiled_interpreter`; ModelFileError and ModelFormatError as `read_graph`.
    """
    calls, name = litert_calls(), os.fspath(out)
    with open_model(path) as model:
        ports = ports_of(model)
    if calls is None or ports is None or not name.isprintable() or '"' in name or "\\" in name:
        return False
    packing = CompiledInterpreter(calls, path, ports, f'num_threads = 1\nweight_cache_file_path = "{name}"\n')
    packing.invoke()  # LiteRT packs at the first run
    return out.is_file()


class CompiledInterpreter:
    """A loaded .tflite of fixed shapes; not to be used by two threads at once. It frees its memory when it is let go.

    Tensors are numbered inputs first, then outputs. Loading and running let go of Python's lock.
    After `take_rows` their first dimension, which has to be 1 in the file, is so long.
    """

    def __init__(self, calls: LiteRtCalls, path: Path, ports: Ports, cpu_options: str) -> None:
        self._calls = calls
        self._path = path
        self.inputs, self.outputs = ports.inputs, ports.outputs
        self._ports = (*ports.inputs, *ports.outputs)
        self._input_count = len(ports.inputs)
        self._made: Made = []
        self._held: list[Memory] = []
        made = self._made
        weakref.finalize(self, _destroy, calls, made, self._held)
        model = calls.make(path, "LiteRtCreateModelFromFile", calls.environment, os.fsencode(path))
        made.append(("LiteRtDestroyModel", model))
        options = calls.make(path, "LiteRtCreateOptions")
        made.append(("LiteRtDestroyOptions", options))
        calls.do(path, "LiteRtSetOptionsHardwareAccelerators", options, HARDWARE_CPU)
        calls.add_cpu_options(path, options, cpu_options)
        self._compiled = calls.make(path, "LiteRtCreateCompiledModel", calls.environment, model, options)
        made.append(("LiteRtDestroyCompiledModel", self._compiled))
        self._graph = calls.make(path, "LiteRtGetModelSubgraph", model, 0)
        self._by_rows: dict[int, _Room] = {}
        self._use_room(1)

    def get_input_details(self) -> list[dict[str, object]]:
        """The inputs, as the runtimes describe them."""
        return [self._detail(index) for index in range(self._input_count)]

    def get_output_details(self) -> list[dict[str, object]]:
        """The outputs, as the runtimes describe them."""
        return [self._detail(index) for index in range(self._input_count, len(self._ports))]

    def allocate_tensors(self) -> None:
        """Done as the file is loaded: its shapes are fixed."""

    def set_tensor(self, index: int, array: np.ndarray) -> None:
        """Copy an array of the tensor's shape and type into its memory."""
        np.copyto(self._memory[index], array, casting="no")

    def get_tensor(self, index: int) -> np.ndarray:
        """A copy of a tensor."""
        return self._memory[index].copy()

    def tensor(self, index: int) -> Callable[[], np.ndarray]:
        """What gives a tensor's own memory, which never moves."""
        return lambda: self._memory[index]

    def take_rows(self, rows: int) -> None:
        """From now on, compute so many rows at once; all arrays are others. SegmentRunError where LiteRT refuses."""
        for position, port in enumerate(self._ports[: self._input_count]):
            shape = (rows, *port.shape[1:])
            self._calls.do(
                self._path,
                "LiteRtCompiledModelResizeInputTensorNonStrict",
                self._compiled,
                0,
                position,
                (c_int * len(shape))(*shape),
                len(shape),
            )
        self._use_room(rows)

    def invoke(self) -> None:
        """Compute the outputs from the inputs. SegmentRunError where LiteRT fails."""
        self._calls.do(
            self._path,
            "LiteRtRunCompiledModel",
            self._compiled,
            0,
            len(self._inputs),
            self._inputs,
            len(self._outputs),
            self._outputs,
        )

    def _use_room(self, rows: int) -> None:
        if rows not in self._by_rows:
            ports = self._ports
            if rows > 1:
                ports = tuple(Port(port.name, (rows, *port.shape[1:]), port.dtype) for port in self._ports)
            memory = tuple(map(_aligned, ports))
            self._held.append(memory)
            inputs = self._buffers("LiteRtGetSubgraphInput", memory[: self._input_count])
            outputs = self._buffers("LiteRtGetSubgraphOutput", memory[self._input_count :])
            self._by_rows[rows] = _Room(memory, inputs, outputs)
        room = self._by_rows[rows]
        self._memory, self._inputs, self._outputs = room.memory, room.inputs, room.outputs

    def _buffers(self, getter: str, memory: Sequence[np.ndarray]) -> "Array[c_void_p]":
        buffers = []
        for position, array in enumerate(memory):
            tensor = self._calls.make(self._path, getter, self._graph, position)
            kind = create_string_buffer(_TYPE_BYTES)
            self._calls.do(self._path, "LiteRtGetRankedTensorType", tensor, kind)
            if array.ndim:
                struct.pack_into("<i", kind, _FIRST_DIMENSION, array.shape[0])
            buffer = self._calls.make(
                self._path,
                "LiteRtCreateTensorBufferFromHostMemory",
                kind,
                array.ctypes.data,
                c_size_t(array.nbytes),
                None,
            )
            self._made.append(("LiteRtDestroyTensorBuffer", buffer))
            buffers.append(buffer)
        return (c_void_p * len(buffers))(*buffers)

    def _detail(self, index: int) -> dict[str, object]:
        port = self._ports[index]
        shape = np.array(port.shape, np.int32)
        return {
            "name": port.name,
            "index": index,
            "shape": shape,
            "shape_signature": shape,
            "dtype": np.dtype(port.dtype).type,
        }


def _destroy(calls: LiteRtCalls, made: Made, held: Sequence[Memory]) -> None:  # noqa: ARG001  # which outlives its buffers
    for name, thing in reversed(made):
        calls.destroy(name, thing)


def _aligned(port: Port) -> np.ndarray:
    dtype = np.dtype(port.dtype)
    size = int(np.prod(port.shape, dtype=np.int64)) * dtype.itemsize
    raw = np.zeros(size + _ALIGNMENT + _READ_BEYOND, np.uint8)
    first = -raw.ctypes.data % _ALIGNMENT
    return raw[first : first + size].view(dtype).reshape(port.shape)


def ports_of(model: ModelFile) -> Ports | None:
    """The inputs and outputs of an open file, or None where only the runtime's own interpreter serves.

    That is so of sizes that are open, of elements that numpy lacks, and of a file that keeps a state, holds several
    subgraphs or hands a tensor through.
    """
    main = model.main
    ends = (*main.inputs, *main.outputs)
    if model.subgraph_count > 1 or len(set(ends)) < len(ends) or not main.outputs or keeps_state(model):
        return None
    tensors = [main.tensors[index] for index in ends]
    if any(tensor.type_name not in SENDABLE_TYPES or min(tensor.shape, default=1) < 1 for tensor in tensors):
        return None
    if any(-1 in tensor.signature for tensor in main.tensors):
        return None
    ports = tuple(Port(tensor.name, tensor.shape, tensor.type_name) for tensor in tensors)
    return Ports(ports[: len(main.inputs)], ports[len(main.inputs) :])


def keeps_state(model: ModelFile) -> bool:
    """Whether a run may change what the next one gives."""
    return any(code.kind in RESOURCE_KINDS for code in model.codes) or any(
        tensor.is_variable for tensor in model.main.tensors
    )
