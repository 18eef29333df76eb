"""What comes in from other agents: answered, and told to the receiver. Holds no socket.

Tensors are acknowledged once their receiver has handed them on, which is what somebody waits for, if that is soon.
"""

import threading
import time
from collections import OrderedDict
from typing import Final

from edge_agent.deliveries import TensorReceiver
from edge_agent.links import ArrivalTimeline
from edge_agent.ways import Caller
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    TensorsMessage,
    TransferRecord,
    WireMessage,
)

MAX_PROBING_PEERS: Final = 64
SOON_NS: Final = 20_000_000  # a request may wait half a second longer for its tensors to have come: so much is nothing
_FADING: Final = 1 / 2  # a receiver that was held up once must not cost each of the next ten an early write


class Inbox:
    """Takes the messages of all other agents; those of one caller one after the other, of several at once."""

    def __init__(self, receiver: TensorReceiver) -> None:
        """Tell `receiver` what comes."""
        self._receiver = receiver
        self._timelines: OrderedDict[Caller, tuple[int, ArrivalTimeline]] = OrderedDict()
        self._unacknowledged: dict[Caller, tuple[Route, int]] = {}
        self._acknowledging = threading.Lock()
        self._longest_ns = 0.0
        """How long a receiver took lately, the longest first to be forgotten little by little."""

    def stays(self, caller: Caller) -> None:
        """The receiver of the tensors that came last from `caller` takes its time."""
        if self._longest_ns > SOON_NS:
            self._acknowledge(caller)

    def take(self, caller: Caller, src: str, message: WireMessage, at_ns: int) -> bool:
        """A message of the node `src` came from `caller` at `at_ns`; False if it is none that a caller sends."""
        # Of what came before, if somebody still computes with it: replies go in the order of what they are for.
        self._acknowledge(caller)
        match message:
            case TensorsMessage():
                self._unacknowledged[caller] = (message.route, at_ns)
                try:
                    self._receiver.on_tensors(message, src)
                finally:
                    self._longest_ns = max(time.monotonic_ns() - at_ns, _FADING * self._longest_ns)
                    self._acknowledge(caller)
            case FailureMessage():
                self._receiver.on_failure(message, src)
            case TransferRecord():
                self._receiver.on_transfer_record(message, src)
            case Ping(token):
                caller.reply(Pong(token))
            case ProbeChunk():
                self._follow_probe(caller, message, at_ns)
            case _:
                return False
        return True

    def _acknowledge(self, caller: Caller) -> None:
        # Whoever takes it on itself has sent it before another thread replies to what came later.
        with self._acknowledging:
            owed = self._unacknowledged.pop(caller, None)
            if owed is not None:
                route, at_ns = owed
                caller.reply(Acknowledgement(route, time.monotonic_ns() - at_ns))

    def _follow_probe(self, caller: Caller, chunk: ProbeChunk, at_ns: int) -> None:
        probe, timeline = self._timelines.pop(caller, (None, None))
        if timeline is None or probe != chunk.probe:
            timeline = ArrivalTimeline(chunk.count * len(chunk.payload))
        timeline.arrive(len(chunk.payload), at_ns)
        if chunk.index + 1 < chunk.count:
            self._timelines[caller] = (chunk.probe, timeline)
            if len(self._timelines) > MAX_PROBING_PEERS:
                self._timelines.popitem(last=False)
            return
        slope = timeline.slope()
        caller.reply(ProbeReply(chunk.probe, slope.counted_bytes, slope.counted_ns))
