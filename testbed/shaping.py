"""User-space link emulation: a TCP proxy whose directed links hold bytes back as a trace and a delay say.

No root and no netem. When bytes leave is decided in `testbed.serialiser`; this module moves them at that time.
"""

import asyncio
import math
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from testbed.errors import UnknownLinkError
from testbed.serialiser import PACKET_BYTES, LinkState, admit, arrival_s, chunk_bytes
from testbed.traces import Trace

LOOPBACK = "127.0.0.1"
# Small kernel buffers, so that what a sender believes to have sent is not hidden in front of the shaping.
SOCKET_BUFFER_BYTES = 64_000
SMALLEST_WINDOW_BYTES = 64_000
LEAD_S = 0.0005  # a chunk is handed on this long before it is due, or timer slack would cost capacity on fast links
TURNS_READ_AHEAD = 2
PRIORITY = -10
SWITCH_INTERVAL_S = 0.0005

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class LinkShape:
    """What a directed link is like: its rate over time, and its one-way delay in milliseconds."""

    src: str
    dst: str
    trace: Trace
    delay_ms: float


class DirectedLink:
    """One direction between two nodes; every connection that uses it shares its capacity, a turn at a time.

    Lives on one event loop, whose clock it keeps.
    """

    def __init__(self, shape: LinkShape, clock: Callable[[], float]) -> None:
        self.src, self.dst = shape.src, shape.dst
        self._clock = clock
        self.state = LinkState(shape.trace, shape.delay_ms, trace_start_s=clock())
        self._turn = asyncio.Lock()
        self._arrived_s = -math.inf
        self._changed = asyncio.Event()

    def change(self, *, trace: Trace | None = None, delay_ms: float | None = None, is_cut: bool | None = None) -> None:
        """Take effect now, also for what is on its way into the link; a new trace starts at its beginning."""
        now_s = self._clock()
        if trace is not None:
            self.state = replace(self.state, trace=trace, trace_start_s=now_s)
        if delay_ms is not None:
            self.state = replace(self.state, delay_ms=delay_ms)
        if is_cut is not None:
            self.state = replace(self.state, is_cut=is_cut)
        self._changed.set()
        self._changed = asyncio.Event()

    async def carry(self, size_bytes: int, arrived_s: float) -> float:
        """Wait for these bytes' turn; return when the far end has them, a time that may lie `LEAD_S` + delay ahead."""
        async with self._turn:
            while True:
                before = self.state
                after, leaves_s = admit(before, size_bytes, arrived_s)
                await self._wait_for_change(leaves_s - LEAD_S)
                # Told by the state: with a busy processor the loop may find the time over and the link changed at once.
                if self.state is before:
                    self.state = after
                    return leaves_s + after.delay_ms / 1000
                arrived_s = self._clock()

    async def arrive(self, size_bytes: int, due_s: float) -> None:
        """Wait until bytes that are due at `due_s` may come out at the far end; when late, no faster than the link."""
        now_s = self._clock()
        arrives_s = arrival_s(due_s, now_s, self._arrived_s, size_bytes, self.state.mbps_at(now_s))
        self._arrived_s = arrives_s
        if arrives_s > now_s:
            await asyncio.sleep(arrives_s - now_s)

    async def _wait_for_change(self, until_s: float) -> None:
        """Return when the link changes, and at `until_s` at the latest."""
        wait_s = until_s - self._clock()
        if wait_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if math.isinf(wait_s) else wait_s)


class _Window:
    """Bounds the bytes of one connection that are on their way through a link; a full one stops the reading."""

    def __init__(self, link: DirectedLink) -> None:
        self._link = link
        self._used_bytes = 0
        self._room = asyncio.Event()

    def _limit_bytes(self) -> float:
        state = self._link.state
        mbps = state.trace.mbps_at(asyncio.get_running_loop().time() - state.trace_start_s)
        return max(SMALLEST_WINDOW_BYTES, 2 * mbps * 125 * state.delay_ms)  # 1 Mbit/s fills 125 bytes a millisecond

    async def take(self, size_bytes: int) -> None:
        while self._used_bytes and self._used_bytes + size_bytes > self._limit_bytes():
            self._room.clear()
            await self._room.wait()
        self._used_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        self._used_bytes -= size_bytes
        self._room.set()


async def _pump(source: socket.socket, sink: socket.socket, link: DirectedLink) -> None:
    """Move all bytes of one direction of a connection through `link`, then pass on its end."""
    loop = asyncio.get_running_loop()
    window = _Window(link)
    arrivals: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue(TURNS_READ_AHEAD)
    departures: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue()  # bounded by the window, in bytes

    async def read() -> None:
        while True:
            data = await loop.sock_recv(source, chunk_bytes(link.state.mbps_at(loop.time())))
            await arrivals.put((data, loop.time()))
            if not data:
                return

    async def carry() -> None:
        while True:
            data, arrived_s = await arrivals.get()
            await window.take(len(data))
            await departures.put((data, await link.carry(len(data), arrived_s)))
            if not data:
                return

    async def deliver() -> None:
        while True:
            data, due_s = await departures.get()
            await link.arrive(len(data), due_s)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, data)
            window.give(len(data))

    async with asyncio.TaskGroup() as steps:
        for step in (read, carry, deliver):
            steps.create_task(step())


def _shaped_socket() -> socket.socket:
    """A TCP socket with small buffers. Set before listen or connect, where the kernel fixes the window's scale."""
    shaped = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    shaped.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        shaped.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
    # Loopback's segments of 64 KB would not fit into the small buffer, and the sender would stall on its probe timer.
    shaped.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, PACKET_BYTES)
    shaped.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return shaped


class LinkProxy:
    """The emulated network between nodes: listeners that stand for a node as another one sees it, on own thread.

    Bytes from the connecting side pass the link src -> dst, those that come back on the connection dst -> src.
    """

    def __init__(self, shapes: tuple[LinkShape, ...]) -> None:
        self._shapes = shapes
        self._links: Mapping[tuple[str, str], DirectedLink] = {}
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread

    def __enter__(self) -> Self:
        """Start the thread; the traces begin now."""
        # A thread that draws or decodes would otherwise keep ours from its work for up to 5 ms at a time.
        sys.setswitchinterval(min(SWITCH_INTERVAL_S, sys.getswitchinterval()))
        # `select` waits to the microsecond; the default epoll rounds up to whole milliseconds, half a packet too late.
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(target=self._run, name="link-proxy", daemon=True)
        self._thread.start()
        self._links = self._on_loop(self._make_links())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every listener and connection and end the thread."""
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        # Timing is all that this thread does; where we may, it goes before the nodes that share the processor.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PRIORITY)
        self._loop.run_forever()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The directed links, as (src, dst)."""
        return tuple((shape.src, shape.dst) for shape in self._shapes)

    def listen(self, src: str, dst: str, target: tuple[str, int]) -> tuple[str, int]:
        """Where `src` finds `dst`: a new loopback address whose connections lead to `target` over the shaped links."""
        return self._on_loop(self._listen(self._link(src, dst), self._link(dst, src), target))

    def set_link(self, src: str, dst: str, *, trace: Trace | None = None, delay_ms: float | None = None) -> None:
        """Change a link while it runs, also in the middle of a message; a new trace starts at its beginning."""
        link = self._link(src, dst)
        self._loop.call_soon_threadsafe(lambda: link.change(trace=trace, delay_ms=delay_ms))

    def cut(self, src: str, dst: str) -> None:
        """Let nothing more into this direction of the link, without closing connections, as when a cable is pulled."""
        link = self._link(src, dst)
        self._loop.call_soon_threadsafe(lambda: link.change(is_cut=True))

    def restore(self, src: str, dst: str) -> None:
        """Undo `cut`; what waited goes on."""
        link = self._link(src, dst)
        self._loop.call_soon_threadsafe(lambda: link.change(is_cut=False))

    def mbps_now(self, src: str, dst: str) -> float:
        """What the link is ordered to carry at this moment, in Mbit/s; 0 while it is cut."""
        return self._link(src, dst).state.mbps_at(self._loop.time())

    def _link(self, src: str, dst: str) -> DirectedLink:
        try:
            return self._links[src, dst]
        except KeyError:
            known = ", ".join(f"{a}->{b}" for a, b in self._links) or "none"
            raise UnknownLinkError(f"there is no emulated link {src}->{dst}; the links are: {known}") from None

    def _on_loop(self, coroutine: Coroutine[object, object, R]) -> R:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _make_links(self) -> dict[tuple[str, str], DirectedLink]:
        return {(shape.src, shape.dst): DirectedLink(shape, self._loop.time) for shape in self._shapes}

    async def _listen(self, there: DirectedLink, back: DirectedLink, target: tuple[str, int]) -> tuple[str, int]:
        listener = _shaped_socket()
        listener.bind((LOOPBACK, 0))
        listener.listen()
        self._listeners.append(listener)
        self._loop.add_reader(listener, self._accept, listener, there, back, target)
        host, port = listener.getsockname()
        return host, port

    def _accept(
        self, listener: socket.socket, there: DirectedLink, back: DirectedLink, target: tuple[str, int]
    ) -> None:
        # Not `loop.sock_accept`: a connection that it has just accepted is lost, open, when its task is cancelled.
        with suppress(BlockingIOError):
            near, _ = listener.accept()
            near.setblocking(False)
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serving = self._loop.create_task(self._relay(near, there, back, target))
            self._tasks.add(serving)
            serving.add_done_callback(partial(self._end, near))

    def _end(self, near: socket.socket, served: asyncio.Task[None]) -> None:
        near.close()
        self._tasks.discard(served)

    async def _relay(
        self, near: socket.socket, there: DirectedLink, back: DirectedLink, target: tuple[str, int]
    ) -> None:
        """Serve one connection until both directions have ended or one of them fails."""
        with _shaped_socket() as far:
            try:
                await self._loop.sock_connect(far, target)
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(_pump(near, far, there))
                    directions.create_task(_pump(far, near, back))
            except* OSError:
                pass  # either end is gone, or never was there: both are closed, as a real network would tell them

    async def _close(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
