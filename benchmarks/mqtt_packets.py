"""MQTT's packets as bytes, for simulated clients that a library's would be too slow for.

Which packets there are, and what is in them, is the clients' own.
"""

import struct


def packet(kind: int, body: bytes) -> bytes:
    """A packet: its kind and flags, the length of its body in digits of 7 bits, and its body."""
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | 128 if rest else digit)
        if not rest:
            return bytes([kind]) + bytes(length) + body


def text(content: bytes) -> bytes:
    """As MQTT writes a text: its length before it."""
    return struct.pack(">H", len(content)) + content


def next_packet(received: bytearray) -> tuple[int, bytes] | None:
    """The kind and the body of the next whole packet, taken off what was received; None before it is there."""
    length, shift = 0, 0
    for place in range(1, min(5, len(received))):
        length |= (received[place] & 0x7F) << shift
        shift += 7
        if not received[place] & 0x80:
            if len(received) < place + 1 + length:
                return None
            kind, body = received[0], bytes(received[place + 1 : place + 1 + length])
            del received[: place + 1 + length]
            return kind, body
    return None
