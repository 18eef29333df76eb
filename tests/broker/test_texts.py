"""No message is lost because a text in it is long: it is cut to what those who hear it admit."""

import msgspec
from made_site import announcement, birth_message

from broker.messages import InferReply, PlanReady
from broker.texts import with_bounded_texts
from broker.topics import READY, REPLY, STATUS

LONG = "no room; " * 1_000


def test_a_long_reason_is_cut_and_still_heard() -> None:
    """A node that refuses at length has still refused."""
    sent = PlanReady(deployment="photos", epoch=1, node="pi", ready=False, reason=LONG)
    heard = READY.decode("address", READY.encode(sent))
    assert heard.reason.startswith("no room; no room")
    assert len(heard.reason) == 2_000


def test_texts_within_are_cut_too() -> None:
    """A birth has its hardware in it, and an answer the report that failed."""
    hardware = msgspec.structs.replace(announcement("pi").hardware, cpu_model=LONG)
    born = birth_message("pi")
    assert born.announcement is not None
    sent = msgspec.structs.replace(born, announcement=msgspec.structs.replace(born.announcement, hardware=hardware))
    heard = STATUS.decode("address", STATUS.encode(sent))
    assert heard.announcement is not None
    assert len(heard.announcement.hardware.cpu_model) == 2_000


def test_a_message_that_fits_is_left_as_it_is() -> None:
    """What fits is not even copied."""
    message = birth_message("pi")
    assert with_bounded_texts(message) is message
    assert REPLY.decode("address", REPLY.encode(InferReply(request_id="r", error=None))).error is None
