"""The proxy on real sockets: bytes arrive intact and in order, senders feel the link, cuts hold and heal."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from testbed.errors import UnknownLinkError
from testbed.shaping import DirectedLink, LinkProxy, LinkShape
from testbed.traces import constant

FAST_MBPS = 200.0


def both_ways(mbps: float, delay_ms: float = 1.0) -> tuple[LinkShape, LinkShape]:
    return LinkShape("pi", "pc", constant(mbps), delay_ms), LinkShape("pc", "pi", constant(mbps), delay_ms)


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@contextmanager
def connected(proxy: LinkProxy, server: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from pi to pc through the proxy: its two ends."""
    address = proxy.listen("pi", "pc", server.getsockname())
    with socket.create_connection(address, timeout=10) as near:
        far, _ = server.accept()
        far.settimeout(10)
        with far:
            yield near, far


def receive(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := end.recv(min(65_536, size - len(data)))):
        data += part
    return bytes(data)


def test_bytes_arrive_intact_both_ways() -> None:
    """A megabyte there and half a megabyte back arrive unchanged, and each end's close is passed on."""
    payload = bytes(range(256)) * 4_000
    with LinkProxy(both_ways(FAST_MBPS)) as proxy, listening() as server, connected(proxy, server) as (near, far):
        sender = threading.Thread(target=lambda: (near.sendall(payload), near.shutdown(socket.SHUT_WR)))
        sender.start()
        assert receive(far, len(payload) + 1) == payload
        sender.join()
        far.sendall(payload[:500_000])
        far.close()
        assert receive(near, len(payload)) == payload[:500_000]


def test_rate_is_felt() -> None:
    """200 KB take at least their time on the wire at 10 Mbit/s: 160 ms, and the delay."""
    payload = b"x" * 200_000
    with LinkProxy(both_ways(10, delay_ms=20)) as proxy, listening() as server, connected(proxy, server) as (near, far):
        start_s = time.monotonic()
        near.sendall(payload)
        assert receive(far, len(payload)) == payload
        assert time.monotonic() - start_s > 0.179


def test_connections_share_a_link() -> None:
    """Two connections over one directed link together get its capacity, not each."""
    half = b"x" * 100_000
    with (
        LinkProxy(both_ways(10)) as proxy,
        listening() as server,
        connected(proxy, server) as (near, far),
        connected(proxy, server) as (near_2, far_2),
    ):
        start_s = time.monotonic()
        near.sendall(half)
        near_2.sendall(half)
        assert receive(far, len(half)) == receive(far_2, len(half)) == half
        assert time.monotonic() - start_s > 0.159


def test_back_pressure_reaches_the_sender() -> None:
    """A sender over a thin link is stopped once the small buffers are full; what it sent is still delivered."""
    with LinkProxy(both_ways(0.1)) as proxy, listening() as server, connected(proxy, server) as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_000)
        near.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += near.send(b"x" * 10_000)
        assert sent < 1_000_000
        proxy.set_link("pi", "pc", trace=constant(FAST_MBPS))
        assert len(receive(far, sent)) == sent


def test_a_receiver_that_stands_still_stops_the_sender() -> None:
    """What waits for a receiver that does not read is bounded, even on a fast link."""
    with LinkProxy(both_ways(1_000)) as proxy, listening() as server, connected(proxy, server) as (near, far):
        near.settimeout(0.5)
        with pytest.raises(TimeoutError):
            near.sendall(b"x" * 100_000_000)
        far.settimeout(10)
        assert receive(far, 1_000_000) == b"x" * 1_000_000


def test_cut_and_restore() -> None:
    """A cut link carries nothing and closes nothing; after the restoration all bytes arrive, in order."""
    payload = bytes(range(256)) * 400
    with LinkProxy(both_ways(FAST_MBPS)) as proxy, listening() as server, connected(proxy, server) as (near, far):
        near.sendall(b"before")
        assert receive(far, 6) == b"before"
        proxy.cut("pi", "pc")
        near.sendall(payload)
        far.settimeout(0.3)
        with pytest.raises(TimeoutError):
            far.recv(1)
        assert proxy.mbps_now("pi", "pc") == 0
        far.sendall(b"the way back is whole")
        assert receive(near, 21) == b"the way back is whole"
        proxy.restore("pi", "pc")
        far.settimeout(10)
        assert receive(far, len(payload)) == payload


def test_change_in_the_middle_of_a_message() -> None:
    """A message stuck on a dying link is finished at once when the link becomes fast."""
    payload = bytes(range(256)) * 400
    with LinkProxy(both_ways(0.001)) as proxy, listening() as server, connected(proxy, server) as (near, far):
        near.sendall(payload)
        proxy.set_link("pi", "pc", trace=constant(FAST_MBPS))
        assert receive(far, len(payload)) == payload
        assert proxy.mbps_now("pi", "pc") == FAST_MBPS


def test_a_change_in_the_moment_when_bytes_leave_is_not_lost() -> None:
    """A busy processor tells of the bytes' time and of the change at once: the link is changed all the same."""

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        link = DirectedLink(both_ways(FAST_MBPS)[0], loop.time)
        carrying = asyncio.create_task(link.carry(250_000, loop.time()))  # 10 ms of the link
        loop.call_later(0.02, lambda: link.change(trace=constant(0.5)))
        await asyncio.sleep(0)
        time.sleep(0.05)  # the processor is busy, and the loop with it
        await asyncio.sleep(0.01)
        carrying.cancel()
        return link.state.mbps_at(loop.time())

    assert asyncio.run(scenario()) == 0.5


def test_a_node_that_is_not_there() -> None:
    """A connection to a node that does not listen is closed."""
    with listening() as server:
        nobody = server.getsockname()
    with (
        LinkProxy(both_ways(FAST_MBPS)) as proxy,
        socket.create_connection(proxy.listen("pi", "pc", nobody), timeout=10) as near,
    ):
        assert near.recv(1) == b""


def test_unknown_link() -> None:
    """A link that was not declared is refused with the ones that were."""
    refusal = r"no emulated link pi->mars; the links are: pi->pc, pc->pi"
    with LinkProxy(both_ways(FAST_MBPS)) as proxy, pytest.raises(UnknownLinkError, match=refusal):
        proxy.cut("pi", "mars")


def test_nothing_is_left() -> None:
    """Closing the proxy ends its thread and its connections, also the stuck ones."""
    before = set(threading.enumerate())
    with listening() as server:
        with LinkProxy(both_ways(0.001)) as proxy:
            near = socket.create_connection(proxy.listen("pi", "pc", server.getsockname()), timeout=10)
            near.sendall(b"x" * 10_000)
        with near, suppress(ConnectionResetError):
            assert near.recv(1) == b""
    assert set(threading.enumerate()) == before
