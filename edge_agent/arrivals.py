"""What comes from other agents on the tensor plane, and which parts of this one take it.

How it comes is `edge_agent.transport`'s; what comes from the broker, `edge_agent.hearing`'s.
"""

import logging
import time
from collections.abc import Sequence

from edge_agent.errors import TransportError
from edge_agent.origin import Origin
from edge_agent.pipeline import Pipeline
from edge_agent.plan_book import PlanBook
from edge_agent.prober import LinkProber
from edge_agent.transport import Delivery, Transport
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord
from edge_agent.wire_tensors import Tensor, TensorSpec

log = logging.getLogger("splitrail.agent")


class Arrivals:
    """The `edge_agent.deliveries.TensorReceiver` of an agent, called on the transport's threads."""

    def __init__(
        self,
        node: str,
        transport: Transport,
        *,
        origin: Origin,
        pipeline: Pipeline,
        plans: PlanBook,
        prober: LinkProber,
    ) -> None:
        """Take what `transport` brings to `node`."""
        self._node, self._transport = node, transport
        self._origin, self._pipeline, self._plans, self._prober = origin, pipeline, plans, prober

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """Tensors for one of our hops are coming in."""
        return self._pipeline.memory_for(route, specs)

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """Tensors have arrived for one of our hops."""
        self._origin.heard(src)
        self._plans.passed(message.route, time.monotonic())
        self._pipeline.arrive(message, src)

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """Another node gave a request up."""
        self._origin.heard(src)
        self._pipeline.pass_failure(message, src)

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """Another node tells how long a hop of our request took it."""
        self._origin.heard(src)
        self._origin.transferred(message.route, src, message.size_bytes, message.transfer_ns / 1e6)

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors that we sent have arrived: their request's origin learns how long it took."""
        plan = self._plans.plan_of(delivery.route)
        transfer_ms = self._prober.transfer_ms(delivery)
        if plan is None or plan.origin == self._node:
            self._origin.transferred(delivery.route, self._node, delivery.size_bytes, transfer_ms)
            return
        record = TransferRecord(delivery.route, delivery.size_bytes, round(transfer_ms * 1e6))
        try:
            self._transport.send(plan.origin, record)
        except TransportError as error:
            log.debug("a transfer's time is lost: %s", error)
