"""What a coordinator must not forget when it is killed, in a table of its own beside the telemetry.

What is in a snapshot is `coordinator.snapshot`'s to say.
"""

import logging
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from coordinator.errors import StoreError
from coordinator.site import Pair, ProfileState
from coordinator.snapshot import FORMAT, Snapshot

BUSY_TIMEOUT_S: Final = 2.0

_TABLE = "CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, format INTEGER NOT NULL, content BLOB NOT NULL)"
_WRITE = "INSERT OR REPLACE INTO memory VALUES (?, ?, ?)"

log = logging.getLogger("splitrail.store")

Content = TypeVar("Content")


class Office(msgspec.Struct, frozen=True, kw_only=True):
    """The highest term of leadership that was heard of, and the session of the run that heard of it."""

    term: int = 0
    session: str | None = None


class SnapshotStore:
    """Keeps the newest snapshot and office in the telemetry store's file, through a kill of the process.

    A write that fails (a full disk) is said once and may be tried again. Any thread may call. StoreError if the file
    cannot be opened; what it holds of another format is left aside with a warning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._failed = False
        self._profiles: Mapping[Pair, ProfileState] | None = None
        try:
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            with self._connection:
                self._connection.execute(_TABLE)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot keep the coordinator's state: {error}; name another `store`") from None

    def snapshot(self) -> Snapshot | None:
        """What the run before has left; None where there is nothing that this version can read."""
        site, profiles = self._read("site", Snapshot), self._read("profiles", dict[Pair, ProfileState])
        return replace(site, profiles=profiles or {}) if site is not None else None

    def office(self) -> Office:
        """What the run before knew of the leadership."""
        return self._read("office", Office) or Office()

    def save(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot in place of the one before; False if that failed."""
        contents: dict[str, object] = {"site": replace(snapshot, profiles={})}
        # Profiles are large and change rarely.
        if snapshot.profiles is not self._profiles:
            contents["profiles"] = snapshot.profiles
        saved = self._write(contents)
        if saved:
            self._profiles = snapshot.profiles
        return saved

    def save_office(self, office: Office) -> bool:
        """Keep the office in place of the one before; False if that failed."""
        return self._write({"office": office})

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _read(self, name: str, kind: type[Content]) -> Content | None:
        with self._lock:
            row = self._connection.execute("SELECT format, content FROM memory WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        try:
            if row[0] == FORMAT:
                return msgspec.msgpack.decode(row[1], type=kind)
            fault = f"format {row[0]}, this splitrail knows {FORMAT}"
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            fault = str(error)
        log.warning("%s: what the last run knew (%s) is left aside: %s", self._path, name, fault)
        return None

    def _write(self, contents: Mapping[str, object]) -> bool:
        rows = [(name, FORMAT, msgspec.msgpack.encode(content)) for name, content in contents.items()]
        try:
            with self._lock, self._connection:
                self._connection.executemany(_WRITE, rows)
        except sqlite3.Error as error:
            if not self._failed:
                log.warning("%s: the coordinator's state cannot be kept for a restart: %s", self._path, error)
            self._failed = True
            return False
        self._failed = False
        return True
