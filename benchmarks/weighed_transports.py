"""Libraries that carry bytes between processes, as ways beside ours, which was chosen over them: each at its fastest.

Each is loaded where it is measured, and nowhere else.
"""

import asyncio
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

from transport_ways import LENGTH, LOOPBACK, MOST_BYTES, Taker


class Zmq:
    """pyzmq, as it is fastest: ROUTER and DEALER without copies, all sockets on one thread."""

    def __init__(self, name: str, *, encrypted: bool) -> None:
        """Listen on any port, open or with CURVE."""
        import zmq  # noqa: PLC0415  # each way's library is loaded where it is measured

        self._zmq, self._name = zmq, name
        self._keys = zmq.curve_keypair() if encrypted else None
        self._context = zmq.Context()
        self._peers: dict[str, Any] = {}

    def listen(self, take: Taker) -> Any:
        """The endpoint, and the key."""
        router = self._context.socket(self._zmq.ROUTER)
        if self._keys:
            router.curve_publickey, router.curve_secretkey = self._keys
            router.curve_server = True
        port = router.bind_to_random_port(f"tcp://{LOOPBACK}")

        def run() -> None:
            while True:
                _, frame = router.recv_multipart(copy=False)
                take(frame.buffer)

        threading.Thread(target=run, daemon=True).start()
        return f"tcp://{LOOPBACK}:{port}", self._keys and self._keys[0]

    def connect(self, peer: str, address: Any) -> None:
        """A DEALER for each."""
        endpoint, key = address
        dealer = self._context.socket(self._zmq.DEALER)
        dealer.routing_id = self._name.encode()
        if self._keys:
            dealer.curve_publickey, dealer.curve_secretkey = self._keys
            dealer.curve_serverkey = key
        dealer.connect(endpoint)
        self._peers[peer] = dealer

    def send(self, peer: str, payload: memoryview) -> None:
        """From one thread each: the receiver's in the middle of the ring, the main one at its beginning."""
        self._peers[peer].send(payload, copy=False)


class Asyncio:
    """asyncio with buffered protocols, on its own loop or on uvloop's."""

    def __init__(self, *, on_uvloop: bool) -> None:
        """The loop runs on a thread."""
        if on_uvloop:
            import uvloop  # noqa: PLC0415  # as above

            self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        else:
            self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._peers: dict[str, asyncio.WriteTransport] = {}

    def listen(self, take: Taker) -> Any:
        """On any port."""

        async def begin() -> Any:
            server = await self._loop.create_server(lambda: _Buffered(take), LOOPBACK, 0)
            return server.sockets[0].getsockname()

        return asyncio.run_coroutine_threadsafe(begin(), self._loop).result()

    def connect(self, peer: str, address: Any) -> None:
        """A connection for what goes to it."""

        async def call() -> asyncio.WriteTransport:
            transport, _ = await self._loop.create_connection(asyncio.Protocol, *address)
            transport.set_write_buffer_limits(high=2 * MOST_BYTES)
            return transport

        self._peers[peer] = asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def send(self, peer: str, payload: memoryview) -> None:
        """On the loop's thread."""
        if threading.current_thread() is self._thread:
            self._write(peer, payload)
        else:
            self._loop.call_soon_threadsafe(self._write, peer, payload)

    def _write(self, peer: str, payload: memoryview) -> None:
        self._peers[peer].writelines([LENGTH.pack(len(payload)), payload])


class _Buffered(asyncio.BufferedProtocol):
    def __init__(self, take: Taker) -> None:
        self._take = take
        self._memory = memoryview(bytearray(LENGTH.size + MOST_BYTES))
        self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the protocol's signature
        return self._memory[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled >= LENGTH.size:
            whole = LENGTH.size + LENGTH.unpack_from(self._memory)[0]
            if self._filled >= whole:  # the next payload is sent once this one has come round
                self._filled = 0
                self._take(self._memory[LENGTH.size : whole])


class Grpc:
    """gRPC, one stream of bytes to each peer."""

    def __init__(self) -> None:
        """Payloads are bytes: it takes and gives nothing else."""
        import grpc  # type: ignore[import-untyped]  # noqa: PLC0415  # it ships no types; as above

        self._grpc = grpc
        self._options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._peers: dict[str, queue.SimpleQueue[bytes]] = {}
        self._held: list[Any] = []

    def listen(self, take: Taker) -> Any:
        """On any port."""
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # as above

        def carry(requests: Iterator[bytes], _: object) -> Iterator[bytes]:
            for payload in requests:
                take(memoryview(payload))
            yield b""

        server = self._grpc.server(ThreadPoolExecutor(4), options=self._options)
        handler = self._grpc.stream_stream_rpc_method_handler(carry)
        server.add_generic_rpc_handlers((self._grpc.method_handlers_generic_handler("way", {"carry": handler}),))
        port = server.add_insecure_port(f"{LOOPBACK}:0")
        server.start()
        self._held.append(server)
        return f"{LOOPBACK}:{port}"

    def connect(self, peer: str, address: Any) -> None:
        """A stream that is fed by a queue."""
        sent: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        channel = self._grpc.insecure_channel(address, options=self._options)
        self._held.append((channel, channel.stream_stream("/way/carry")(iter(sent.get, None))))
        self._peers[peer] = sent

    def send(self, peer: str, payload: memoryview) -> None:
        """A copy, as bytes."""
        self._peers[peer].put(bytes(payload))


class Mqtt:
    """paho-mqtt at QoS 0 through a Mosquitto, without delay on either side."""

    def __init__(self, name: str, port: int) -> None:
        """A client of the broker on this port."""
        from paho.mqtt.client import Client  # noqa: PLC0415  # as above
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion  # noqa: PLC0415  # as above

        self._name, self._port = name, port
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_socket_open = _without_delay

    def listen(self, take: Taker) -> Any:
        """By a topic of its own."""
        heard = threading.Event()
        self._client.on_message = lambda _, __, message: take(memoryview(message.payload))
        self._client.on_subscribe = lambda *_: heard.set()
        self._client.connect(LOOPBACK, self._port)
        self._client.loop_start()
        self._client.subscribe(f"way/{self._name}")
        if not heard.wait(10):
            raise TimeoutError("the broker confirms no subscription")
        return self._name

    def connect(self, peer: str, address: Any) -> None:
        """Nothing is to be done."""

    def send(self, peer: str, payload: memoryview) -> None:
        """A copy, as bytes."""
        self._client.publish(f"way/{peer}", bytes(payload))


def _without_delay(client: object, userdata: object, opened: Any) -> None:  # noqa: ARG001  # paho's signature
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
