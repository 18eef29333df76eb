"""How long a 60-byte MQTT message takes on a thin link: while it is idle, full of tensors, and full of paced tensors.

    python benchmarks/control_messages.py        (as root: the link is made of two network namespaces and tbf)

The broker, a subscriber and the receiving transport are beyond the link; each message's way is there and back again.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from taking import Taking
from thin_link import FAR, FAR_ADDRESS, MBPS, NEAR, NEAR_ADDRESS, enter, thin_link

from edge_agent.deliveries import Delivery
from edge_agent.errors import SendError
from edge_agent.keys import make_key
from edge_agent.prober import LinkProber
from edge_agent.probes import LinkSettings
from edge_agent.transport import Transport
from edge_agent.wire import Route, TensorsMessage

MQTT_PORT, TENSOR_PORT = 18_883, 15_757
TENSOR_BYTES = 3_000_000
IN_FLIGHT = 3
MESSAGE = bytes(60)
APART_S = 0.02
BROKER = f"""listener {MQTT_PORT} {FAR_ADDRESS}
allow_anonymous true
set_tcp_nodelay true
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One condition: the messages' round trips, and what the tensors got meanwhile."""

    condition: str
    pacing: float | None
    messages: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    tensors_mbps: float
    believed_mbps: float | None
    """What the sender's prober tells the cost model of the link."""


def client(name: str) -> mqtt.Client:
    """A connected MQTT client without delay, whose thread runs."""
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    made.on_socket_open = lambda _client, _data, opened: cast("socket.socket", opened).setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    for attempt in range(50):
        try:
            made.connect(FAR_ADDRESS, MQTT_PORT)
            break
        except OSError:
            if attempt == 49:
                raise
            time.sleep(0.1)
    made.loop_start()
    return made


def far(connection: Connection) -> None:
    """Beyond the link: the broker, a subscriber that answers each message, and a transport that takes tensors."""
    enter(FAR)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        configuration = Path(directory) / "mosquitto.conf"
        configuration.write_text(BROKER, encoding="ascii")
        mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        broker = subprocess.Popen([mosquitto, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        stack.callback(broker.wait)
        stack.callback(broker.terminate)
        answering = client("far")
        stack.callback(answering.loop_stop)
        stack.callback(answering.disconnect)

        def answer(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
            answering.publish("back", message.payload, qos=1)

        answering.on_message = answer
        answering.subscribe("there", qos=1)
        key = connection.recv()
        transport = stack.enter_context(Transport("far", f"tcp://{FAR_ADDRESS}:{TENSOR_PORT}", key[1]))
        transport.start(Taking())
        transport.connect("near", f"tcp://{NEAR_ADDRESS}:{TENSOR_PORT}", key[0].public)
        connection.send("ready")
        connection.recv()


def near(connection: Connection, condition: str, pacing: float | None, seconds: float, congestion: str) -> None:
    """Before the link: a transport that fills it, or does not, and a client that times its messages."""
    enter(NEAR)
    keys = (make_key(), make_key())
    connection.send(keys)
    connection.recv()
    room = threading.Semaphore(IN_FLIGHT)
    delivered_bytes = 0

    def delivered(delivery: Delivery) -> None:
        nonlocal delivered_bytes
        delivered_bytes += delivery.size_bytes
        room.release()

    with Transport("near", f"tcp://{NEAR_ADDRESS}:{TENSOR_PORT}", keys[0]) as transport:
        prober = LinkProber(
            "near", transport, LinkSettings(), is_loading=lambda _: False, publish=lambda _: None, pacing=pacing
        )
        transport.start(Taking(delivered), prober)
        transport.connect("far", f"tcp://{FAR_ADDRESS}:{TENSOR_PORT}", keys[1].public)
        prober.start()
        time.sleep(1.0)
        choose_congestion_control(congestion)
        over = threading.Event()
        filling = threading.Thread(target=fill, args=(transport, room, over))
        time.sleep(8.0)  # until the link is known
        if condition != "idle":
            filling.start()
            time.sleep(8.0)
        before, start = delivered_bytes, time.monotonic()
        taken_ms = round_trips(seconds)
        mbps = 8 * (delivered_bytes - before) / (time.monotonic() - start) / 1e6
        estimate = prober.estimate("far")
        over.set()
        if filling.is_alive():
            filling.join()
        prober.close()
    connection.send(
        Measured(
            condition=condition,
            pacing=pacing,
            messages=len(taken_ms),
            p50_ms=statistics.median(taken_ms),
            p99_ms=statistics.quantiles(taken_ms, n=100)[98],
            max_ms=max(taken_ms),
            tensors_mbps=mbps,
            believed_mbps=estimate.mbps if estimate else None,
        )
    )


def choose_congestion_control(name: str) -> None:
    """Let the tensors' connection use this; a namespace's own choice may not be ours to make."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as each:
            if each.family != socket.AF_UNIX and each.getpeername()[1] == TENSOR_PORT:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())


def fill(transport: Transport, room: threading.Semaphore, over: threading.Event) -> None:
    """Keep IN_FLIGHT messages of tensors under way."""
    values = np.random.default_rng(1).integers(-128, 127, TENSOR_BYTES, np.int8)
    number = 0
    while not over.is_set():
        if not room.acquire(timeout=0.2):
            continue
        number += 1
        try:
            route = Route("benchmark", 1, number.to_bytes(16, "little"), 0)
            transport.send("far", TensorsMessage(route, (values,)))
        except SendError:
            room.release()
            time.sleep(0.1)


def round_trips(seconds: float) -> list[float]:
    """How long each message took over the link, to the subscriber and back, in ms; QoS 1 all the way."""
    answered = threading.Event()
    pinging = client("near")
    pinging.on_message = lambda *_: answered.set()
    pinging.subscribe("back", qos=1)
    time.sleep(0.5)
    taken_ms = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answered.clear()
        start = time.perf_counter()
        pinging.publish("there", MESSAGE, qos=1)
        if not answered.wait(30):
            raise TimeoutError("a message was not answered in 30 s")
        taken_ms.append((time.perf_counter() - start) * 1e3)
        time.sleep(APART_S)
    pinging.disconnect()
    pinging.loop_stop()
    return taken_ms


def measured(condition: str, pacing: float | None, seconds: float, congestion: str) -> Measured:
    """One condition, between two new processes."""
    spawn = multiprocessing.get_context("spawn")
    near_end, near_far_end = spawn.Pipe()
    far_end, far_far_end = spawn.Pipe()
    processes = [
        spawn.Process(target=near, args=(near_far_end, condition, pacing, seconds, congestion), daemon=True),
        spawn.Process(target=far, args=(far_far_end,), daemon=True),
    ]
    for process in processes:
        process.start()
    near_far_end.close()  # so that the end of a process is noticed
    far_far_end.close()
    try:
        far_end.send(near_end.recv())
        near_end.send(far_end.recv())
        result: Measured = near_end.recv()
        far_end.send("over")
        for process in processes:
            process.join(10)
        return result
    finally:
        for process in processes:
            process.kill()


def fail(reason: str) -> NoReturn:
    """Say in one line why such a link cannot be made, and exit 2."""
    print(f"control_messages: no thin link can be made here: {reason}", file=sys.stderr)
    raise SystemExit(2)


def main() -> None:
    """Print a row for each condition; exit 2 where such a link cannot be made."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=30.0, help="of messages in each condition")
    arguments.add_argument("--shares", default="0.95,0.9,0.85,0.8", help="the pacing shares to measure")
    arguments.add_argument("--congestion", default="cubic", help="TCP's congestion control, as Linux names it")
    arguments.add_argument("--json", type=Path, help="write the figures there too")
    chosen = arguments.parse_args()
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        fail("it takes root, and the commands ip and tc")
    conditions: list[tuple[str, float | None]] = [("idle", None), ("unpaced tensors", None)]
    conditions += [("paced tensors", float(share)) for share in chosen.shares.split(",")]
    try:
        with thin_link():
            print(f"link: {MBPS} Mbit/s (tbf, emulated, one machine); tensors of {TENSOR_BYTES / 1e6:g} MB under TLS,")
            print(f"{IN_FLIGHT} under way, over {chosen.congestion}; messages of 60 bytes there and back, QoS 1")
            print(f"{'condition':<18} {'share':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'Mbit/s':>7} {'told':>6}")
            results = [measured(*condition, chosen.seconds, chosen.congestion) for condition in conditions]
            for each in results:
                share = "" if each.pacing is None else f"{each.pacing:g}"
                told = "" if each.believed_mbps is None else f"{each.believed_mbps:.1f}"
                print(
                    f"{each.condition:<18} {share:>6} {each.p50_ms:>8.2f} {each.p99_ms:>8.2f} {each.max_ms:>8.1f}"
                    f" {each.tensors_mbps:>7.1f} {told:>6}"
                )
    except (OSError, EOFError, subprocess.CalledProcessError) as error:
        fail(str(error))
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
