"""What is kept only when it says something new: the broker repeats it at every connection, and nodes at every attempt.

Telemetry with a mark is told apart by its ledger, and is no part of this. Rows of the store's file.
"""

import hashlib
import sqlite3
from typing import Final

import msgspec

from broker.messages import NodeProfile, NodeStatus, Plan, PlanReady, ProfileFailure
from coordinator.telemetry.store import Storable

MAX_SUBJECTS: Final = 20_000
"""Nodes that are born for ever have as many; what was heard of longest ago is forgotten first."""


def is_news(connection: sqlite3.Connection, message: Storable, heard_at: float) -> bool:
    """Whether a message says something else than the last one on its subject did; the store remembers it then."""
    said = _said(message)
    if said is None:
        return True
    subject, content = said
    before = connection.execute("SELECT content FROM said WHERE subject = ?", (subject,)).fetchone()
    connection.execute("INSERT OR REPLACE INTO said VALUES (?, ?, ?)", (subject, content, heard_at))
    if isinstance(message, Plan):
        connection.execute(
            "INSERT INTO epoch VALUES (?, ?) ON CONFLICT (deployment) DO UPDATE SET epoch = max(epoch, excluded.epoch)",
            (message.deployment, message.epoch),
        )
    return before is None or before[0] != content


def last_epoch(connection: sqlite3.Connection, deployment: str) -> int:
    """The highest epoch of the plans of a deployment that were ever kept; 0 if there were none."""
    row = connection.execute("SELECT epoch FROM epoch WHERE deployment = ?", (deployment,)).fetchone()
    return int(row[0]) if row is not None else 0


def forget(connection: sqlite3.Connection, before: float) -> None:
    """Forget what was last heard before that time (s since 1970), and what is too much."""
    connection.execute("DELETE FROM said WHERE heard_at < ?", (before,))
    connection.execute(
        "DELETE FROM said WHERE subject IN (SELECT subject FROM said ORDER BY heard_at DESC LIMIT -1 OFFSET ?)",
        (MAX_SUBJECTS,),
    )


def _said(message: Storable) -> tuple[str, str] | None:
    """The subject of a message and what it says of it; None of what is never repeated. Names have no spaces."""
    match message:
        case NodeStatus():
            return f"status {message.node} {message.session}", f"{message.state} {message.at!r}"
        case Plan():
            return f"plan {message.deployment}", f"{message.epoch} {message.created_at!r}"
        case PlanReady():
            return f"ready {message.deployment} {message.node}", f"{message.epoch} {message.ready} {message.reason}"
        case NodeProfile():
            content = hashlib.sha256(msgspec.msgpack.encode(message)).hexdigest()
            return f"profile {message.node} {message.model}", content
        case ProfileFailure():
            return f"unprofiled {message.node} {message.model}", message.reason
        case _:
            return None
