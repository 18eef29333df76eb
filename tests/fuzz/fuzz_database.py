"""SQLite files in the place of a telemetry store or a spool: the first byte picks which."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from messages_to_fuzz import examples
from scratch_file import scratch

from coordinator.errors import StoreError
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import Storable
from edge_agent.errors import SpoolError, SpoolFailedError
from edge_agent.spool import Kept, Spool

MESSAGES: tuple[Storable, ...] = tuple(each for kind in get_args(Storable) for each in examples(kind))


def run(data: bytes) -> None:
    """A file that can be used is used, and any other is refused or set aside; nothing is raised later."""
    # A damaged store has the writer's thread log what it cannot keep.
    logging.getLogger("splitrail").setLevel(logging.CRITICAL + 1)
    directory = scratch("database").parent / "database"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    path = directory / "file.sqlite"
    path.write_bytes(data[1:])
    use = use_store if data[:1] < b"\x80" else use_spool
    with contextlib.suppress(StoreError, SpoolError, SpoolFailedError):
        use(path)


def use_store(path: Path) -> None:
    with contextlib.closing(SqliteTelemetryStore(path, retention_s=1e9)) as store:
        for message in MESSAGES:
            store.record(message, 1.0)
        store.flush()
        store.summarise_inferences("pi", 0.0)
        store.summarise_power(0.0)
        store.last_epoch("pi")
        store.report()


def use_spool(path: Path) -> None:
    with contextlib.closing(Spool(path, session="s2", max_bytes=100_000)) as spool:
        for held in spool.held():
            spool.read(held.session, held.first, held.last)
        spool.append(1, [Kept("energy", b"{}", 1.0, 1.0)])
        spool.delete("s2", 1)


def seeds() -> Iterator[bytes]:
    """An empty file, an empty store and spool, and ones with a message."""
    yield b"\0"
    yield b"\xff"
    uses: tuple[tuple[bytes, Callable[[Path], None]], ...] = ((b"\0", use_store), (b"\xff", use_spool))
    for mark, use in uses:
        path = scratch(f"seed-{os.getpid()}.sqlite")
        for part in path.parent.glob(f"{path.name}*"):
            part.unlink()
        use(path)
        yield mark + path.read_bytes()
