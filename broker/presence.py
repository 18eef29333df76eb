"""A node's presence on the broker: that its name is its own, its birth after every connection, its last will.

Only agents have one; the session that it lives in is `broker.session`'s.
"""

import itertools
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from broker.errors import NodeNameTakenError
from broker.messages import NameQuestion, NodeAnnouncement, NodeStatus
from broker.session import Incoming, Outgoing, Session
from broker.topics import QUESTION, STATUS

ANSWER_S = 2.0
"""How long a session that the broker remembers as alive has to say so."""
TIE_S = 1.0
"""Where only clocks tell, two that connected within this time of each other are told apart by their ids."""
ECHO_S = 10.0
"""How long the broker has to return what we say to it, before we do without."""
MAX_RIVALS = 16
MAX_BIRTHS = 10
BIRTHS_PERIOD_S = 1.0
_POLL_S = 0.05

log = logging.getLogger("splitrail.broker")


def new_session_id() -> str:
    """A fresh id for one run of an agent, by which a late death is told from a live one."""
    return uuid.uuid4().hex[:16]


def agent_client_id(node: str, session_id: str) -> str:
    """The client identifier under which the broker knows this run of the node's agent."""
    return f"agent-{node}-{session_id}"


def last_will(node: str, session_id: str) -> Outgoing[NodeStatus]:
    """The death that the broker publishes if this run of the node vanishes, or the session when it closes."""
    return Outgoing(STATUS, NodeStatus(node=node, session=session_id, state="offline"), (node,))


def outlives(session: str, connected_s: float, rival: NodeStatus) -> bool:
    """Whether `session`, connected for so long when it hears the birth of a rival of its name, is the one that stays.

    For a broker that does not tell who asked first. What a birth says has aged on its way, so each of two may think
    itself the elder and repeat its birth, until one has heard better; never do both think themselves the younger.
    """
    ahead_s = connected_s - rival.connected_s
    return session < rival.session if abs(ahead_s) < TIE_S else ahead_s > 0.0


class Presence:
    """Keeps the retained status of `node` true: born in this session, unless another session holds the name.

    After each connection it asks first: who lives under this name repeats its birth, and nobody else reads the
    question. Everybody gets the questions in the broker's one order: who asked first has been connected for longer.
    `on_birth` is called after each birth that follows a connection, on the network thread or on that of the
    caller; `term` tells the highest term that this node has heard of. Call `attend` often.
    """

    def __init__(
        self,
        session: Session,
        *,
        node: str,
        session_id: str,
        announcement: NodeAnnouncement,
        on_birth: Callable[[], None] = lambda: None,
        term: Callable[[], int] = lambda: 0,
        clock_s: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._node = node
        self._session_id = session_id
        self._announcement = announcement
        self._on_birth = on_birth
        self._term = term
        self._clock_s = clock_s
        self._wall_clock = wall_clock
        self._lock = threading.RLock()
        self._questions = itertools.count(1)
        self._connected_at = clock_s()
        self._connected_time = wall_clock()
        """The same in s since 1970, by the node's clock."""
        self._question = ""
        """What we asked after this connection."""
        self._awaits_echo = False
        """Until the broker has returned our question: what was retained or queued for us comes before."""
        self._has_place = False
        """Whether the broker has returned it: who asks from then on has come after us."""
        self._later: deque[str] = deque(maxlen=MAX_RIVALS)
        """The sessions that asked after us, the newest of them."""
        self._remembered: str | None = None
        """The other session that is alive for all that the broker has told."""
        self._answer_by = 0.0
        self._settled = threading.Event()
        self._is_public = False
        self._is_known = threading.Event()
        """Whether the broker has told our birth to us, and so to everybody."""
        self._winner: NodeStatus | None = None
        self._rivals: set[str] = set()
        self._births: list[float] = []
        self._owes_birth = False
        session.on_connected(self._ask)
        # The whole family: were it ours alone, a later subscription to the family would end it for a moment.
        session.on(STATUS, self._hear)
        session.on(QUESTION, self._hear_question, levels=(node,))

    def join(self) -> None:
        """Wait until the name is this session's: a moment, or two seconds if one that is gone seems to hold it.

        NodeNameTakenError if another session has been connected for longer. Nobody hears of this one before `announce`.
        """
        while not self._settled.wait(_POLL_S):
            self.attend()
        self.attend()

    def announce(self) -> None:
        """Publish the birth now, and after every connection; whoever connects once this has returned finds it.

        NodeNameTakenError if another session turns out to hold the name.
        """
        with self._lock:
            self._yield()
            self._is_public = True
            born = self._settled.is_set()
            if born:
                self._bear()
        if born:
            self._on_birth()
        told_by = self._clock_s() + ECHO_S
        while self._session.connected and self._clock_s() < told_by and not self._is_known.wait(_POLL_S):
            self.attend()
        self.attend()

    def attend(self) -> None:
        """Do what is due by the clock. NodeNameTakenError if the name is another session's: then end this one."""
        born = False
        with self._lock:
            self._yield()
            now = self._clock_s()
            if self._awaits_echo and self._session.connected and now - self._connected_at > ECHO_S:
                log.warning(
                    "the broker does not return the question of %s to it, so another agent of this name would not be "
                    "noticed: let this node read what it writes to nodes/%s/question",
                    self._node,
                    self._node,
                )
                self._awaits_echo = False
                born = self._settle()
            elif self._remembered is not None and not self._awaits_echo and now >= self._answer_by:
                log.info("another session of %s does not answer: it counts as gone", self._node)
                born = self._settle()
            elif self._owes_birth:
                self._repeat()
        if born:
            self._on_birth()

    def _yield(self) -> None:
        if self._winner is not None:
            raise NodeNameTakenError(self._node, self._winner.session)

    def _ask(self) -> None:
        with self._lock:
            self._connected_at, self._connected_time = self._clock_s(), self._wall_clock()
            self._settled.clear()
            self._remembered = None
            self._awaits_echo, self._has_place = True, False
            self._later.clear()
            self._question = f"{self._session_id}.{next(self._questions)}"
            question = NameQuestion(node=self._node, question=self._question)
        self._session.publish(QUESTION, question, self._node)

    def _hear_question(self, incoming: Incoming[NameQuestion]) -> None:
        question = incoming.message.question
        born = False
        with self._lock:
            if self._winner is not None:
                return  # one that has to leave says no more, or the other might leave to it
            if question == self._question:
                self._has_place = True
                if self._awaits_echo:
                    self._awaits_echo = False
                    self._answer_by = self._clock_s() + ANSWER_S
                    born = self._remembered is None and self._settle()
            elif not self._is_own(question):
                asker = question.rpartition(".")[0]
                if self._has_place and asker not in self._later:
                    self._later.append(asker)
                if self._settled.is_set():
                    self._repeat()
        if born:
            self._on_birth()

    def _is_own(self, question: str) -> bool:
        return question.rpartition(".")[0] == self._session_id

    def _hear(self, incoming: Incoming[NodeStatus]) -> None:
        status = incoming.message
        if status.node != self._node:
            return
        with self._lock:
            if self._winner is not None:
                return
            if self._awaits_echo:
                self._hear_history(status)
                return
            if status.session == self._session_id:
                if status.state == "online":
                    self._is_known.set()
                return
            if incoming.retained:
                return
            if status.state == "online":
                born = self._meet(status)
            elif self._settled.is_set():
                self._repeat()
                return
            else:
                born = status.session == self._remembered and self._settle()
        if born:
            self._on_birth()

    def _hear_history(self, status: NodeStatus) -> None:
        """What comes before our own question was retained, or queued while we were away."""
        if status.state == "online" and status.session != self._session_id:
            self._remembered = status.session
        elif status.session == self._remembered:
            self._remembered = None

    def _meet(self, rival: NodeStatus) -> bool:
        """Another session of this name is alive: one of the two leaves. Whether that was a birth of ours."""
        if not self._stays(rival):
            self._winner = rival
            return False
        if rival.session not in self._rivals and len(self._rivals) < MAX_RIVALS:
            self._rivals.add(rival.session)
            log.error(
                "another agent calls itself %r too (session %s) and has to leave: give each node a name of its own",
                self._node,
                rival.session,
            )
        if not self._settled.is_set():
            return rival.session == self._remembered and self._settle()
        self._repeat()
        return False

    def _stays(self, rival: NodeStatus) -> bool:
        if self._has_place:
            return rival.session in self._later
        return outlives(self._session_id, self._clock_s() - self._connected_at, rival)

    def _settle(self) -> bool:
        """The name is ours; whether that was a birth."""
        self._remembered = None
        self._settled.set()
        if self._is_public:
            self._bear()
        return self._is_public

    def _repeat(self) -> None:
        """Correct what another session of this name has published: at once, but only so often."""
        if not self._is_public:
            return
        now = self._clock_s()
        self._births = [at for at in self._births if now - at < BIRTHS_PERIOD_S]
        self._owes_birth = len(self._births) >= MAX_BIRTHS
        if not self._owes_birth:
            self._bear()

    def _bear(self) -> None:
        now = self._clock_s()
        self._births.append(now)
        self._owes_birth = False
        birth = NodeStatus(
            node=self._node,
            session=self._session_id,
            state="online",
            announcement=self._announcement,
            connected_s=max(0.0, now - self._connected_at),
            term=self._term(),
            at=self._connected_time,
        )
        self._session.publish(STATUS, birth, self._node)
