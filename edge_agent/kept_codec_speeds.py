"""How fast this machine packs tensors, measured once and kept in the node's cache: to measure takes memory and time.

Measuring is `edge_agent.codec_speeds`'.
"""

import secrets
from pathlib import Path
from typing import get_args

import msgspec

from broker.messages import CodecName, CodecSpeed
from edge_agent.hardware import machine_identity
from splitrail import __version__


def kept_codec_speeds(directory: Path) -> tuple[CodecSpeed, ...]:
    """Each codec's time as `codec_speeds` measures it, from this directory where this version has left it there.

    OSError where it cannot be kept.
    """
    conditions = f"codecs-{__version__}-{machine_identity()}"
    readable = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in conditions)
    path = directory / f"{readable}.json"
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=tuple[CodecSpeed, ...])
        if tuple(speed.codec for speed in kept) == get_args(CodecName):
            return kept
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # there is none yet, or none that can be read
    from edge_agent.codec_speeds import codec_speeds  # noqa: PLC0415  # it brings Pillow, and leaves 5 MB behind

    measured = codec_speeds()
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{secrets.token_hex(4)}.unfinished")  # several agents may share the directory
    unfinished.write_bytes(msgspec.json.encode(measured))
    unfinished.replace(path)
    return measured


def stretched_speeds(speeds: tuple[CodecSpeed, ...], factor: float) -> tuple[CodecSpeed, ...]:
    """The same on an emulated machine that is `factor` times slower."""
    return tuple(
        CodecSpeed(
            codec=speed.codec,
            encode_ms_per_mb=speed.encode_ms_per_mb * factor,
            decode_ms_per_mb=speed.decode_ms_per_mb * factor,
        )
        for speed in speeds
    )
