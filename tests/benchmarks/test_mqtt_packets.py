"""MQTT's packets as simulated clients write and read them, by the standard's bounds of its digits of length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_packets import next_packet, packet, text

BODIES = st.binary(max_size=300) | st.integers(0, 70_000).map(bytes)


@pytest.mark.parametrize(
    ("length", "digits"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"), (16_384, b"\x80\x80\x01")],
)
def test_a_length_has_digits_of_seven_bits(length: int, digits: bytes) -> None:
    """As in MQTT v5, table 1-1."""
    assert packet(0x30, bytes(length)) == b"\x30" + digits + bytes(length)


@given(st.lists(st.tuples(st.integers(0, 255), BODIES), max_size=4), st.data())
def test_packets_are_read_as_they_were_written(packets: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """However they are cut on the way, none before it is whole."""
    stream = b"".join(packet(kind, body) for kind, body in packets)
    cut = data.draw(st.integers(0, len(stream)))
    received, found = bytearray(), []
    for piece in (stream[:cut], stream[cut:]):
        received += piece
        while (parsed := next_packet(received)) is not None:
            found.append(parsed)
    assert found == packets
    assert not received


def test_a_text_has_its_length_before_it() -> None:
    """In two bytes, the greater first."""
    assert text(b"MQTT") == b"\x00\x04MQTT"
