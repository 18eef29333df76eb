"""A segment's second interpreter, which computes several requests in one run on the weights that both share.

Which files admit that is models.batches' business; when it pays, the caller finds out.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from models.batches import computes_row_by_row
from models.compiled import CompiledInterpreter, compiled_interpreter, ports_of
from models.errors import SegmentInputError
from models.modelfile import open_model

MAX_ACTIVATION_BYTES = 64 * 2**20
"""Of the two largest tensors that are made, for all rows: about what the interpreter takes beside the weights."""


class BatchedSegment:
    """Computes 1 to `most` requests at once; not to be used by two threads at once, but a run lets go of the GIL."""

    def __init__(self, path: Path, interpreter: CompiledInterpreter, most: int) -> None:
        self.most = most
        self._path = path
        self._interpreter = interpreter
        self._rows = 1

    def run(self, requests: Sequence[Sequence[np.ndarray]]) -> list[list[np.ndarray]]:
        """The outputs of each request, which are the caller's own, as `Segment.run` would give them.

        Raises SegmentInputError where an array does not fit or there are too many requests, SegmentRunError where the
        runtime fails.
        """
        rows = len(requests)
        if not 1 <= rows <= self.most:
            raise SegmentInputError(f"{self._path}: computes 1 to {self.most} requests at once, and was given {rows}")
        columns = [self._column(requests, place) for place in range(len(self._interpreter.inputs))]
        if rows != self._rows:
            self._rows = 0  # until the resizing has come about
            self._interpreter.take_rows(rows)
            self._rows = rows
        for index, column in enumerate(columns):
            self._interpreter.set_tensor(index, column)
        self._interpreter.invoke()
        count = len(self._interpreter.outputs)
        outputs = [self._interpreter.get_tensor(len(columns) + place) for place in range(count)]
        return [[output[row : row + 1] for output in outputs] for row in range(rows)]

    def _column(self, requests: Sequence[Sequence[np.ndarray]], place: int) -> np.ndarray:
        """One input of all requests, one after the other."""
        inputs = self._interpreter.inputs
        port = inputs[place]
        arrays = [request[place] for request in requests if len(request) == len(inputs)]
        fits = all(array.shape == port.shape and array.dtype == np.dtype(port.dtype) for array in arrays)
        if len(arrays) < len(requests) or not fits:
            raise SegmentInputError(
                f"{self._path}: the input {port.name!r} takes {port.dtype} of shape {list(port.shape)}, and was given "
                "something else"
            )
        return np.concatenate(arrays)


def batched_segment(path: Path, packed: Path, threads: int, most: int) -> BatchedSegment | None:
    """For at most `most` requests at once; None where the file does not admit two, or they would take much memory.

    SegmentRunError where the runtime refuses the file; ModelFileError and ModelFormatError as `read_graph`.
    """
    with open_model(path) as model:
        ports = ports_of(model)
        if ports is None or not computes_row_by_row(model):
            return None
        main = model.main
        made = {*main.inputs, *(index for op in main.operators for index in op.outputs)}
        sizes = sorted(prod(main.tensors[index].shape) * main.tensors[index].bits // 8 for index in made)
    most = min(most, MAX_ACTIVATION_BYTES // max(1, sum(sizes[-2:])))
    interpreter = compiled_interpreter(path, ports, packed, threads) if most > 1 else None
    return BatchedSegment(path, interpreter, most) if interpreter is not None else None
