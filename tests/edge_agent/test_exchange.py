"""What two nodes say to each other at the broker, and when: calls, confirmations, questions; by a clock of our own."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.chunks import CHUNK_BYTES, Heard, read_chunk, receipt
from edge_agent.exchange import AGAIN_S, FIRST_CALL_S, LISTENS_S, LONGEST_CALL_S, SILENCE_S, Exchange, Payload

ROOM = 2**28


def heard(reader: Exchange, payloads: list[Payload], at: float) -> list[bytes]:
    """What messages a reader makes of these."""
    arrived = [reader.take(read_chunk(bytes(payload)), at, ROOM) for payload in payloads]
    return [bytes(each.content) for each in arrived if each is not None]


def joined(at: float) -> tuple[Exchange, Exchange]:
    """Two ends that listen and know it of each other."""
    here, there = Exchange(), Exchange()
    here.called()
    there.called()
    for end in (here, there):
        end.begins()
    heard(there, here.payloads(at), at)
    heard(here, there.payloads(at), at)
    heard(there, here.payloads(at), at)
    assert here.listens(at)
    assert there.listens(at)
    return here, there


def settled(here: Exchange, there: Exchange, at: float) -> list[bytes]:
    """Let both speak until neither has anything to say; the messages that came there."""
    messages = []
    for _ in range(50):
        here.look(at)
        there.look(at)
        messages += heard(there, here.payloads(at), at)
        heard(here, there.payloads(at), at)
    return messages


def test_a_peer_that_was_not_heard_is_called_before_it_is_sent_anything() -> None:
    """What is sent to nobody would have to be sent again."""
    here = Exchange()
    here.put("message", [b"x"], 0.0)
    assert here.look(0.0)
    (question,) = here.payloads(0.0)
    assert read_chunk(bytes(question)).asks_again
    assert read_chunk(bytes(question)).part is None


def test_who_does_not_answer_is_called_ever_more_rarely() -> None:
    """A call costs the broker something too."""
    here = Exchange()
    here.put("message", [b"x"], 0.0)
    at, calls = 0.0, []
    while at < 60.0:
        if here.look(at):
            calls.append(at)
        at += 0.125
    pauses = [after - before for before, after in itertools.pairwise(calls)]
    assert pauses[0] == FIRST_CALL_S
    assert pauses == sorted(pauses)
    assert LONGEST_CALL_S <= pauses[-1] < LONGEST_CALL_S + 0.5


def test_what_waited_is_sent_to_who_answers() -> None:
    """Once, though both ask each other."""
    here, there = Exchange(), Exchange()
    here.put("message", [b"one"], 0.0)
    here.put("message", [b"two"], 0.0)
    here.begins()
    there.called()
    there.begins()
    assert settled(here, there, 0.0) == [b"one", b"two"]
    assert not here.kept_bytes


def test_a_peer_that_was_silent_for_long_is_called_again() -> None:
    """It may have closed its connection since."""
    here, there = joined(0.0)
    at = LISTENS_S + 1.0
    here.put("message", [b"x"], at)
    assert here.look(at)
    assert settled(here, there, at) == [b"x"]


def test_what_came_is_confirmed_by_what_is_sent_anyway() -> None:
    """A payload of its own says it only where nothing else does, after a moment."""
    here, there = joined(0.0)
    here.put("message", [b"question"], 1.0)
    assert heard(there, here.payloads(1.0), 1.0) == [b"question"]
    assert there.payloads(1.0) == []
    there.put("reply", [b"answer"], 1.0)
    (answer,) = there.payloads(1.0)
    heard(here, [answer], 1.0)
    assert not here.kept_bytes
    assert here.payloads(1.0) == []
    here.look(1.1)
    (confirmation,) = here.payloads(1.1)
    heard(there, [confirmation], 1.1)
    assert not there.kept_bytes


def test_a_payload_that_got_lost_is_sent_again() -> None:
    """Whether another follows, which shows the gap, or none does, which silence shows."""
    here, there = joined(0.0)
    here.put("message", [b"lost"], 1.0)
    here.payloads(1.0)
    here.put("message", [b"follows"], 1.0)
    assert settled(here, there, 1.0) == [b"lost", b"follows"]
    here.put("message", [b"lost too"], 2.0)
    here.payloads(2.0)
    assert settled(here, there, 3.0) == []
    assert settled(here, there, 3.0 + SILENCE_S) == [b"lost too"]


def test_who_asks_again_and_again_has_the_same_once_in_a_while() -> None:
    """A short question must not have a whole window said each time, which would be kept until the broker takes it."""
    here, _ = joined(0.0)
    here.put("message", [bytes(2 * CHUNK_BYTES)], 0.0)
    here.payloads(0.0)
    question, said_bytes = read_chunk(receipt(Heard(), asks_again=True)), 0
    for number in range(1_000):
        at = AGAIN_S * number / 500
        here.take(question, at, ROOM)
        here.look(at)
        said_bytes += sum(map(len, here.payloads(at)))
    assert said_bytes < 4 * 2 * CHUNK_BYTES


@given(lost=st.lists(st.booleans(), max_size=40), size_bytes=st.sampled_from([1, 3 * CHUNK_BYTES]))
def test_whatever_is_lost_between_each_message_arrives_once(lost: list[bool], size_bytes: int) -> None:
    """In order; what is said in both directions may be lost, calls too."""
    here, there = joined(0.0)
    messages = [bytes([number]) * size_bytes for number in range(3)]
    arrived: list[bytes] = []
    for number, content in enumerate(messages):
        here.put("message", [content], float(number))
    fates = iter(lost)
    at = 3.0
    for _ in range(30):
        for end in (here, there):
            end.look(at)
        arrived += heard(there, [each for each in here.payloads(at) if not next(fates, False)], at)
        heard(here, [each for each in there.payloads(at) if not next(fates, False)], at)
        at += SILENCE_S / 2
    assert arrived == messages
    assert not here.kept_bytes
