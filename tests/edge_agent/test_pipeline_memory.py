"""Tensors on their way through a node: received into the segment's memory, computed there, sent from there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any, cast

import numpy as np
import pytest
from joined_nodes import FakeSegment
from plans import plan_of

from edge_agent.executor import Executor, Outcome
from edge_agent.packing import Packing
from edge_agent.pipeline import Pipeline, Requests
from edge_agent.routes import plan_digest
from edge_agent.stream import MessageReader
from edge_agent.transport import Sendable
from edge_agent.wire import Route, TensorsMessage, encode
from edge_agent.wire_tensors import TensorSpec
from models.image_form import ImageForm
from models.preprocessing import Preprocessing
from models.runtime import Segment
from models.runtime_memory import is_runtime_memory
from testbed.carrier_models import write_carrier_model

SHAPE = (1, 80, 80, 3)
PLAN = plan_of(("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10), way_back=("pc", "pi"))
SPECS = (TensorSpec(SHAPE, np.dtype(np.float32), 4 * 80 * 80 * 3),)


def route_to(hop: int, request: bytes = bytes(16)) -> Route:
    return Route(PLAN.deployment, PLAN.epoch, request, hop, plan_digest(PLAN))


def filled(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


class Copies:
    """A runtime's interpreter, counting the bytes that are copied in and out of it."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.copied_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._interpreter, name)

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        self.copied_bytes += value.nbytes
        self._interpreter.set_tensor(index, value)

    def get_tensor(self, index: int) -> np.ndarray:
        value: np.ndarray = self._interpreter.get_tensor(index)
        self.copied_bytes += value.nbytes
        return value


class Books:
    """The origin's side: counts what had been copied when tensors left, and keeps nothing."""

    def __init__(self, node: "Stage") -> None:
        self._node = node
        self.copied_bytes: list[int] = []

    def handing_on(self, message: TensorsMessage) -> None:
        """Tensors are about to leave."""
        self.copied_bytes.append(self._node.copies.copied_bytes)

    def handed_on(self, where: Route) -> None:
        """They have left."""


class Stage:
    """A node of the plan, the middle one, whose segment negates; what it sends is looked at as it leaves."""

    def __init__(self, path: Path, name: str = "laptop") -> None:
        self.segment = Segment(path)
        self.copies = self.segment._interpreter = Copies(self.segment._interpreter)
        self.executor = Executor()
        self.sent: Queue[tuple[Route, float, bool]] = Queue()
        self.may_stay = True
        self.books = Books(self)
        self.pipeline = Pipeline(
            name,
            self.executor,
            cast(Requests, self.books),
            plan_of=lambda where: PLAN if where.plan == plan_digest(PLAN) else None,
            segment_of=lambda *_: self.segment,
            form_of=lambda _: None,
            send=self.send,
            may_stay=lambda: self.may_stay,
        )

    def send(self, _: str, message: Sendable) -> None:
        """Note the route, the value, and whether the bytes that would be sent are the runtime's own."""
        assert isinstance(message, TensorsMessage)
        [tensor] = message.tensors
        frames = encode(message)
        uncopied = is_runtime_memory(tensor) and np.shares_memory(np.frombuffer(frames[1], np.uint8), tensor)
        self.sent.put((message.route, float(tensor.min()), uncopied))

    def receive(self, value: float, request: bytes = bytes(16)) -> Callable[[], None]:
        """Begin to receive a message for this node; what ends it, and lets it compute."""
        arrays = self.pipeline.memory_for(route_to(1, request), SPECS)
        tensors = (filled(0.0),) if arrays is None else tuple(arrays)
        tensors[0][...] = value
        return lambda: self.pipeline.arrive(TensorsMessage(route_to(1, request), tensors), "pi")


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Stage]:
    """One that is closed afterwards."""
    path = tmp_path / "carrier.tflite"
    write_carrier_model(path, SHAPE, ops=1)
    laptop = Stage(path)
    yield laptop
    laptop.executor.close()


def test_a_hop_copies_nothing_but_what_the_kernel_does(laptop: Stage) -> None:
    """From the socket to the runtime's input, from its output to the socket: no byte moves in between."""
    stream = b"".join(map(bytes, encode(TensorsMessage(route_to(1), (filled(3.0),)))))
    read = 0
    into: list[int] = []

    def fill(room: memoryview) -> int:
        nonlocal read
        count = min(len(room), len(stream) - read)
        room[:count] = stream[read : read + count]
        read += count
        into.append(np.frombuffer(room, np.uint8).ctypes.data)
        return count

    reader = MessageReader(laptop.pipeline, lambda _: None, buffer_bytes=18_000)
    message = reader.take(fill)
    assert isinstance(message, TensorsMessage)
    assert is_runtime_memory(message.tensors[0])
    begin = message.tensors[0].ctypes.data
    assert begin < into[-1] < begin + message.tensors[0].nbytes, "the kernel would have written it there"
    laptop.pipeline.arrive(message, "pi")
    assert laptop.sent.get(timeout=10) == (route_to(2), -3.0, True)
    assert laptop.copies.copied_bytes == 0


def test_the_origin_copies_its_input_into_the_runtime_and_nothing_else(tmp_path: Path) -> None:
    """The input stays what it is, should the origin have to finish alone; what is sent lies where it was computed."""
    path = tmp_path / "carrier.tflite"
    write_carrier_model(path, SHAPE, ops=1)
    pi, values = Stage(path, "pi"), filled(2.0)
    pi.pipeline.begin(PLAN, TensorsMessage(route_to(0), (values,)), may_compute=True)
    assert pi.sent.get(timeout=10) == (route_to(1), -2.0, True)
    assert pi.books.copied_bytes == [values.nbytes]
    assert values.min() == 2.0
    pi.executor.close()


def test_an_image_that_travelled_as_pixels_is_made_in_the_runtime_s_memory(laptop: Stage) -> None:
    """Where its first op runs; memory that is lent to another request is left to that."""
    form = ImageForm(SHAPE, "float32", None, Preprocessing((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)))
    packing = Packing("uint8", (), "raw", (), form)
    pixels = np.full(SHAPE[1:], 9, np.uint8)
    done: Queue[float] = Queue()

    def computed(outcome: Outcome) -> None:
        done.put(float(outcome.outputs[0].min()))

    laptop.executor.submit(laptop.segment, (pixels,), 0, computed, packing=packing)
    assert done.get(timeout=10) == -4.0
    assert laptop.copies.copied_bytes == 0
    lent = laptop.segment.lend_inputs()
    assert lent is not None
    lent[0][...] = 7.0
    laptop.executor.submit(laptop.segment, (pixels,), 0, computed, packing=packing)
    assert done.get(timeout=10) == -4.0
    assert lent[0].min() == lent[0].max() == 7.0


def test_requests_that_overlap_keep_their_own_tensors(laptop: Stage) -> None:
    """The memory is lent to the first; the second, which comes meanwhile, gets its own, and both their results."""
    first, second = laptop.receive(1.0, b"a" * 16), laptop.receive(2.0, b"b" * 16)
    second()
    first()
    told = {route.request: value for route, value, _ in (laptop.sent.get(timeout=10) for _ in range(2))}
    assert told == {b"a" * 16: -1.0, b"b" * 16: -2.0}


def test_what_waits_for_its_run_leaves_the_memory_to_others(laptop: Stage) -> None:
    """Where the thread may not stay, the inputs are copied: the next tensors may come into the segment meanwhile."""
    laptop.may_stay = False
    held = Blocking()
    laptop.executor.submit(cast(Segment, held), (), 0, lambda _: None)
    held.wait_until_it_runs()
    arrays = laptop.segment.lend_inputs()
    assert arrays is not None
    arrays[0][...] = 5.0
    laptop.pipeline.arrive(TensorsMessage(route_to(1), arrays), "pi")
    again = laptop.segment.lend_inputs()
    assert again is not None
    again[0][...] = 6.0
    held.go.put(None)
    assert laptop.sent.get(timeout=10)[:2] == (route_to(2), -5.0)


class Blocking(FakeSegment):
    """Runs until it is let go."""

    def __init__(self) -> None:
        self.started: Queue[None] = Queue()
        self.go: Queue[None] = Queue()

    def wait_until_it_runs(self) -> None:
        self.started.get(timeout=10)

    def run_in_place(self, arrays: Any) -> list[Any]:
        self.started.put(None)
        self.go.get(timeout=10)
        return []


@pytest.mark.parametrize(
    ("hop", "specs"),
    [
        (0, SPECS),
        (2, SPECS),
        (3, SPECS),
        (9, SPECS),
        (1, ()),
        (1, (*SPECS, *SPECS)),
        (1, (TensorSpec((1, 80, 3, 80), np.dtype(np.float32), SPECS[0].size_bytes),)),
        (1, (TensorSpec(SHAPE, np.dtype(np.int32), SPECS[0].size_bytes),)),
    ],
)
def test_only_what_the_segment_here_takes_comes_into_its_memory(
    laptop: Stage, hop: int, specs: tuple[TensorSpec, ...]
) -> None:
    """Not what is for another node, nor what has other types or shapes, which the run will refuse."""
    assert laptop.pipeline.memory_for(route_to(hop), specs) is None


def test_a_plan_that_is_not_known_has_no_memory(laptop: Stage) -> None:
    """It will be answered with a failure once it is here."""
    assert laptop.pipeline.memory_for(Route("photos", 7, bytes(16), 1, 0), SPECS) is None
