"""What a node says of its codecs in its profiles."""

import time

from broker.messages import CodecSpeed
from edge_agent.codec_speeds import codec_speeds, stretched_speeds
from models.codec_figures import NAMES


def test_a_node_knows_every_codec() -> None:
    """In the order that tables have, each with a time for either direction; images are packed by nobody."""
    speeds = codec_speeds(time.thread_time_ns)
    assert tuple(speed.codec for speed in speeds) == NAMES
    assert all(speed.decode_ms_per_mb > 0.0 for speed in speeds if speed.codec != "raw")
    assert {speed.codec for speed in speeds if speed.encode_ms_per_mb == 0.0} >= {"uint8", "jpeg"}


def test_it_measures_once() -> None:
    """All models of a node share the figures, for they are the machine's."""
    assert codec_speeds(time.thread_time_ns) is codec_speeds(time.thread_time_ns)


def test_an_emulated_machine_is_slower_at_codecs_too() -> None:
    """By the factor of its compute."""
    fast = (CodecSpeed(codec="int8", encode_ms_per_mb=1.5, decode_ms_per_mb=0.5),)
    assert stretched_speeds(fast, 4.0) == (CodecSpeed(codec="int8", encode_ms_per_mb=6.0, decode_ms_per_mb=2.0),)
