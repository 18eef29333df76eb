"""What the kernel is asked for on a tensor connection: no delay, signs of a dead peer, and no more than its pace.

Which pace that is belongs to `edge_agent.pacing`.
"""

import socket
import struct
import sys
from contextlib import suppress
from typing import Final

SUPPORTED: Final = sys.platform == "linux"
"""Whether the kernel paces."""

_MAX_PACING_RATE: Final = 47  # SO_MAX_PACING_RATE, which Python does not name
_UNPACED: Final = 2**32 - 1
_SLOWEST_PACE: Final = 1_000  # bytes per second
_BUFFER_LOCK: Final = 72  # SO_BUF_LOCK, which Python does not name either
_SHORT_ROUND_TRIP_US: Final = 1_024  # below it Linux paces in bursts of 32 to 64 KB (ip-sysctl, tcp_tso_rtt_log)
_BUFFERED_S: Final = 0.004
_LEAST_BUFFER_BYTES: Final = 8_192
_LEAST_BUFFER_SEGMENTS: Final = 4  # with fewer the other end, which waits for two, acknowledges late: 40 ms each time
_WIDE_BUFFER_BYTES: Final = 262_144  # as much as the largest probe
_LEAST_ROUND_TRIP: Final = struct.Struct("=148xI")  # tcpi_min_rtt, in microseconds


def set_up(connection: socket.socket) -> None:
    """Let it not wait, neither here nor for more to send, and end when the other machine is gone."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def hold_back(connection: socket.socket, held: bool) -> None:
    """Let only full segments go from now on, as more is written at once; or let go what is left. OSError if closed."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, held)


def pace(connection: socket.socket, bytes_per_s: float | None) -> None:
    """Let the kernel send no faster than this, or as fast as it likes (None). Only Linux can; else nothing happens."""
    if not SUPPORTED:
        return
    rate = _UNPACED if bytes_per_s is None else min(max(round(bytes_per_s), _SLOWEST_PACE), _UNPACED - 1)
    with suppress(OSError):  # the connection may have ended
        connection.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, struct.pack("=I", rate))
        _buffer(connection, bytes_per_s)
        if bytes_per_s is None:
            _forget_rate(connection)


def _buffer(connection: socket.socket, bytes_per_s: float | None) -> None:
    """Where the round trip is short, keep so little in the kernel that a burst of it passes in milliseconds.

    On loopback a segment is 64 KB, so that it is more there.
    """
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LEAST_ROUND_TRIP.size)
    rtt_us = _LEAST_ROUND_TRIP.unpack(information)[0]
    if bytes_per_s is None or rtt_us >= _SHORT_ROUND_TRIP_US:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WIDE_BUFFER_BYTES)
        with suppress(OSError):  # the kernel may widen it again: Linux has this since 5.14
            connection.setsockopt(socket.SOL_SOCKET, _BUFFER_LOCK, struct.pack("=I", 0))
        return
    segments_bytes = _LEAST_BUFFER_SEGMENTS * connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    wanted = max(round(bytes_per_s * (rtt_us / 1e6 + _BUFFERED_S)), _LEAST_BUFFER_BYTES, segments_bytes)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wanted // 2)  # Linux doubles it


def _forget_rate(connection: socket.socket) -> None:
    """BBR takes the pace that it was held to for the link's rate: chosen anew, it looks for that rate from scratch."""
    chosen = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    if chosen.startswith(b"bbr"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, chosen)
