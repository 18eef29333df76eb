"""What comes in from other agents: answered at once, and told to the receiver. Holds no socket."""

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
    TensorsMessage,
    TransferRecord,
    WireMessage,
)

MAX_PROBING_PEERS: Final = 64


class Inbox:
    """Takes the messages of all other agents; those of one caller one after the other, of several at once."""

    def __init__(self, receiver: TensorReceiver) -> None:
        """Tell `receiver` what comes."""
        self._receiver = receiver
        self._timelines: OrderedDict[Caller, tuple[int, ArrivalTimeline]] = OrderedDict()

    def take(self, caller: Caller, src: str, message: WireMessage, at_ns: int) -> bool:
        """A message of the node `src` came from `caller` at `at_ns`; False if it is none that a caller sends."""
        match message:
            case TensorsMessage():
                caller.reply(Acknowledgement(message.route))
                self._receiver.on_tensors(message, src)
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
