"""Who may write and read each family of topics, and Mosquitto's ACL file made of it.

A table beside the registry: a family without an entry is closed to everybody.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from broker.topics import (
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
    UNPROFILED,
    Topic,
)

Role = Literal["node", "coordinator", "client", "admin"]
"""What a user of the broker is: an agent, a coordinator, one who asks for inferences, or the site's administrator."""

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Grant:
    """A right to a family of topics: to the whole of it, or where the level `own` bears the user's name."""

    role: Role
    own: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Who may write and who may read the topics of one family."""

    topic: Topic[Any]
    writers: tuple[Grant, ...]
    readers: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class User:
    """A user of the broker, by the name that it signs in with."""

    name: str
    role: Role


_NODE = Grant("node")
_COORDINATOR = Grant("coordinator")
_CLIENT = Grant("client")
_ADMIN = Grant("admin")
_NODE_ITSELF = Grant("node", own="node")
# The administrator clears what a node that was shut out has left retained, and sees all that is said.
_KEPT_BY_NODE = (_NODE_ITSELF, _ADMIN)
_FOR_COORDINATOR = (_COORDINATOR, _ADMIN)

ACCESS: tuple[Access, ...] = (
    Access(STATUS, _KEPT_BY_NODE, (_NODE, _COORDINATOR, _CLIENT, _ADMIN)),
    Access(PROFILE, _KEPT_BY_NODE, _FOR_COORDINATOR),
    Access(UNPROFILED, (_NODE_ITSELF,), _FOR_COORDINATOR),
    Access(ENERGY, (_NODE_ITSELF,), _FOR_COORDINATOR),
    Access(LOAD, _KEPT_BY_NODE, _FOR_COORDINATOR),
    Access(MACHINE, (_NODE_ITSELF,), _FOR_COORDINATOR),
    Access(LINK, (Grant("node", own="src"), _ADMIN), _FOR_COORDINATOR),
    Access(DEPLOYMENT, (_COORDINATOR,), (_NODE, _COORDINATOR, _CLIENT, _ADMIN)),
    Access(PLAN, (_COORDINATOR,), (_NODE, _COORDINATOR, _ADMIN)),
    Access(READY, (_NODE_ITSELF,), (_NODE, _COORDINATOR, _ADMIN)),
    Access(INFERENCE, (Grant("node", own="origin"),), _FOR_COORDINATOR),
    Access(INFER, (_CLIENT,), (_NODE,)),
    Access(REPLY, (_NODE,), (Grant("client", own="user"),)),
    Access(MISS, (_NODE_ITSELF,), _FOR_COORDINATOR),
    Access(STORED, (_COORDINATOR,), (_NODE_ITSELF, _COORDINATOR, _ADMIN)),
    Access(SPOOL, _KEPT_BY_NODE, _FOR_COORDINATOR),
    Access(LEADER, (_COORDINATOR,), (_NODE, _COORDINATOR, _CLIENT, _ADMIN)),
    Access(QUESTION, (_NODE_ITSELF,), (_NODE_ITSELF, _ADMIN)),
)


def topic_filter(topic: Topic[Any], site: str, grant: Grant, user: str) -> str:
    """The filter of what a grant covers for a user: other levels than its own are free."""
    template = f"{ROOT}/{site}/{topic.pattern}"
    if grant.own is not None:
        template = template.replace(f"{{{grant.own}}}", user)
    return "/".join("+" if level.startswith("{") else level for level in template.split("/"))


def rules(site: str, user: User) -> tuple[str, ...]:
    """The lines of Mosquitto's ACL file for one user, in the order of the registry."""
    lines = []
    for access in ACCESS:
        for right, grants in (("write", access.writers), ("read", access.readers)):
            lines += [
                f"topic {right} {topic_filter(access.topic, site, grant, user.name)}"
                for grant in grants
                if grant.role == user.role
            ]
    return tuple(lines)


def acl_file(site: str, users: Iterable[User]) -> str:
    """Mosquitto's ACL file of a site: one stanza for each user, so that shutting one out takes its stanza away."""
    head = "# Made by `splitrail site`, which writes it anew at every change. What is not granted here is refused.\n"
    stanzas = ("\n".join((f"user {user.name}", *rules(site, user))) + "\n" for user in users)
    return "\n".join((head, *stanzas))
