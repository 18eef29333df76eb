"""A paho client that takes from its socket as much as there is at once, and sends acknowledgements together.

Paho asks the kernel for each packet's first byte, its length and its body, and has it send each packet by itself: with
every call another thread may take the interpreter.
"""

from typing import Any, Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode

READ_BYTES: Final = 65_536
_PUBACK: Final = 0x40
_NO_PROPERTIES: Final = b"\0"
_LONGEST_PUBACK: Final = 8
_MOST_HELD_BYTES: Final = 16_384


class BufferedClient(mqtt.Client):
    """A client of MQTT 5; whoever drives it reads by `take`, and goes on while `has_read_ahead`.

    The kernel knows nothing of what was read ahead. After writing, `flush` sends the acknowledgements held back.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._ahead = b""
        self._place = 0
        self._held = bytearray()

    @property
    def has_read_ahead(self) -> bool:
        """Whether something was read from the socket that no packet was made of yet."""
        return self._place < len(self._ahead)

    def want_write(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._held) or super().want_write()

    def begin_anew(self) -> None:
        """Drop what belongs to another connection."""
        self._ahead, self._place = b"", 0
        self._held.clear()

    def take(self, most: int) -> None:
        """Read and handle what is there, so many packets at most."""
        for _ in range(most):
            result = self._packet_read()
            if result > 0:
                self._loop_rc_handle(result)
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or not self.has_read_ahead:
                return

    def flush(self) -> None:
        """Send what was held back, as far as the kernel takes it; a broken connection is noticed at the next read."""
        if self._held:
            try:
                del self._held[: super()._sock_send(self._held)]
            except OSError:
                return

    def _handle_publish(self) -> MQTTErrorCode:
        # What paho makes of a message without properties costs more than all that follows: a third of the time of a
        # coordinator's connection went into clearing the 27 properties that it might have.
        command, packet = self._in_packet["command"], self._in_packet["packet"]
        quality = command >> 1 & 3
        end_of_topic = 2 + int.from_bytes(packet[:2])
        start = end_of_topic + (2 if quality else 0)
        if quality > 1 or self.on_message is None or packet[start : start + 1] != _NO_PROPERTIES:
            return super()._handle_publish()
        message = mqtt.MQTTMessage(int.from_bytes(packet[end_of_topic:start]), bytes(packet[2:end_of_topic]))
        message.qos, message.retain, message.dup = quality, bool(command & 1), bool(command & 8)
        message.payload = bytes(packet[start + 1 :])
        self.on_message(self, None, message)
        return self._send_puback(message.mid) if quality else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _sock_recv(self, bufsize: int) -> bytes:
        # The one place where paho 2 reads; what it raises and returns at the end of a connection is the parent's.
        if not self.has_read_ahead:
            read = super()._sock_recv(max(bufsize, READ_BYTES))
            if len(read) <= bufsize:
                return read
            self._ahead, self._place = read, 0
        taken = self._ahead[self._place : self._place + bufsize]
        self._place += len(taken)
        return taken

    def _sock_send(self, buf: bytes | bytearray) -> int:
        # The one place where paho 2 writes; the order of what is sent stays as it is.
        if buf[0] == _PUBACK and len(buf) <= _LONGEST_PUBACK and len(self._held) < _MOST_HELD_BYTES:
            self._held += buf
            return len(buf)
        if not self._held:
            return super()._sock_send(buf)
        held = len(self._held)
        sent = super()._sock_send(self._held + buf)
        del self._held[:sent]
        if sent < held:
            raise BlockingIOError
        return sent - held
