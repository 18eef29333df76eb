"""What the kernel is asked for on a tensor connection."""

import socket

import pytest

from edge_agent import tcp

MEBIBYTE = 2**20


@pytest.mark.skipif(not tcp.SUPPORTED, reason="only Linux paces")
def test_a_slow_pace_leaves_room_for_a_few_segments() -> None:
    """Where less fits in, the other end's acknowledgements come late, and the pace is not reached."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as calling,
    ):
        tcp.set_up(calling)
        tcp.pace(calling, 100_000.0)
        segment_bytes = calling.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        assert 4 * segment_bytes <= calling.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < MEBIBYTE
