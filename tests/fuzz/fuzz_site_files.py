"""The small files of a site and of a node: the first byte picks site.json, a tensor key, a load or a clock's offset."""

import contextlib
import math
from collections.abc import Iterator

import msgspec
from messages_to_fuzz import examples
from scratch_file import scratch, written

from broker.errors import SiteError
from broker.messages import TensorKey
from broker.site_contents import RECORD_FILE
from broker.site_directory import SiteDirectory
from broker.site_record import SiteRecord, access_file, passwords_file, tokens_file
from edge_agent.clock import WallClock
from edge_agent.emulated_load import EmulatedLoad
from edge_agent.errors import NodeKeyError
from edge_agent.keys import load_or_make_key, make_key


def run(data: bytes) -> None:
    """A record whose files can be made, a key, a bounded number; or a sentence."""
    kind, rest = data[:1], data[1:]
    if kind == b"\0":
        path = written(RECORD_FILE, rest)
        try:
            SiteDirectory(path.parent)
            record = msgspec.json.decode(rest, type=SiteRecord)
        except SiteError as error:
            assert str(error).isprintable()
            return
        for made in (access_file(record), passwords_file(record), tokens_file(record)):
            assert len(made) < 1_000 + 2_000 * (1 + len(record.members)) + len(rest)
    elif kind == b"\1":
        scratch("pi.pem").unlink(missing_ok=True)
        scratch("pi.pem").touch(mode=0o600)
        with contextlib.suppress(NodeKeyError):
            msgspec.convert(load_or_make_key(written("pi.pem", rest)).public, TensorKey)
    else:
        path = written("number", rest)
        assert 0.0 <= EmulatedLoad(path).load() < 1.0
        assert math.isfinite(WallClock(path).now())


def seeds() -> Iterator[bytes]:
    """One of each."""
    record = next(each for each in examples(SiteRecord) if isinstance(each, SiteRecord))
    yield b"\0" + msgspec.json.encode(record)
    yield b"\1" + make_key().pem.encode()
    yield b"\x020.5\n"
    yield b"\x02-3600"
