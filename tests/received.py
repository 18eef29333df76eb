"""A receiver of the tensor plane that keeps what it is told, for tests to wait on."""

import queue

from edge_agent.transport import Delivery, ProbeResult
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord
from edge_agent.wire_tensors import TensorSpec


class Received:
    """One queue for each kind of event; tests take from them with a time limit."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.tensors: queue.Queue[tuple[TensorsMessage, str]] = queue.Queue()
        self.failures: queue.Queue[tuple[FailureMessage, str]] = queue.Queue()
        self.records: queue.Queue[tuple[TransferRecord, str]] = queue.Queue()
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.round_trips: queue.Queue[tuple[str, float]] = queue.Queue()
        self.probes: queue.Queue[ProbeResult] = queue.Queue()

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> None:
        """New memory each time."""

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """Tensors have arrived."""
        self.tensors.put((message, src))

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """A request was given up."""
        self.failures.put((message, src))

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """A hop was timed."""
        self.records.put((message, src))

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors were acknowledged."""
        self.deliveries.put(delivery)

    def on_round_trip(self, dst: str, rtt_ms: float) -> None:
        """A ping came back."""
        self.round_trips.put((dst, rtt_ms))

    def on_probe(self, result: ProbeResult) -> None:
        """A probe came back."""
        self.probes.put(result)
