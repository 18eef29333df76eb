"""Bandwidth traces."""

import math
from collections.abc import Iterator

from scratch_file import written

from testbed.errors import TraceError
from testbed.traces import DEMO_TRACE, read_trace


def run(data: bytes) -> None:
    """A trace whose every question has a finite answer, or a sentence."""
    try:
        trace = read_trace(written("trace.csv", data), scale=0.5, at_the_end="loop")
    except TraceError as error:
        assert str(error).isprintable()
        return
    for time_s in (-1.0, 0.0, 0.5, trace.seconds[-1], trace.seconds[-1] + 1.0, 1e9):
        assert math.isfinite(trace.mbps_at(time_s))
        assert trace.mbps_at(time_s) >= 0.0
        assert trace.next_step_s(time_s) > time_s


def seeds() -> Iterator[bytes]:
    """The demo's trace, and small ones."""
    yield DEMO_TRACE.read_bytes()
    yield b"seconds,mbps\n0,10\n1.5,0\n3,2e1\n"
    yield b'\xef\xbb\xbfseconds,mbps\r\n0,"10"\r\n\r\n'
