"""A node's presence on the broker: its birth after every connection, its last will, and no death but its own.

Only agents have one; the session that it lives in is `broker.session`'s.
"""

import logging
import uuid

from broker.messages import NodeAnnouncement, NodeStatus
from broker.session import Incoming, Outgoing, Session
from broker.topics import STATUS

MAX_RIVALS = 16

log = logging.getLogger("splitrail.broker")


def new_session_id() -> str:
    """A fresh id for one run of an agent, by which a late death is told from a live one."""
    return uuid.uuid4().hex[:16]


def last_will(node: str, session_id: str) -> Outgoing[NodeStatus]:
    """The death that the broker publishes if this run of the node vanishes, or the session when it closes."""
    return Outgoing(STATUS, NodeStatus(node=node, session=session_id, state="offline"), (node,))


class Presence:
    """Keeps the retained status of `node` true: born in this session until it is closed."""

    def __init__(self, session: Session, *, node: str, session_id: str, announcement: NodeAnnouncement) -> None:
        self._session = session
        self._birth = NodeStatus(node=node, session=session_id, state="online", announcement=announcement)
        self._rivals: set[str] = set()
        session.on_connected(self._announce)
        session.on(STATUS, self._watch, levels=(node,))

    def _announce(self) -> None:
        self._session.publish(STATUS, self._birth, self._birth.node)

    def _watch(self, incoming: Incoming[NodeStatus]) -> None:
        status = incoming.message
        # What was retained before our birth is history, which our birth overwrites.
        if incoming.retained or status.session == self._birth.session:
            return
        if status.state == "offline":
            log.info("a late death of another session of %s is corrected", self._birth.node)
            self._announce()
        elif status.session not in self._rivals and len(self._rivals) < MAX_RIVALS:
            self._rivals.add(status.session)
            log.error(
                "another agent calls itself %r too (session %s): give each node a name of its own",
                self._birth.node,
                status.session,
            )
            # The other one learns of us by this, and says the same.
            self._announce()
