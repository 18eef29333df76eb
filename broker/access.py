"""Who may write and read each family of topics, and those of other systems, and Mosquitto's ACL file made of it.

A table beside the registry: a family without an entry is closed to everybody.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from broker.discovery import COMPONENTS, DEFAULT_PREFIX, configuration_topic, hub_status_topic
from broker.topics import (
    CALL,
    DEPLOYMENT,
    ENERGY,
    INFER,
    INFERENCE,
    LEADER,
    LINK,
    LOAD,
    MACHINE,
    MISS,
    PLAN,
    PROFILE,
    QUESTION,
    READY,
    REPLY,
    ROOT,
    SPOOL,
    STATUS,
    STORED,
    TENSORS,
    UNPROFILED,
    Family,
)

Role = Literal["node", "coordinator", "client", "reader", "admin"]
"""What a user of the broker is: an agent, a coordinator, one who asks for inferences, one who only looks on (Home
Assistant, a dashboard), or the site's administrator."""

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Grant:
    """A right to a family of topics: to the whole of it, or where the level `own` bears the user's name."""

    role: Role
    own: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Who may write and who may read the topics of one family."""

    topic: Family
    writers: tuple[Grant, ...]
    readers: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user of the broker, by the name that it signs in with."""

    name: str
    role: Role
    plug_topic: str | None = None
    """Where the smart plug that measures a node says what it reads."""


_NODE = Grant("node")
_COORDINATOR = Grant("coordinator")
_CLIENT = Grant("client")
_READER = Grant("reader")
_ADMIN = Grant("admin")
_NODE_ITSELF = Grant("node", own="node")
# The administrator clears what a node that was shut out has left retained, and sees all that is said.
_KEPT_BY_NODE = (_NODE_ITSELF, _ADMIN)
_WATCHERS = (_COORDINATOR, _READER, _ADMIN)
_EVERYBODY = (_NODE, _COORDINATOR, _CLIENT, _READER, _ADMIN)

ACCESS: tuple[Access, ...] = (
    Access(STATUS, _KEPT_BY_NODE, _EVERYBODY),
    Access(PROFILE, _KEPT_BY_NODE, _WATCHERS),
    Access(UNPROFILED, (_NODE_ITSELF,), _WATCHERS),
    Access(ENERGY, (_NODE_ITSELF,), _WATCHERS),
    Access(LOAD, _KEPT_BY_NODE, _WATCHERS),
    Access(MACHINE, (_NODE_ITSELF,), _WATCHERS),
    Access(LINK, (Grant("node", own="src"), _ADMIN), _WATCHERS),
    Access(DEPLOYMENT, (_COORDINATOR,), _EVERYBODY),
    Access(PLAN, (_COORDINATOR,), (_NODE, *_WATCHERS)),
    Access(READY, (_NODE_ITSELF,), (_NODE, *_WATCHERS)),
    Access(INFERENCE, (Grant("node", own="origin"),), _WATCHERS),
    Access(INFER, (_CLIENT,), (_NODE,)),
    Access(REPLY, (_NODE,), (Grant("client", own="user"),)),
    Access(MISS, (_NODE_ITSELF,), _WATCHERS),
    Access(STORED, (_COORDINATOR,), (_NODE_ITSELF, *_WATCHERS)),
    Access(SPOOL, _KEPT_BY_NODE, _WATCHERS),
    Access(LEADER, (_COORDINATOR,), _EVERYBODY),
    Access(QUESTION, (_NODE_ITSELF,), (_NODE_ITSELF, _READER, _ADMIN)),
    Access(CALL, (Grant("node", own="src"),), (Grant("node", own="dst"),)),
    # What tensors show is for the node alone that they are sent to.
    Access(TENSORS, (Grant("node", own="src"),), (Grant("node", own="dst"),)),
)


def topic_filter(topic: Family, site: str, grant: Grant, user: str) -> str:
    """The filter of what a grant covers for a user: other levels than its own are free."""
    template = f"{ROOT}/{site}/{topic.pattern}"
    if grant.own is not None:
        template = template.replace(f"{{{grant.own}}}", user)
    return "/".join("+" if level.startswith("{") else level for level in template.split("/"))


def rules(site: str, user: User, discovery_prefix: str = DEFAULT_PREFIX) -> tuple[str, ...]:
    """The lines of Mosquitto's ACL file for one user, in the order of the registry; other systems' topics are last."""
    lines = []
    for access in ACCESS:
        for right, grants in (("write", access.writers), ("read", access.readers)):
            lines += [
                f"topic {right} {topic_filter(access.topic, site, grant, user.name)}"
                for grant in grants
                if grant.role == user.role
            ]
    return (*lines, *_foreign_rules(site, user, discovery_prefix))


def _foreign_rules(site: str, user: User, prefix: str) -> tuple[str, ...]:
    """What a user may do on other systems' topics: a node reads its plug, entities are announced and read."""
    match user.role:
        case "node" if user.plug_topic is not None:
            return (f"topic read {user.plug_topic}",)
        case "coordinator":
            # It reads what it announced, so as to clear what is no more.
            announced = (configuration_topic(prefix, component, site, "+") for component in COMPONENTS)
            return (*(f"topic readwrite {each}" for each in announced), f"topic read {hub_status_topic(prefix)}")
        case "reader":
            return (f"topic read {prefix}/#", f"topic write {hub_status_topic(prefix)}")
        case _:
            return ()


def acl_file(site: str, users: Iterable[User], discovery_prefix: str = DEFAULT_PREFIX) -> str:
    """Mosquitto's ACL file of a site: one stanza for each user, so that shutting one out takes its stanza away."""
    head = "# Made by `splitrail site`, which writes it anew at every change. What is not granted here is refused.\n"
    stanzas = ("\n".join((f"user {user.name}", *rules(site, user, discovery_prefix))) + "\n" for user in users)
    return "\n".join((head, *stanzas))
