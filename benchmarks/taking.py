"""A receiver of tensors that does nothing with them, for benchmarks of what lies before it."""

from collections.abc import Callable

from edge_agent.deliveries import Delivery
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord
from edge_agent.wire_tensors import TensorSpec


class Taking:
    """Takes tensors into new memory each time, and hands deliveries to `delivered`, on the transport's thread."""

    def __init__(self, delivered: Callable[[Delivery], None] = lambda _: None) -> None:
        self._delivered = delivered

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> None:
        """New memory."""

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """They were acknowledged already."""

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """Not sent here."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """Not sent here."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors have arrived at the far end."""
        self._delivered(delivery)
