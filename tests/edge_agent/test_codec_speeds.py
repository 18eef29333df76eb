"""What a node says of its codecs in its profiles."""

from pathlib import Path

import pytest

from broker.messages import CodecSpeed
from edge_agent.codec_speeds import codec_speeds
from edge_agent.kept_codec_speeds import kept_codec_speeds, stretched_speeds
from models.codec_figures import NAMES


def test_a_node_knows_every_codec() -> None:
    """In the order that tables have, each with a time for either direction; images are packed by nobody."""
    speeds = codec_speeds()
    assert tuple(speed.codec for speed in speeds) == NAMES
    assert all(speed.decode_ms_per_mb > 0.0 for speed in speeds if speed.codec != "raw")
    assert {speed.codec for speed in speeds if speed.encode_ms_per_mb == 0.0} >= {"uint8", "jpeg"}


def test_it_measures_once() -> None:
    """All models of a node share the figures, for they are the machine's."""
    assert codec_speeds() is codec_speeds()


def test_an_emulated_machine_is_slower_at_codecs_too() -> None:
    """By the factor of its compute."""
    fast = (CodecSpeed(codec="int8", encode_ms_per_mb=1.5, decode_ms_per_mb=0.5),)
    assert stretched_speeds(fast, 4.0) == (CodecSpeed(codec="int8", encode_ms_per_mb=6.0, decode_ms_per_mb=2.0),)


def test_what_was_measured_is_kept_for_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured then."""
    measured = kept_codec_speeds(tmp_path)
    monkeypatch.setattr("edge_agent.codec_speeds.codec_speeds", lambda: ())
    assert kept_codec_speeds(tmp_path) == measured


def test_what_cannot_be_read_is_measured_again(tmp_path: Path) -> None:
    """A full disk may have left half of it."""
    kept_codec_speeds(tmp_path)
    [kept] = tmp_path.iterdir()
    kept.write_bytes(b"[")
    assert tuple(speed.codec for speed in kept_codec_speeds(tmp_path)) == NAMES
