"""Three processes in a ring that hold a model's segments, and do nothing but receive, run and send: what a split costs.

The segments, their weights and their memory are as an agent has them; there is no protocol, and nothing is reported.
"""

import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from ring import STOP, in_a_ring, joined

from edge_agent.wire_tensors import bytes_of
from models.compiled import pack_weights
from models.graph import read_graph
from models.runtime import Segment
from models.slicer import slice_model

RUN = 1

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """What one process holds."""

    segment: Path
    packed: Path | None
    threads: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the first process holds: the model's inputs too, and how many bytes come back."""

    part: Part
    inputs: tuple[Array, ...]
    result_bytes: int


class BareChain:
    """A model in three processes."""

    def __init__(self, asked: Connection) -> None:
        self._asked = asked

    def run_ms(self) -> float:
        """How long a request took, from its inputs to its result back at the first process."""
        self._asked.send(RUN)
        taken_ms: float = self._asked.recv()
        return taken_ms


@contextmanager
def bare_chain(path: Path, cuts: tuple[int, int], inputs: Sequence[Array], threads: int) -> Iterator[BareChain]:
    """The model at `path`, cut before these two ops, until the end of `with`."""
    graph = read_graph(path)
    ops = len(graph.ops)
    with tempfile.TemporaryDirectory(prefix="splitrail-bare-") as kept:
        directory = Path(kept)
        whole, weights = directory / "whole.tflite", directory / "weights"
        slice_model(path, 0, ops, whole)
        packed = weights if pack_weights(whole, weights) else None
        parts = []
        for start, stop in pairwise((0, *cuts, ops)):
            segment = directory / f"{start}-{stop}.tflite"
            slice_model(path, start, stop, segment)
            parts.append(Part(segment, packed, threads))
        first, *others = parts
        beginning = Beginning(first, tuple(inputs), graph.cuts[-1].size_bytes)
        with in_a_ring([(begin, beginning), *((go_on, other) for other in others)]) as asked:
            yield BareChain(asked)
            asked.send(STOP)


def begin(connection: Connection, beginning: Beginning) -> None:
    """The first process: runs its segment whenever it is asked, and answers with the time until the result."""
    segment = loaded(beginning.part)
    result = memoryview(bytearray(beginning.result_bytes))
    inward, outward = joined(connection)
    with inward, outward:
        while connection.recv() != STOP:
            started = time.perf_counter()
            run(segment, beginning.inputs, outward)
            fill(inward, result)
            connection.send((time.perf_counter() - started) * 1e3)


def go_on(connection: Connection, part: Part) -> None:
    """The other two: run what comes, where it can be received, and send what it gives."""
    segment = loaded(part)
    spare = tuple(np.zeros(spec.shape, spec.dtype) for spec in segment.inputs)
    inward, outward = joined(connection)
    with inward, outward:
        while True:
            arrays = segment.lend_inputs() or spare
            if not all(fill(inward, bytes_of(array)) for array in arrays):
                return
            run(segment, arrays, outward)
            del arrays  # or they would stay lent


def loaded(part: Part) -> Segment:
    """A process's segment, ready to run."""
    segment = Segment(part.segment, part.threads, part.packed)
    segment.warm_up()
    return segment


def run(segment: Segment, arrays: Sequence[Array], outward: socket.socket) -> None:
    """Run the segment and send its outputs from where they lie."""
    for output in segment.run_in_place(arrays):
        outward.sendall(bytes_of(np.ascontiguousarray(output)))
    segment.release_outputs()


def fill(inward: socket.socket, room: memoryview) -> bool:
    """Read as many bytes as there is room for; False at the end."""
    filled = 0
    while filled < len(room):
        count = inward.recv_into(room[filled:])
        if count == 0:
            return False
        filled += count
    return True
