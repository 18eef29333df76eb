"""Takes a request's tensors through this node: run a segment, hand on, deliver at the origin, or say why not."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from broker.messages import Plan
from edge_agent.errors import ExecutorBusyError, TransportError, WireError
from edge_agent.executor import Executor, Outcome
from edge_agent.packing import Ends, computing_ends, stage_packing
from edge_agent.routes import Hop, named_nodes, route
from edge_agent.transport import Sendable
from edge_agent.wire import FailureMessage, Route, StageRecord, TensorsMessage
from edge_agent.wire_tensors import Tensor
from edge_agent.wire_tensors import TensorSpec as WireSpec
from models.errors import ModelError
from models.image_form import ImageForm
from models.runtime import Segment
from models.runtime_memory import WORTH_IT_BYTES, own

log = logging.getLogger("splitrail.agent")


class Requests(Protocol):
    """The origin's side: where results and failures of its requests end, and who hears how they get on."""

    def handing_on(self, message: TensorsMessage) -> None:
        """A request's tensors are about to leave the origin, for the hop that the message names.

        They may be the runtime's memory, which is theirs until `handed_on` returns.
        """

    def handed_on(self, where: Route) -> None:
        """They have left, so there is time to copy what is to be kept of them."""

    def arrived(self, where: Route) -> None:
        """A request's tensors have come back to the origin, which may have more to do with them."""

    def delivered(self, message: TensorsMessage) -> None:
        """A request's result has arrived."""

    def failed(self, where: Route, reason: str) -> None:
        """A request cannot go on."""


class Pipeline:
    """The node's part in every plan. Its methods are called from any thread, and compute only where that may be.

    `may_stay()` says whether the thread that brought tensors may compute; what `begin` begins, it is told.
    `plan_of(route)`, `segment_of(model, start, stop, ends)` and `form_of(model)`, how a model takes an image, give None
    for what is not here; `send(node, message)` raises as Transport.send does.
    """

    def __init__(
        self,
        node: str,
        executor: Executor,
        requests: Requests,
        *,
        plan_of: Callable[[Route], Plan | None],
        segment_of: Callable[[str, int, int, Ends], Segment | None],
        form_of: Callable[[str], ImageForm | None],
        send: Callable[[str, Sendable], None],
        may_stay: Callable[[], bool],
    ) -> None:
        self._node = node
        self._executor = executor
        self._requests = requests
        self._plan_of = plan_of
        self._segment_of = segment_of
        self._form_of = form_of
        self._send = send
        self._may_stay = may_stay

    def memory_for(self, where: Route, specs: Sequence[WireSpec]) -> Sequence[Tensor] | None:
        """Where tensors that come in for a hop here shall be: in the memory of its segment, if that is idle."""
        if sum(spec.size_bytes for spec in specs) < WORTH_IT_BYTES or not self._executor.is_idle:
            return None
        plan = self._plan_of(where)
        hops = route(plan) if plan is not None else ()
        if plan is None or not 0 < where.hop < len(hops) or hops[where.hop].node != self._node:
            return None
        hop = hops[where.hop]
        if hop.relays:
            return None
        segment = self._segment_of(plan.model.sha256, hop.start, hop.stop, computing_ends(plan)[where.hop])
        if segment is None or [(spec.shape, spec.dtype) for spec in specs] != [
            (spec.shape, np.dtype(spec.dtype)) for spec in segment.inputs
        ]:
            return None
        return segment.lend_inputs()

    def arrive(self, message: TensorsMessage, src: str) -> None:
        """Tensors have come from the agent `src`."""
        where = message.route
        plan = self._plan_of(where)
        if plan is None:
            reason = f"{self._node} does not know epoch {where.epoch} of {where.deployment}"
            self._tell(src, FailureMessage(where, reason))
            return
        hops = route(plan)
        if not 0 < where.hop < len(hops) or hops[where.hop - 1].node != src:
            log.warning("%s sent tensors that plan %d of %s does not have it send", src, plan.epoch, plan.deployment)
            return
        if hops[where.hop].node != self._node:
            self._fail(plan, where, f"hop {where.hop} of this plan is not for {self._node}")
            return
        if plan.origin == self._node:
            self._requests.arrived(where)
        self._carry(plan, message, self._may_stay)

    def begin(self, plan: Plan, message: TensorsMessage, *, may_compute: bool) -> None:
        """Begin a request of this origin at hop 0, on the caller's thread if it may compute."""
        self._carry(plan, message, _here if may_compute else self._may_stay)

    def _carry(self, plan: Plan, message: TensorsMessage, here: Callable[[], bool]) -> None:
        hop = route(plan)[message.route.hop]
        if hop.relays:
            self._deliver_or_hand_on(plan, message)
        else:
            self._compute(plan, hop, message, here)

    def pass_failure(self, message: FailureMessage, src: str) -> None:
        """A failure that the agent `src` told: the origin's to know; without the plan, perhaps of a request of ours."""
        plan = self._plan_of(message.route)
        if plan is None:
            self._requests.failed(message.route, message.reason)
        elif src in named_nodes(plan):
            self._fail(plan, message.route, message.reason)

    def _compute(self, plan: Plan, hop: Hop, message: TensorsMessage, here: Callable[[], bool]) -> None:
        ends = computing_ends(plan)[message.route.hop]
        segment = self._segment_of(plan.model.sha256, hop.start, hop.stop, ends)
        if segment is None:
            self._fail(plan, message.route, f"{self._node} has not loaded ops {hop.start}..{hop.stop - 1}")
            return
        try:
            self._executor.submit(
                segment,
                message.tensors,
                time.monotonic_ns(),
                lambda outcome: self._computed(plan, message, outcome),
                packing=stage_packing(plan, message.route.hop, self._form_of),
                here=here,
            )
        except ExecutorBusyError as error:
            self._fail(plan, message.route, f"{self._node} is busy: {error}")
        except ModelError as error:
            self._fail(plan, message.route, f"{self._node}: {error}")

    def _computed(self, plan: Plan, message: TensorsMessage, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._fail(plan, message.route, f"{self._node}: {outcome.error}")
            return
        record = StageRecord(
            message.route.hop,
            outcome.compute_ns,
            outcome.wait_ns,
            outcome.energy,
            outcome.codec_ns,
            outcome.batch,
        )
        computed = TensorsMessage(message.route, tuple(outcome.outputs), (*message.stages, record))
        self._deliver_or_hand_on(plan, computed)

    def _deliver_or_hand_on(self, plan: Plan, message: TensorsMessage) -> None:
        """What this hop had to do is done: the last hop's tensors are the result, others go to the next.

        They may be the runtime's memory until this returns.
        """
        here = message.route
        hops = route(plan)
        if here.hop == len(hops) - 1:
            self._requests.delivered(TensorsMessage(here, own(message.tensors), message.stages))
            return
        there = Route(here.deployment, here.epoch, here.request, here.hop + 1, here.plan)
        to = hops[there.hop].node
        if to == self._node:
            self._carry(plan, TensorsMessage(there, own(message.tensors), message.stages), self._may_stay)
            return
        onward = TensorsMessage(there, message.tensors, message.stages)
        is_ours = plan.origin == self._node
        if is_ours:
            self._requests.handing_on(onward)
        try:
            self._send(to, onward)
        except (TransportError, WireError) as error:
            self._fail(plan, there, f"{self._node}: {error}")
        if is_ours:
            self._requests.handed_on(there)

    def _fail(self, plan: Plan, where: Route, reason: str) -> None:
        if plan.origin == self._node:
            self._requests.failed(where, reason)
        else:
            self._tell(plan.origin, FailureMessage(where, reason))

    def _tell(self, node: str, failure: FailureMessage) -> None:
        try:
            self._send(node, failure)
        except TransportError as error:
            log.warning("a failure cannot be told to its origin, which will time out: %s (%s)", failure.reason, error)


def _here() -> bool:
    """The caller's thread has nothing else to do."""
    return True
