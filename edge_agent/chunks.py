"""The streams of chunks that carry two nodes' messages through the broker: cut, kept until heard, put together.

Pure: it holds no connection and no lock. Publishing and hearing them is `edge_agent.mqtt_way`'s.
"""

import secrets
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edge_agent.errors import WireError
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES, Frame

CHUNK_BYTES: Final = (
    262_144  # 3 MB and back: 26 ms; 44 in chunks of 64 KB, 40 of 1 MB (loopback, two busy cores, measured)
)
WINDOW_BYTES: Final = 2**20
"""How much of one stream may be on its way through the broker, which would keep what its reader is slow to take."""
MAX_CONTENT_BYTES: Final = MAX_MESSAGE_BYTES + 65_536
"""Of a message: its tensors, and what describes them."""

_MAGIC: Final = b"SPLC"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sBBQQQQ")  # magic, version, kind, stream, number, heard stream, heard chunks
_LENGTH: Final = struct.Struct("<Q")  # of the message, ahead of its first part
_BEGINS, _GOES_ON, _RECEIPT, _AGAIN = range(1, 5)
_REPLY_FLAG: Final = 0x10

Sort = Literal["message", "reply"]
"""What a node says by its own line, or answers to what came by the other's."""


@dataclass(frozen=True, slots=True)
class Heard:
    """How far a reader has come: it has had the first `chunks` chunks of `stream`; 0 of stream 0 before any."""

    stream: int = 0
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one payload says: what its sender has heard, and perhaps a part of its own stream."""

    heard: Heard
    asks_again: bool
    """What the sender has not heard it wants to have once more: it has only now begun to listen, or missed some."""
    part: "Part | None" = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stream: the `number`th chunk, which begins a message or goes on with one."""

    stream: int
    number: int
    sort: Sort
    begins: bool
    content: memoryview


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message whose last part has come."""

    sort: Sort
    content: memoryview


def read_chunk(payload: bytes) -> Chunk:
    """The chunk in a payload; WireError where it is none, or of another version."""
    if len(payload) < _HEAD.size or not payload.startswith(_MAGIC):
        raise WireError("a payload that does not begin as a chunk of tensors does")
    _, version, marked, stream, number, heard_stream, heard_chunks = _HEAD.unpack_from(payload)
    if version != _VERSION:
        raise WireError(
            f"chunks of version {version}, this agent speaks {_VERSION}: update Splitrail on the older node"
        )
    kind, heard = marked & ~_REPLY_FLAG, Heard(heard_stream, heard_chunks)
    content = memoryview(payload)[_HEAD.size :]
    if kind in (_RECEIPT, _AGAIN):
        if content or marked != kind:
            raise WireError(f"a receipt of {len(payload)} bytes, {_HEAD.size} are needed")
        return Chunk(heard, asks_again=kind == _AGAIN)
    if not 0 < stream < 2**63 or number >= 2**63:
        raise WireError(f"chunk {number} of a stream {stream}")
    if kind not in (_BEGINS, _GOES_ON) or not content:
        raise WireError(f"a chunk of kind {marked} with {len(content)} bytes")
    sort: Sort = "reply" if marked & _REPLY_FLAG else "message"
    return Chunk(heard, asks_again=False, part=Part(stream, number, sort, kind == _BEGINS, content))


def receipt(heard: Heard, *, asks_again: bool = False) -> bytes:
    """The payload that only says what was heard."""
    return _HEAD.pack(_MAGIC, _VERSION, _AGAIN if asks_again else _RECEIPT, 0, 0, heard.stream, heard.chunks)


@dataclass(slots=True)
class _Kept:
    """A chunk of a message that was not heard to its end; the head is written whenever it is sent."""

    payload: bytearray
    kind: int

    @property
    def sort(self) -> Sort:
        """What it is a part of."""
        return "reply" if self.kind & _REPLY_FLAG else "message"

    @property
    def begins(self) -> bool:
        """Whether it is the first of its message, or of its reply."""
        return self.kind & ~_REPLY_FLAG == _BEGINS


class Outbound:
    """The stream from this node to one other: the messages that were not heard to their end, in order."""

    def __init__(self) -> None:
        """A new stream, of which nothing was sent."""
        self._kept: deque[_Kept] = deque()
        self.kept_bytes = 0
        """Of what was not heard to its end, sent or not."""
        self.kept_messages = 0
        """Chunks of messages, without replies, among it."""
        self._stream = self._first = self._heard = self._next = self._under_way_bytes = 0
        self._begin()

    @property
    def is_under_way(self) -> bool:
        """Whether something that was sent has not been heard."""
        return self._next > self._heard

    def put(self, sort: Sort, frames: Sequence[Frame]) -> None:
        """Cut a message, to be sent after all before it; its frames are copied, and arrive as one."""
        flag = _REPLY_FLAG if sort == "reply" else 0
        kind = _BEGINS | flag
        pieces: list[Frame] = [bytes(_HEAD.size), _LENGTH.pack(sum(map(len, frames)))]
        room = CHUNK_BYTES - _HEAD.size - _LENGTH.size
        for frame in frames:
            rest = memoryview(frame)
            while rest:
                if not room:
                    self._keep(bytearray().join(pieces), kind)
                    kind, pieces, room = _GOES_ON | flag, [bytes(_HEAD.size)], CHUNK_BYTES - _HEAD.size
                taken = rest[:room]
                pieces.append(taken)
                room -= len(taken)
                rest = rest[len(taken) :]
        self._keep(bytearray().join(pieces), kind)

    def due(self, heard: Heard) -> Iterator[bytearray]:
        """The payloads that may be sent now, in order; each says what this node has `heard` of the other's stream."""
        while self._next - self._first < len(self._kept):
            kept = self._kept[self._next - self._first]
            if self.is_under_way and self._under_way_bytes + len(kept.payload) > WINDOW_BYTES:
                return
            head = (_MAGIC, _VERSION, kept.kind, self._stream, self._next, heard.stream, heard.chunks)
            _HEAD.pack_into(kept.payload, 0, *head)
            self._next += 1
            self._under_way_bytes += len(kept.payload)
            yield kept.payload

    def was_heard(self, heard: Heard) -> bool:
        """The other has come so far; whether that is news. Messages that it has had to their end are not kept."""
        if heard.stream != self._stream:
            return False
        before = self._heard
        while self._heard < min(heard.chunks, self._next):
            self._under_way_bytes -= len(self._kept[self._heard - self._first].payload)
            self._heard += 1
            if self._heard - self._first == len(self._kept) or self._kept[self._heard - self._first].begins:
                while self._first < self._heard:
                    kept = self._kept.popleft()
                    self.kept_bytes -= len(kept.payload)
                    self.kept_messages -= kept.sort == "message"
                    self._first += 1
        return self._heard > before

    def send_again(self, heard: Heard) -> None:
        """The other wants once more what it has not heard; to one that knows nothing of this stream it begins anew."""
        if heard.stream == self._stream:
            self.was_heard(heard)
            self._next, self._under_way_bytes = self._heard, 0
        else:
            self._begin()

    def withdraw(self, *, sent: bool) -> list[bytes]:
        """Take back the messages, but no replies, that were not heard to their end; only those not `sent` if False."""
        stays = 0 if sent else self._next - self._first
        while 0 < stays < len(self._kept) and not self._kept[stays].begins:
            stays += 1
        contents: list[tuple[Sort, bytearray]] = []
        for kept in [self._kept.pop() for _ in range(len(self._kept) - stays)][::-1]:
            self.kept_bytes -= len(kept.payload)
            self.kept_messages -= kept.sort == "message"
            if kept.begins:
                contents.append((kept.sort, bytearray()))
            contents[-1][1].extend(memoryview(kept.payload)[_HEAD.size + (_LENGTH.size if kept.begins else 0) :])
        if sent:
            self._begin()
        for sort, content in contents:
            if sort == "reply":
                self.put(sort, (memoryview(content),))
        return [bytes(content) for sort, content in contents if sort == "message"]

    def _begin(self) -> None:
        """Number what is kept anew, under another name: whoever hears it knows nothing of it."""
        self._stream = secrets.randbits(63) | 1
        self._first = self._heard = self._next = self._under_way_bytes = 0

    def _keep(self, payload: bytearray, kind: int) -> None:
        kept = _Kept(payload, kind)
        self._kept.append(kept)
        self.kept_bytes += len(payload)
        self.kept_messages += kept.sort == "message"


class Inbound:
    """The stream from one other node to this one: how far it was heard, and the message that is coming in."""

    def __init__(self) -> None:
        """Nothing was heard."""
        self.heard = Heard()
        self.has_gap = False
        """Something was missed since `heard` last went on: it should be asked for again."""
        self._sort: Sort = "message"
        self._memory: memoryview | None = None
        self._filled_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The memory of the message that is coming in."""
        return 0 if self._memory is None else len(self._memory)

    def take(self, part: Part, room_bytes: int) -> Arrived | None:
        """The message that ends with this part; None where it has not come to its end, or the part is out of turn.

        WireError where a message is larger than allowed, or than `room_bytes`, or its parts do not fit each other; the
        rest of it is refused too.
        """
        if part.stream != self.heard.stream and part.begins and part.number == 0:
            self.heard, self._memory = Heard(part.stream, 0), None
        if part.stream != self.heard.stream or part.number > self.heard.chunks:
            self.has_gap = True
            return None
        if part.number < self.heard.chunks:
            return None
        self.heard, self.has_gap = Heard(part.stream, part.number + 1), False
        memory, self._memory = self._memory, None
        if not part.begins:
            if memory is None:
                raise WireError("a part of no message")
            return self._go_on(memory, part.content)
        if memory is not None:
            raise WireError("a message that begins within another")
        self._sort, self._filled_bytes = part.sort, 0
        if len(part.content) < _LENGTH.size:
            raise WireError(f"a message that begins with {len(part.content)} bytes")
        (size_bytes,) = _LENGTH.unpack_from(part.content)
        content = part.content[_LENGTH.size :]
        if size_bytes > MAX_CONTENT_BYTES:
            raise WireError(f"a message of {size_bytes} bytes, at most {MAX_CONTENT_BYTES} are allowed")
        if size_bytes == len(content):
            return Arrived(part.sort, content)
        if size_bytes > room_bytes:
            raise WireError(f"a message of {size_bytes} bytes, while others come in")
        # Untouched memory costs nothing: who only claims much is given little.
        return self._go_on(np.empty(size_bytes, np.uint8).data, content)

    def _go_on(self, memory: memoryview, content: memoryview) -> Arrived | None:
        until = self._filled_bytes + len(content)
        if until > len(memory):
            raise WireError(f"a message of {len(memory)} bytes that goes on for {until}")
        memory[self._filled_bytes : until] = content
        self._filled_bytes = until
        if until == len(memory):
            return Arrived(self._sort, memory)
        self._memory = memory
        return None
