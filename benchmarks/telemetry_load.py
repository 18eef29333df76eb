"""The telemetry of 20 agents, as fast as it is kept up with: a process that publishes it, and says how much that was.

It never runs far ahead of those who take it: they say in a `Progress` where they are. Run by `telemetry_intake.py`.
"""

import itertools
import mmap
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import msgspec
from mqtt_packets import packet, text
from msgspec.structs import replace

from broker.messages import (
    EnergyReading,
    InferenceReport,
    LinkReading,
    MachineReading,
    SpoolMark,
    StageReport,
    Telemetry,
    TransferReport,
)
from broker.topics import ENERGY, INFERENCE, LINK, MACHINE

SITE = "intake"
NODES = 20
ROUTE = ("pi", "laptop", "pc")
# Of ten messages: six inferences over three nodes (six points each), two readings of meters, a machine's, a link's.
KINDS = (
    "inference",
    "energy",
    "inference",
    "inference",
    "machine",
    "inference",
    "energy",
    "inference",
    "link",
    "inference",
)
MOST_BEHIND = 4_000
"""How many messages the generator runs ahead of who takes them: less than any queue on the way holds."""


class Progress:
    """A number in a small file that two processes share."""

    def __init__(self, file: Path) -> None:
        file.touch()
        if file.stat().st_size < 8:
            file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 8)

    @property
    def count(self) -> int:
        """The number as the other process has left it."""
        (count,) = struct.unpack("<q", self._shared[:8])
        return int(count)

    @count.setter
    def count(self, value: int) -> None:
        self._shared[:8] = struct.pack("<q", value)


def inference(origin: str, request_id: str) -> InferenceReport:
    """An inference over three nodes, as its origin reports it."""
    return InferenceReport(
        deployment="photos",
        epoch=7,
        request_id=request_id,
        origin=origin,
        at=time.time(),
        latency_ms=41.25,
        stages=tuple(
            StageReport(node=name, start=10 * index, stop=10 * index + 10, compute_ms=7.123, wait_ms=0.25)
            for index, name in enumerate(ROUTE)
        ),
        transfers=tuple(
            TransferReport(src=src, dst=dst, size_bytes=150_528, transfer_ms=12.5)
            for src, dst in itertools.pairwise(ROUTE)
        ),
    )


def telemetry(kind: str, node: str, sequence: int) -> Telemetry:
    """One piece of telemetry of a node, as its spool hands it out."""
    mark = SpoolMark(session="load", sequence=sequence, oldest=max(1, sequence - 200), age_s=0.012)
    at = time.time()
    match kind:
        case "inference":
            report = inference(node, f"{node}-{sequence}")
            return replace(report, origin_energy_j=0.31, total_energy_j=0.42, model="mobilenet", mark=mark)
        case "energy":
            return EnergyReading(
                node=node,
                session="load",
                sequence=sequence,
                at=at,
                energy_j=3.5 * sequence,
                power_w=3.5,
                interval_s=1.0,
                meter="model",
                source="modelled",
                scope="board",
                mark=mark,
            )
        case "machine":
            return MachineReading(
                node=node,
                session="load",
                at=at,
                cpu=0.25,
                memory_used_mb=900.0,
                memory_total_mb=4_000.0,
                agent_memory_mb=120.5,
                temperature_c=51.25,
                mark=mark,
            )
        case _:
            return LinkReading(
                src=node,
                dst="pc",
                at=at,
                rtt_ms=3.5,
                rtt_ms_std=0.25,
                mbps=40.5,
                mbps_std=1.5,
                method="transfer",
                mark=mark,
            )


def publication(message: Telemetry, number: int) -> bytes:
    """The message as an MQTT 3.1.1 PUBLISH with QoS 1."""
    match message:
        case InferenceReport():
            address, payload = INFERENCE.address(SITE, "photos", message.origin), INFERENCE.encode(message)
        case EnergyReading():
            address, payload = ENERGY.address(SITE, message.node), ENERGY.encode(message)
        case MachineReading():
            address, payload = MACHINE.address(SITE, message.node), MACHINE.encode(message)
        case LinkReading():
            address, payload = LINK.address(SITE, message.src, message.dst), LINK.encode(message)
        case _:
            raise TypeError(message)
    return packet(0x32, text(address.encode()) + struct.pack(">H", number % 65_535 + 1) + payload)


def generate(port: int, progress: Progress, seconds: float) -> None:
    """Publish what is kept up with, for a while; print how many messages of each kind that were."""
    sent = dict.fromkeys(KINDS, 0)
    sequences = dict.fromkeys((f"node{number:02d}" for number in range(NODES)), 0)
    nodes = list(sequences)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # CONNECT of MQTT 3.1.1, clean session, no keep-alive; its version 5 would hold us to 20 messages at a time.
        connection.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04load")
        connection.recv(4)
        threading.Thread(target=_drain, args=(connection,), daemon=True).start()
        deadline, number = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            if number - progress.count > MOST_BEHIND:
                time.sleep(0.001)
                continue
            packets = []
            for _ in range(50):
                kind, node = KINDS[number % len(KINDS)], nodes[number // len(KINDS) % NODES]
                sequences[node] += 1
                packets.append(publication(telemetry(kind, node, sequences[node]), number))
                sent[kind] += 1
                number += 1
            connection.sendall(b"".join(packets))
        print(msgspec.json.encode(sent).decode(), flush=True)
        time.sleep(60.0)  # a broker drops what it has not read of a connection that is closed


def _drain(connection: socket.socket) -> None:
    """Read acknowledgements: what is sent is bounded by who takes it."""
    while connection.recv(65_536):
        pass


def main() -> None:
    """Publish for so many seconds, at the broker of this port, paced by this file."""
    port, progress, seconds = sys.argv[1:]
    generate(int(port), Progress(Path(progress)), float(seconds))


if __name__ == "__main__":
    main()
