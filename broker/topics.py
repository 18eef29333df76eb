"""The whole protocol on one page: every topic, what it carries, how surely it is delivered and whether it stays.

Topics hang under `splitrail/v1/<site>/`; a topic is a typed value that builds its own address and reads its payload.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import msgspec

from broker.errors import MalformedMessageError
from broker.messages import (
    DeploymentNotice,
    EnergyReading,
    InferenceReport,
    InferReply,
    InferRequest,
    Leader,
    LinkReading,
    MachineReading,
    Message,
    NameQuestion,
    NodeLoad,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    ProfileFailure,
    SpoolReport,
    StageMiss,
    TelemetryStored,
    TensorCall,
)
from broker.texts import with_bounded_texts

ROOT = "splitrail/v1"
_VARIABLE = re.compile(r"\{\w+\}")
_LEVEL = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"

M = TypeVar("M", bound=Message)


class Family:
    """Topics of one pattern, which names its variable levels in braces: their addresses, whatever they carry."""

    pattern: str
    qos: int
    retain: bool
    summary: str

    def address(self, site: str, *levels: str) -> str:
        """The topic for these levels, in the pattern's order."""
        template = _VARIABLE.sub("{}", self.pattern)
        return f"{ROOT}/{site}/{template.format(*levels)}"

    def filter(self, site: str) -> str:
        """The subscription that covers the whole family at a site."""
        return f"{ROOT}/{site}/{_VARIABLE.sub('+', self.pattern)}"

    def levels(self, address: str) -> tuple[str, ...] | None:
        """The variable levels of an address after its site, or None if it is of another family."""
        match = self._address_form.fullmatch(address)
        return match.groups() if match else None

    @cached_property
    def _level_names(self) -> tuple[str, ...]:
        return tuple(variable.strip("{}") for variable in _VARIABLE.findall(self.pattern))

    @cached_property
    def _address_form(self) -> re.Pattern[str]:
        return re.compile(rf"{ROOT}/{_LEVEL}/" + _VARIABLE.sub(f"({_LEVEL})", self.pattern))


@dataclass(frozen=True)
class Topic(Family, Generic[M]):
    """A family of topics of one payload type, which travels as JSON."""

    pattern: str
    payload: type[M]
    qos: int
    retain: bool
    summary: str

    def encode(self, message: M) -> bytes:
        """The message as UTF-8 JSON; a text that is too long for those who hear it is cut."""
        return msgspec.json.encode(with_bounded_texts(message))

    def decode(self, address: str, payload: bytes) -> M:
        """The message in `payload`; MalformedMessageError says what does not fit.

        The broker binds a topic to who may write it; so a message may speak of nobody else than its topic does.
        """
        try:
            message = self._decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessageError(address, f"not a {self.payload.__name__}: {error}") from None
        for name, level in zip(self._level_names, self.levels(address) or (), strict=False):
            if name in self.payload.__struct_fields__ and getattr(message, name) != level:
                raise MalformedMessageError(address, f"speaks of the {name} {getattr(message, name)!r}")
        return message

    @cached_property
    def _decoder(self) -> "msgspec.json.Decoder[M]":
        return msgspec.json.Decoder(self.payload)


@dataclass(frozen=True)
class BinaryTopic(Family):
    """A family of topics whose payloads are bytes of a form of their own; `form` says in words which."""

    pattern: str
    form: str
    qos: int
    retain: bool
    summary: str


STATUS = Topic("nodes/{node}/status", NodeStatus, 1, True, "birth and last will of a node")
PROFILE = Topic("nodes/{node}/profile/{model}", NodeProfile, 1, True, "the cost of a model's ops on a node")
UNPROFILED = Topic("nodes/{node}/unprofiled/{model}", ProfileFailure, 1, False, "why a node cannot profile a model")
ENERGY = Topic("nodes/{node}/energy", EnergyReading, 1, False, "a reading of a node's energy meter")
LOAD = Topic("nodes/{node}/load", NodeLoad, 1, True, "how much of a node's processor others take")
MACHINE = Topic("nodes/{node}/machine", MachineReading, 1, False, "processor, memory, temperature and throttling")
LINK = Topic("links/{src}/{dst}", LinkReading, 1, True, "a node's estimate of its link to another")
DEPLOYMENT = Topic("deployments/{deployment}", DeploymentNotice, 1, True, "a model that agents fetch and profile")
PLAN = Topic("plans/{deployment}", Plan, 1, True, "the partition plan in force")
READY = Topic("plans/{deployment}/ready/{node}", PlanReady, 1, False, "a node holds its part of a plan, or cannot")
INFERENCE = Topic("inferences/{deployment}/{origin}", InferenceReport, 1, False, "one inference: time, bytes, joules")
INFER = Topic("infer/{deployment}", InferRequest, 1, False, "a request, answered on its response topic")
REPLY = Topic("replies/{user}/{client}", InferReply, 1, False, "the response topics that our own clients ask for")
MISS = Topic("nodes/{node}/missed", StageMiss, 1, False, "a hop that did not come about in the time that it has")
STORED = Topic("nodes/{node}/stored", TelemetryStored, 0, False, "up to where a node's telemetry is stored")
SPOOL = Topic("nodes/{node}/spool", SpoolReport, 1, True, "what waits in a node's spool, and what was dropped")
LEADER = Topic("leader", Leader, 1, True, "which coordinator leads the site")
QUESTION = Topic("nodes/{node}/question", NameQuestion, 1, False, "an agent asks whether another has its name")
CALL = Topic("tensors/{dst}/{src}/call", TensorCall, 1, False, "an agent asks another to take tensors by the broker")
TENSORS = BinaryTopic(
    "tensors/{dst}/{src}", "chunks of tensors", 0, False, "what two agents tell each other that cannot connect directly"
)

TOPICS: tuple[Topic[Message], ...] = (  # type: ignore[assignment]  # a tuple of families of different payloads
    STATUS,
    PROFILE,
    UNPROFILED,
    ENERGY,
    LOAD,
    MACHINE,
    LINK,
    DEPLOYMENT,
    PLAN,
    READY,
    INFERENCE,
    INFER,
    REPLY,
    MISS,
    STORED,
    SPOOL,
    LEADER,
    QUESTION,
    CALL,
)
FAMILIES: tuple[Topic[Message] | BinaryTopic, ...] = (*TOPICS, TENSORS)
