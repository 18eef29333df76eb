"""InfluxDB as coordinator.yaml names it: which it is, whether it answers us, what waits for it and what it refused.

Nothing is written there; the coordinator's own file is only read.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordinator.errors import InfluxDeniedError, InfluxError, InfluxQueryError, StoreError
from coordinator.telemetry.influx_server import InfluxServer
from splitrail.doctor.finding import Finding, split_advice

if TYPE_CHECKING:
    from coordinator.configuration import InfluxSettings

TIMEOUT_S: Final = 3.0
MAX_REASONS: Final = 5
# 1.6.7 lists no measurements of a database that is not there, without an error; 3 has an error for a table that is not.
_QUESTION: Final = "SELECT energy_j FROM energy WHERE time > now() - 1s LIMIT 1"
_RIGHTS: Final = (
    "correct influxdb.username and influxdb.password_file, or influxdb.token_file, and let it read and write"
    " influxdb.database (docs/influxdb.md)"
)
_QUESTION_TO_3: Final = "SHOW MEASUREMENTS LIMIT 1"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Points that were refused for one reason, and the newest of them."""

    reason: str
    count: int
    line: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a coordinator's file holds on its way to an InfluxDB."""

    points: int
    dropped: int
    refusals: tuple[Refusals, ...]


def influx_findings(settings: "InfluxSettings", store: Path) -> Iterator[Finding]:
    """All of it."""
    with closing(InfluxServer(settings)) as server:
        yield from _server_findings(server)
    yield from waiting_findings(waiting_in(store), store)


def _server_findings(server: InfluxServer) -> Iterator[Finding]:
    try:
        identity = server.identify(TIMEOUT_S)
        yield Finding("influxdb", "ok", f"InfluxDB {identity.version.lstrip('v')} at {server.endpoint}")
        server.query(_QUESTION if identity.family != "3" else _QUESTION_TO_3, timeout_s=TIMEOUT_S)
    except InfluxQueryError as error:
        if "database not found" in error.reason:
            fix = "splitrail telemetry init --config coordinator.yaml"
            yield Finding("influxdb", "problem", f"it has no database {server.database}", fix)
        else:
            yield Finding("influxdb", "problem", f"it does not answer a query: {error.reason}")
    except InfluxDeniedError as error:
        says = f"{error.endpoint}: it does not let us ask the database {server.database} ({error.reason})"
        yield Finding("influxdb", "problem", says, _RIGHTS)
    except InfluxError as error:
        told = split_advice("influxdb", "problem", error.reason)
        yield Finding("influxdb", "problem", f"{error.endpoint}: {told.says}", told.fix)
    else:
        yield Finding("influxdb", "ok", f"it lets us ask the database {server.database}")


def waiting_in(store: Path) -> Waiting | None:
    """What waits in a store's file and what was refused; None where there is no such file, or it keeps neither.

    StoreError if it cannot be read.
    """
    if not store.is_file():
        return None
    # Without a log nobody writes to it; then even a reader would make one, which may belong to another user.
    way = "mode=ro" if store.with_name(f"{store.name}-wal").exists() else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{store.resolve().as_uri()}?{way}", uri=True, timeout=1.0)) as connection:
            return _waiting_in(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{store} cannot be read: {error}") from None


def _waiting_in(connection: sqlite3.Connection) -> Waiting | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"outgoing", "outgoing_dropped", "dead_letter"} <= tables:
        return None
    (points,) = connection.execute("SELECT coalesce(sum(points), 0) FROM outgoing").fetchone()
    (dropped,) = connection.execute("SELECT coalesce(sum(points), 0) FROM outgoing_dropped").fetchone()
    rows = connection.execute(
        # SQLite takes the bare column of a group from the row that holds max(id).
        "SELECT reason, count(*), line, max(id) FROM dead_letter GROUP BY reason ORDER BY max(id) DESC LIMIT ?",
        (MAX_REASONS,),
    ).fetchall()
    return Waiting(points, dropped, tuple(Refusals(row[0], row[1], _text(row[2])) for row in rows))


def waiting_findings(waiting: Waiting | None, store: Path) -> Iterator[Finding]:
    """What that means."""
    if waiting is None:
        yield Finding("influxdb: spool", "ok", f"{store} keeps nothing on its way yet")
        return
    if waiting.points:
        yield Finding("influxdb: spool", "ok", f"{waiting.points} points are on their way, or wait for it")
    else:
        yield Finding("influxdb: spool", "ok", "nothing waits")
    if waiting.dropped:
        says = f"{waiting.dropped} points were dropped, because more than influxdb.spool_mb waited"
        yield Finding("influxdb: spool", "note", says, "raise influxdb.spool_mb, or see why the server was away")
    for refusals in waiting.refusals:
        yield Finding(
            "influxdb: refused",
            "problem",
            f"{refusals.count} {'points' if refusals.count > 1 else 'point'}: {refusals.reason}; the newest: "
            f"{refusals.line[:200]}",
            "`splitrail telemetry dead-letters` gives them back, or removes them",
        )


def _text(line: bytes | str) -> str:
    return line.decode("utf-8", "replace") if isinstance(line, bytes) else line
