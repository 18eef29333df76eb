"""Who hears which topics of a site: the filters that cover them, each message once, and the handlers of a message.

A pure value; asking the broker for the filters, and calling the handlers, is `broker.session`'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from broker.foreign import ForeignSubscription
from broker.topics import Topic


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who hears a family of topics, or the one address in it that `levels` name."""

    topic: Topic[Any]
    levels: tuple[str, ...] | None
    handler: Callable[..., None]
    """Called with a message of the topic's payload type, as the session hands it on."""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """All of one session, in the order in which they were made."""

    site: str
    own: tuple[Subscription, ...] = ()
    foreign: tuple[ForeignSubscription, ...] = ()
    """Of topics of other systems."""
    by_pattern: Mapping[str, tuple[Subscription, ...]] = field(default_factory=dict)
    """Our own by their topic's pattern, so that a message need not ask all."""

    def joined_by(self, subscription: Subscription) -> Self:
        """These and one more."""
        pattern = subscription.topic.pattern
        alike = (*self.by_pattern.get(pattern, ()), subscription)
        return replace(self, own=(*self.own, subscription), by_pattern={**self.by_pattern, pattern: alike})

    def joined_by_foreign(self, subscription: ForeignSubscription) -> Self:
        """These and one more, of other systems' topics."""
        return replace(self, foreign=(*self.foreign, subscription))

    def filters(self) -> tuple[str, ...]:
        """Each filter once, in the order of registration: what is retained arrives in that order too."""
        foreign = (each.address_filter for each in self.foreign)
        return tuple(dict.fromkeys((*(self.filter_of(each.topic, each.levels) for each in self.own), *foreign)))

    def filter_of(self, topic: Topic[Any], levels: tuple[str, ...] | None) -> str:
        """The family's filter if anyone reads the whole family: overlapping filters would deliver a message twice."""
        if levels is None or any(each.topic is topic and each.levels is None for each in self.own):
            return topic.filter(self.site)
        return topic.address(self.site, *levels)

    def hearers(self, topic: Topic[Any], levels: tuple[str, ...]) -> list[Callable[..., None]]:
        """The handlers of a message on this topic with these levels."""
        alike = self.by_pattern.get(topic.pattern, ())
        return [each.handler for each in alike if each.levels is None or each.levels == levels]

    def foreign_hearers(self, address: str) -> list[ForeignSubscription]:
        """Who hears what another system says on this address."""
        return [each for each in self.foreign if each.covers(address)]
