"""Which filters a session asks for, and who hears a message: laws over any order of registration."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from broker.foreign import ForeignSubscription
from broker.subscriptions import Subscription, Subscriptions
from broker.topics import ENERGY, LINK, READY, Topic

Wanted = tuple[Topic[Any], tuple[str, ...] | None]

WANTED = st.sampled_from(
    [
        (ENERGY, None),
        (ENERGY, ("pi",)),
        (ENERGY, ("pc",)),
        (LINK, None),
        (LINK, ("pi", "pc")),
        (READY, ("photos", "pi")),
    ]
)
HEARD = st.sampled_from([(ENERGY, ("pi",)), (ENERGY, ("nuc",)), (LINK, ("pi", "pc")), (READY, ("photos", "pi"))])


def nothing(_: object) -> None:
    pass


@given(st.lists(WANTED, max_size=8), HEARD)
def test_a_message_that_anyone_asked_for_is_delivered_once(
    wanted: list[Wanted], said: tuple[Topic[Any], tuple[str, ...]]
) -> None:
    """Exactly one filter covers it, whatever overlaps; none covers what nobody asked for."""
    subscriptions = Subscriptions("lab")
    for topic, levels in wanted:
        subscriptions = subscriptions.joined_by(Subscription(topic, levels, nothing))
    topic, levels = said
    address = topic.address("lab", *levels)
    covering = [each for each in subscriptions.filters() if topic_matches_sub(each, address)]
    hearers = subscriptions.hearers(topic, levels)
    assert len(covering) == bool(hearers)
    assert len(hearers) == sum(each in ((topic, None), said) for each in wanted)


def test_filters_come_in_the_order_of_registration() -> None:
    """Each once, and those of other systems' topics last."""
    subscriptions = Subscriptions("lab").joined_by_foreign(ForeignSubscription("tele/#", lambda *_: None))
    for topic, levels in ((READY, None), (ENERGY, ("pi",)), (LINK, None), (ENERGY, ("pi",))):
        subscriptions = subscriptions.joined_by(Subscription(topic, levels, nothing))
    assert subscriptions.filters() == (
        "splitrail/v1/lab/plans/+/ready/+",
        "splitrail/v1/lab/nodes/pi/energy",
        "splitrail/v1/lab/links/+/+",
        "tele/#",
    )


def test_another_system_s_topic_is_heard_by_each_who_asked() -> None:
    """As often as filters cover it."""
    subscriptions = Subscriptions("lab")
    for address_filter in ("tele/+/SENSOR", "tele/#", "stat/#"):
        subscriptions = subscriptions.joined_by_foreign(ForeignSubscription(address_filter, lambda *_: None))
    hearers = subscriptions.foreign_hearers("tele/plug/SENSOR")
    assert [each.address_filter for each in hearers] == ["tele/+/SENSOR", "tele/#"]
