"""What comes in from other agents: checked, answered at once, and told to the receiver. Holds no socket.

Senders are known by their routing id, `NODE/SESSION`, so that two agents of one name do not clash.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from edge_agent.deliveries import TensorReceiver
from edge_agent.errors import WireError
from edge_agent.links import ArrivalTimeline
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Frame,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    TensorsMessage,
    TransferRecord,
    WireMessage,
    decode,
)

log = logging.getLogger("splitrail.transport")

MAX_PROBING_PEERS: Final = 64
MAX_COMPLAINTS: Final = 100
_IDENTITY_FORM: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})/[0-9a-f]{1,32}")


def claimed_sender(identity: bytes) -> str | None:
    """The node that a routing id claims to be, `NODE/SESSION`; None where it has not that form."""
    match = _IDENTITY_FORM.fullmatch(identity)
    return match[1].decode() if match else None


class Inbox:
    """Takes the messages of all other agents, one after the other."""

    def __init__(self, receiver: TensorReceiver, reply: Callable[[bytes, WireMessage], None]) -> None:
        """Tell `receiver` what comes, and send answers by `reply(routing id, message)`."""
        self._receiver, self._reply = receiver, reply
        self._timelines: OrderedDict[bytes, tuple[int, ArrivalTimeline]] = OrderedDict()
        self._complained: set[bytes] = set()

    def take(self, identity: bytes, src: str, frames: Sequence[Frame], at_ns: int) -> bool:
        """A message of `src` under the routing id `identity` came at `at_ns`; False if it is malformed and dropped."""
        message = self._decoded(identity, frames)
        if message is None:
            return False
        match message:
            case TensorsMessage():
                self._reply(identity, Acknowledgement(message.route))
                self._receiver.on_tensors(message, src)
            case FailureMessage():
                self._receiver.on_failure(message, src)
            case TransferRecord():
                self._receiver.on_transfer_record(message, src)
            case Ping(token):
                self._reply(identity, Pong(token))
            case ProbeChunk():
                self._follow_probe(identity, message, at_ns)
            case _:
                return False
        return True

    def _decoded(self, identity: bytes, frames: Sequence[Frame]) -> WireMessage | None:
        try:
            return decode(frames)
        except WireError as error:
            # Once for each sender, and for so many senders: a log is not to be filled from outside.
            if identity not in self._complained and len(self._complained) < MAX_COMPLAINTS:
                self._complained.add(identity)
                log.warning("dropped a message from %s: %s", identity.decode(), error)
            return None

    def _follow_probe(self, identity: bytes, chunk: ProbeChunk, at_ns: int) -> None:
        probe, timeline = self._timelines.pop(identity, (None, None))
        if timeline is None or probe != chunk.probe:
            timeline = ArrivalTimeline(chunk.count * len(chunk.payload))
        timeline.arrive(len(chunk.payload), at_ns)
        if chunk.index + 1 < chunk.count:
            self._timelines[identity] = (chunk.probe, timeline)
            if len(self._timelines) > MAX_PROBING_PEERS:
                self._timelines.popitem(last=False)
            return
        slope = timeline.slope()
        self._reply(identity, ProbeReply(chunk.probe, slope.counted_bytes, slope.counted_ns))
