"""Topics of other systems on the same broker: smart plugs that are heard, a home's hub that is told.

Outside the registry, so only bounded bytes pass; what they mean is for who asked to make out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from paho.mqtt.client import topic_matches_sub

from broker.errors import MalformedMessageError
from broker.topics import ROOT

MAX_FOREIGN_BYTES: Final = 64_000
MAX_ADDRESS: Final = 1_000

ForeignHandler = Callable[[str, bytes], None]
"""Gets the address and the payload of a message."""


@dataclass(frozen=True, slots=True)
class ForeignSubscription:
    """Who hears what is said under a filter."""

    address_filter: str
    handler: ForeignHandler

    def covers(self, address: str) -> bool:
        """Whether a message on `address` is meant for it."""
        return topic_matches_sub(self.address_filter, address)


def check_foreign_filter(address_filter: str) -> None:
    """MalformedMessageError unless it may be subscribed to: well formed, and no topic of ours can be under it."""
    _check_form(address_filter)
    levels = address_filter.split("/")
    if any("#" in level and (level != "#" or level is not levels[-1]) for level in levels) or any(
        "+" in level and level != "+" for level in levels
    ):
        raise MalformedMessageError(address_filter, "not a filter: `+` stands for a whole level, `#` for the last ones")
    if _may_be_ours(levels):
        raise MalformedMessageError(address_filter, "not a filter of other systems' topics: it covers our own")


def check_foreign_address(address: str) -> None:
    """MalformedMessageError unless it may be published on: well formed, and no topic of ours."""
    _check_form(address)
    if "+" in address or "#" in address:
        raise MalformedMessageError(address, "not a topic to publish on: it has MQTT's own signs, `+` or `#`")
    if _may_be_ours(address.split("/")):
        raise MalformedMessageError(address, "not a topic of another system: it is one of our own")


def _check_form(text: str) -> None:
    if not 0 < len(text) <= MAX_ADDRESS or text.startswith("$") or "\0" in text:
        raise MalformedMessageError(text[:100], f"not a topic: it takes 1 to {MAX_ADDRESS} characters, no `$` first")


def _may_be_ours(levels: list[str]) -> bool:
    for level, own in zip(levels, ROOT.split("/"), strict=False):
        if level == "#":
            return True
        if level not in ("+", own):
            return False
    return True
