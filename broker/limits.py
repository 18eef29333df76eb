"""The limits of what may go out on a topic and come in: how large, with which figures, and where a reply may go.

Checks only; counting what is dropped is `broker.session`'s.
"""

import functools
from typing import Any

from broker.errors import MalformedMessageError
from broker.finite import first_non_finite
from broker.topics import INFER, ROOT, TOPICS, M, Topic

MAX_PAYLOAD_BYTES = 4_000_000  # a profile of 20,000 ops, two figures each of at most 25 characters, is 1 MB
MAX_IMAGE_PAYLOAD_BYTES = 24_000_000  # an image of 16 MB is 21.4 MB in base64
MAX_RESPONSE_TOPIC = 1_000
ADDRESSES_KNOWN = 8_192
"""Of the topics that were heard last it is remembered which they are: to look takes a tenth of a message's time."""


@functools.lru_cache(maxsize=ADDRESSES_KNOWN)
def family_of(address: str) -> tuple[Topic[Any] | None, tuple[str, ...]]:
    """The topic that an address is of, and its variable levels; None and () where it is no topic of ours."""
    for topic in TOPICS:
        levels = topic.levels(address)
        if levels is not None:
            return topic, levels
    return None, ()


def max_payload_bytes(topic: Topic[Any]) -> int:
    """How large a message on this topic may be."""
    return MAX_IMAGE_PAYLOAD_BYTES if topic is INFER else MAX_PAYLOAD_BYTES


def check_levels(topic: Topic[Any], levels: tuple[str, ...], address: str) -> None:
    """MalformedMessageError unless `address`, made of these levels, is of this topic and no other."""
    if topic.levels(address) != levels:
        raise MalformedMessageError(
            address, "not a topic: each level takes 1 to 64 letters, digits, `_`, `.` and `-`, no sign first"
        )


def encoded(topic: Topic[M], message: M) -> bytes:
    """The message as it travels; MalformedMessageError where a figure is not finite, which JSON cannot say."""
    where = first_non_finite(message)
    if where is not None:
        raise MalformedMessageError(topic.pattern, f"{where} is not a finite number")
    return topic.encode(message)


def may_answer(address: str, topic: Topic[Any]) -> bool:
    """Whether a requester may have its reply there: never on another topic of ours."""
    if not 0 < len(address) <= MAX_RESPONSE_TOPIC or address.startswith("$") or any(sign in address for sign in "+#\0"):
        return False
    return not address.startswith(f"{ROOT}/") or topic.levels(address) is not None
