"""The TCP connections beneath ZeroMQ's sockets, by the descriptors that its monitors name: counted, paced, cut.

ZeroMQ closes a descriptor whenever it likes and the system gives its number away again, so each look borrows a
duplicate and checks that it still is the same connection.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

SUPPORTED: Final = sys.platform == "linux"
"""Whether the kernel counts and paces; elsewhere connections are only cut."""

_MAX_PACING_RATE: Final = 47  # SO_MAX_PACING_RATE, which Python does not name
_UNPACED: Final = 2**32 - 1
_SLOWEST_PACE: Final = 1_000  # bytes per second
_BUFFER_LOCK: Final = 72  # SO_BUF_LOCK, which Python does not name either
_SHORT_ROUND_TRIP_US: Final = 1_024  # below it Linux paces in bursts of 32 to 64 KB (ip-sysctl, tcp_tso_rtt_log)
_BUFFERED_S: Final = 0.004
_LEAST_BUFFER_BYTES: Final = 8_192
_WIDE_BUFFER_BYTES: Final = 262_144  # as much as the largest probe
_LEAST_ROUND_TRIP: Final = struct.Struct("=148xI")  # tcpi_min_rtt, in microseconds
_BYTES_RECEIVED: Final = struct.Struct("=128xQ")  # tcpi_bytes_received in Linux's struct tcp_info

Ends = tuple[object, object]


class TcpConnection:
    """One TCP connection that ZeroMQ holds under `descriptor`; every method does nothing once it is gone."""

    def __init__(self, descriptor: int) -> None:
        """Remember the connection that is there now."""
        self.descriptor = descriptor
        self._ends: Ends | None = None
        with suppress(OSError), _borrowed(descriptor) as borrowed:
            self._ends = _ends(borrowed)

    def received_bytes(self) -> int | None:
        """How many bytes have come in, as the kernel counts; None if the connection is gone."""
        with suppress(OSError, struct.error), _borrowed(self.descriptor) as borrowed:
            if _ends(borrowed) == self._ends:
                information = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
                return int(_BYTES_RECEIVED.unpack(information)[0])
        return None

    def cut(self) -> None:
        """End the connection in both directions; ZeroMQ then closes it."""
        with suppress(OSError), _borrowed(self.descriptor) as borrowed:
            if _ends(borrowed) == self._ends:
                borrowed.shutdown(socket.SHUT_RDWR)

    def pace(self, bytes_per_s: float | None) -> None:
        """Let the kernel send no faster than this, or as fast as it likes (None). Only Linux can."""
        if not SUPPORTED:
            return
        rate = _UNPACED if bytes_per_s is None else min(max(round(bytes_per_s), _SLOWEST_PACE), _UNPACED - 1)
        with suppress(OSError), _borrowed(self.descriptor) as borrowed:
            if _ends(borrowed) == self._ends:
                borrowed.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, struct.pack("=I", rate))
                _buffer(borrowed, bytes_per_s)
                if bytes_per_s is None:
                    _forget_rate(borrowed)


def _buffer(borrowed: socket.socket, bytes_per_s: float | None) -> None:
    """Where the round trip is short, keep so little in the kernel that a burst of it passes in milliseconds."""
    information = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LEAST_ROUND_TRIP.size)
    rtt_us = _LEAST_ROUND_TRIP.unpack(information)[0]
    if bytes_per_s is None or rtt_us >= _SHORT_ROUND_TRIP_US:
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WIDE_BUFFER_BYTES)
        with suppress(OSError):  # the kernel may widen it again: Linux has this since 5.14
            borrowed.setsockopt(socket.SOL_SOCKET, _BUFFER_LOCK, struct.pack("=I", 0))
        return
    wanted = max(round(bytes_per_s * (rtt_us / 1e6 + _BUFFERED_S)), _LEAST_BUFFER_BYTES)
    borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wanted // 2)  # Linux doubles it


def _forget_rate(borrowed: socket.socket) -> None:
    """BBR takes the pace that it was held to for the link's rate: chosen anew, it looks for that rate from scratch."""
    chosen = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    if chosen.startswith(b"bbr"):
        borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, chosen)


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    duplicate = os.dup(descriptor)
    try:
        borrowed = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)  # the number belongs to something else by now
        raise
    with borrowed:
        yield borrowed


def _ends(borrowed: socket.socket) -> Ends:
    return borrowed.getsockname(), borrowed.getpeername()
