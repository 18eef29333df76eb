"""What may go out on a topic and what may come in."""

import math

import pytest
from messages_to_send import energy

from broker.errors import MalformedMessageError
from broker.limits import check_levels, encoded, family_of, max_payload_bytes, may_answer
from broker.topics import ENERGY, INFER, LINK, REPLY, TOPICS


def test_an_address_tells_its_family() -> None:
    """And its levels; one that is no topic of ours is of none."""
    assert family_of(LINK.address("lab", "pi", "pc")) == (LINK, ("pi", "pc"))
    assert family_of("splitrail/v1/lab/links/pi") == (None, ())
    assert family_of("tele/plug/SENSOR") == (None, ())


def test_images_alone_may_be_large() -> None:
    """An image of 16 MB fits in base64; nothing else comes near to it."""
    assert max_payload_bytes(INFER) > 16_000_000 * 4 / 3
    assert {max_payload_bytes(topic) for topic in TOPICS if topic is not INFER} == {4_000_000}


def test_a_level_may_not_lead_to_another_topic() -> None:
    """With MQTT's own signs in it an address is refused."""
    check_levels(ENERGY, ("pi",), ENERGY.address("lab", "pi"))
    with pytest.raises(MalformedMessageError, match="not a topic"):
        check_levels(ENERGY, ("a/b",), ENERGY.address("lab", "a/b"))


def test_a_figure_that_json_does_not_have_is_named() -> None:
    """By its field, where it would have travelled as null."""
    assert encoded(ENERGY, energy(1)) == ENERGY.encode(energy(1))
    with pytest.raises(MalformedMessageError, match=r"power_w is not a finite number"):
        encoded(ENERGY, energy(1, power_w=math.nan))


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("replies/mine", True),
        (REPLY.address("lab", "alice", "1"), True),
        ("splitrail/v1/lab/plans/photos", False),
        ("splitrail/v1/lab/none/of/ours", False),
        ("a/+", False),
        ("a/#", False),
        ("a\0", False),
        ("$SYS/x", False),
        ("", False),
        ("x" * 1_001, False),
    ],
)
def test_a_reply_goes_where_it_does_no_harm(address: str, may: bool) -> None:
    """To a topic for replies or to another system's, and to no other topic of ours."""
    assert may_answer(address, REPLY) == may
