"""What the tensor transport tells of: deliveries and probes, and the two kinds of listeners that it tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.links import Slope
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord
from edge_agent.wire_tensors import Tensor, TensorSpec


@dataclass(frozen=True, slots=True)
class Delivery:
    """Tensors that have arrived at `dst`, as its acknowledgement tells."""

    dst: str
    route: Route
    size_bytes: int
    elapsed_ms: float
    """From the send to the acknowledgement: the transfer and half a round trip."""
    gap_ms: float | None
    """Since the reply before this one, where that came after the send (they shared the line), else None."""
    pace_mbps: float | None = None
    """The slowest pace, in Mbit/s, to which the line was held meanwhile; None where it was not."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A bandwidth probe that came back: what its receiver saw of the line."""

    dst: str
    size_bytes: int
    elapsed_ms: float
    slope: Slope


class TensorReceiver(Protocol):
    """Who takes what other agents send; called on the transport's threads, so every method must return at once.

    Only `on_tensors` may take its time, once `Transport.may_stay` said so.
    """

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """Where the tensors of `route` that are coming in shall be: an array for each, which is written from now on.

        Each is contiguous, writable, and of the spec's type and shape. None: new ones are made. What was asked for may
        never become whole: then `on_tensors` is not called for it. Small tensors, which come whole with their header,
        are not asked for: they lie in memory of their own.
        """

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """Tensors have arrived from `src`; they are in the memory that was given for them."""

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """`src` gave a request up."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """`src` tells how long its hop took."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors that this node sent have arrived."""


class LinkObserver(Protocol):
    """Who learns from the times of a link; called on the transport's threads, so every method must return at once."""

    def on_round_trip(self, dst: str, rtt_ms: float) -> None:
        """A ping on an idle line has come back."""

    def on_probe(self, result: ProbeResult) -> None:
        """A bandwidth probe has come back."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors have arrived; their size and time tell of the link."""
