"""Reads messages out of a stream of bytes: small ones at once from one buffer, tensors straight into their own memory.

Knows nothing of sockets: bytes come from a function that fills memory. What they mean, `edge_agent.wire_reading` says.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np

from edge_agent.errors import WireError
from edge_agent.wire import Route, TensorsMessage, WireMessage
from edge_agent.wire_layout import MAX_CHUNK_BYTES, MAX_HEADER_BYTES, PREFIX_BYTES, TENSORS_KIND
from edge_agent.wire_reading import TensorsHeader, read_prefix, small_message, tensors_header
from edge_agent.wire_tensors import Tensor, TensorSpec, bytes_of

BUFFER_BYTES: Final = MAX_CHUNK_BYTES + 1_024  # as much as is read at once: the largest message without large tensors
REPLY_BUFFER_BYTES: Final = 4_096

Fill = Callable[[memoryview], int | None]
"""Puts what has come into some memory: how much it was, or None where nothing is there now. OSError at the end."""


class TensorMemory(Protocol):
    """Who says where tensors are received."""

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """One contiguous, writable array for each, of its type and shape, that nobody uses; None: new ones are made.

        Not asked for tensors that came whole with their header: they have to be copied out of the buffer anyway.
        """


class MessageReader:
    """The messages of one connection, one after the other; for one thread at a time.

    The largest message that comes in pieces is `under_way_bytes`: it counts from its header on.
    """

    def __init__(
        self, memory: TensorMemory | None, reserve: Callable[[int], None], buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        """Receive tensors where `memory` says; None refuses them. `reserve(bytes)` is asked before they get memory.

        It may raise WireError.
        """
        self._memory, self._reserve = memory, reserve
        self._view = memoryview(bytearray(buffer_bytes))
        self._size_bytes = buffer_bytes
        self._start = self._end = 0
        self._filling: TensorsHeader | None = None
        self._arrays: Sequence[Tensor] = ()
        self._pieces: list[memoryview] = []
        self._was_short = False
        self.under_way_bytes = 0
        self.received_bytes = 0
        """Of whole messages."""

    @property
    def is_drained(self) -> bool:
        """Whether all that came was taken, and the last look found less than it asked for."""
        return self._was_short and self._start == self._end

    @property
    def missing_bytes(self) -> int:
        """What has not come yet of the tensors that are coming in; 0 between messages."""
        return sum(map(len, self._pieces))

    @property
    def has_buffered(self) -> bool:
        """Whether bytes are here that no look at the connection tells of."""
        return self._start < self._end

    def take(self, fill: Fill) -> WireMessage | None:
        """The next message, or None until more has come. WireError where there is none; then the stream is lost.

        A probe's chunk is valid until the next call.
        """
        while True:
            if self._filling is not None:
                return self._filled(fill, self._filling)
            start = self._start
            there = self._end - start
            needed = PREFIX_BYTES
            if there >= PREFIX_BYTES:
                kind, header_bytes, payload_bytes = read_prefix(self._view, start)
                needed += header_bytes if kind == TENSORS_KIND else header_bytes + payload_bytes
                if there >= needed:
                    begins = start + PREFIX_BYTES
                    boundary = begins + header_bytes
                    header = bytes(self._view[begins:boundary])
                    self._pass(needed)
                    self.received_bytes += needed
                    if kind != TENSORS_KIND:
                        return small_message(kind, header, self._view[boundary : start + needed])
                    message = self._begin_tensors(header, payload_bytes)
                    if message is not None:
                        return message
                    continue
            if start + needed > self._size_bytes:
                self._make_room(needed)
            room = self._view[self._end :]
            count = fill(room)
            if count is None:
                return None
            self._was_short = count < len(room)
            self._end += count

    def drop(self) -> None:
        """The rest of the message that is coming in never comes: the memory it was for is let go."""
        self._filling, self._arrays, self._pieces, self.under_way_bytes = None, (), [], 0

    def _begin_tensors(self, header: bytes, payload_bytes: int) -> TensorsMessage | None:
        """The message, if all of it is in the buffer already."""
        if self._memory is None:
            raise WireError("tensors where only replies may come")
        described = tensors_header(header, payload_bytes)
        route, specs, stages = described
        if payload_bytes <= self._end - self._start:
            tensors: list[Tensor] = []
            at = self._start
            for spec in specs:
                tensors.append(np.ndarray(spec.shape, spec.dtype, bytearray(self._view[at : at + spec.size_bytes])))
                at += spec.size_bytes
            self._pass(payload_bytes)
            self.received_bytes += payload_bytes
            return TensorsMessage(route, tuple(tensors), stages)
        self._reserve(payload_bytes)
        self.under_way_bytes = payload_bytes
        places = self._memory.memory_for(route, specs)
        if places is None:
            places = [np.empty(spec.shape, spec.dtype) for spec in specs]
        self._arrays = places
        self._pieces = [bytes_of(array) for array in places if array.nbytes]
        self._fill_from_buffer()
        self._filling = described
        return None

    def _fill_from_buffer(self) -> None:
        while self._pieces and self._start < self._end:
            piece = self._pieces[0]
            count = min(len(piece), self._end - self._start)
            piece[:count] = self._view[self._start : self._start + count]
            self._pass(count)
            self._advance(count)

    def _filled(self, fill: Fill, described: TensorsHeader) -> TensorsMessage | None:
        while self._pieces:
            count = fill(self._pieces[0])
            if count is None:
                return None
            self._advance(count)
        self._was_short = True
        route, _, stages = described
        message = TensorsMessage(route, tuple(self._arrays), stages)
        self._filling, self._arrays, self.under_way_bytes = None, (), 0
        return message

    def _advance(self, count: int) -> None:
        self.received_bytes += count
        piece = self._pieces[0]
        if count == len(piece):
            del self._pieces[0]
        else:
            self._pieces[0] = piece[count:]

    def _pass(self, count: int) -> None:
        self._start += count
        if self._start == self._end:
            self._start = self._end = 0

    def _make_room(self, size_bytes: int) -> None:
        """Let a message of this size fit behind what is there of it."""
        if size_bytes > self._size_bytes:
            raise WireError(f"a message of {size_bytes} bytes, at most {self._size_bytes} are allowed here")
        there = self._end - self._start
        self._view[:there] = bytes(self._view[self._start : self._end])
        self._start, self._end = 0, there


assert PREFIX_BYTES + MAX_HEADER_BYTES <= BUFFER_BYTES
