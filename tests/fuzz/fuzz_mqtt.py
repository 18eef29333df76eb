"""MQTT payloads: the first byte picks the topic, the second its address, and the rest is the payload."""

from collections.abc import Iterator

import msgspec
from messages_to_fuzz import examples

from broker.errors import MalformedMessageError
from broker.finite import first_non_finite
from broker.topics import TOPICS

LEVELS = 3


def run(data: bytes) -> None:
    """Decode as a session does; what is taken must survive being sent on."""
    if len(data) < 2:
        return
    topic, rest = TOPICS[data[0] % len(TOPICS)], data[2:]
    address, separator, payload = rest.partition(b"\n")
    levels = topic.levels(address.decode(errors="replace"))
    assert levels is None or topic.address("site", *levels).split("/")[3:]
    try:
        message = topic.decode("address", payload if separator else rest)
    except MalformedMessageError as error:
        assert "\n" not in str(error).splitlines()[0]
        return
    if first_non_finite(message) is None:
        assert topic.decode("address", topic.encode(message)) == message


def seeds() -> Iterator[bytes]:
    """One valid message of each topic."""
    for index, topic in enumerate(TOPICS):
        levels = ("pi",) * topic.pattern.count("{")
        for message in examples(topic.payload):
            yield bytes((index, 0)) + topic.address("site", *levels).encode() + b"\n" + msgspec.json.encode(message)
