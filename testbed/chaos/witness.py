"""What a site says over MQTT, heard from beside it: plans, replies, profiles, spools and how far telemetry has come.

It judges nothing, and outlives the broker.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.messages import InferReply, Leader, NodeProfile, Plan, SpoolReport, StageMiss, Telemetry
from broker.session import Incoming, Session
from broker.topics import ENERGY, INFERENCE, LEADER, LINK, LOAD, MISS, PLAN, PROFILE, REPLY, SPOOL
from coordinator.telemetry.store import reporter_of

Run = tuple[str, str]
"""A node and its session: one run of an agent."""


@dataclass(frozen=True, slots=True)
class Heard:
    """All that was heard so far; the mappings are copies."""

    plans: tuple[Plan, ...]
    """Each distinct one, in the order in which the broker sent them."""
    answers: Mapping[str, frozenset[str]]
    """By request: the inferences, or errors, that it was answered with. More than one is an answer too many."""
    profiles: Mapping[str, NodeProfile]
    marks: Mapping[Run, int]
    """The highest number of spooled telemetry of each run."""
    spools: Mapping[str, SpoolReport]
    """The newest of each node."""
    dropped: Mapping[Run, int]
    """How many pieces of telemetry each run has counted as dropped."""
    misses: tuple[StageMiss, ...]
    leader: Leader | None
    """Who was last heard to lead, or to release it."""


class Witness:
    """Listens on two sessions that are not yet started: one hears all of the site, the other the client's replies."""

    def __init__(self, session: Session, replies: Session) -> None:
        self._lock = threading.Lock()
        self._plans: list[Plan] = []
        self._answers: dict[str, frozenset[str]] = {}
        self._profiles: dict[str, NodeProfile] = {}
        self._marks: dict[Run, int] = {}
        self._spools: dict[str, SpoolReport] = {}
        self._dropped: dict[Run, int] = {}
        self._misses: list[StageMiss] = []
        self._leader: Leader | None = None
        for topic in (LEADER, PLAN, PROFILE, SPOOL, MISS, ENERGY, LOAD, LINK, INFERENCE):
            session.on(topic, self._hear)
        replies.on(REPLY, self._hear)

    def heard(self) -> Heard:
        """What was heard until now."""
        with self._lock:
            return Heard(
                tuple(self._plans),
                dict(self._answers),
                dict(self._profiles),
                dict(self._marks),
                dict(self._spools),
                dict(self._dropped),
                tuple(self._misses),
                self._leader,
            )

    def _hear(self, incoming: Incoming[Any]) -> None:
        message = incoming.message
        with self._lock:
            match message:
                case Plan() if message not in self._plans:
                    self._plans.append(message)
                case NodeProfile():
                    self._profiles[message.node] = message
                case InferReply():
                    known = self._answers.get(message.request_id, frozenset())
                    self._answers[message.request_id] = known | {_answer(message)}
                case Leader() if self._leader is None or message.term >= self._leader.term:
                    self._leader = message
                case SpoolReport():
                    self._spools[message.node] = message
                    self._dropped[message.node, message.session] = message.dropped
                case StageMiss() if not any(_is_same(message, known) for known in self._misses):
                    self._misses.append(message)
            if isinstance(message, Telemetry) and message.mark is not None:
                run = (reporter_of(message), message.mark.session)
                self._marks[run] = max(self._marks.get(run, 0), message.mark.sequence)


def _answer(reply: InferReply) -> str:
    return reply.report.request_id if reply.report is not None else f"error: {reply.error}"


def _is_same(one: StageMiss, other: StageMiss) -> bool:
    return (one.node, one.deployment, one.epoch, one.at) == (other.node, other.deployment, other.epoch, other.at)
