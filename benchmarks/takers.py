"""Who takes what simulated agents say: a coordinator, or a bare subscriber that counts. Run by `simulated_site.py`.

Each first prints what its threads are called, and once it is asked to end, what it knows.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from simulated_agents import SITE

from coordinator.configuration import CoordinatorSettings
from coordinator.service import Coordinator
from coordinator.site import State
from splitrail.commands.coordinator import announcements


class Answer(NamedTuple):
    """What a coordinator knows at the end."""

    nodes: int
    links: int
    lost: int
    plans: int


def coordinate(settings: CoordinatorSettings) -> None:
    """Be the coordinator as `splitrail coordinator` is, until asked to end; then say what is known of the site."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    with Coordinator(settings, announce) as coordinator:
        say_threads()
        coordinator.run(ended)
        status = coordinator.status()
        plans = sum(deployment.plan.epoch for deployment in status.deployments if deployment.plan is not None)
        print(json.dumps(Answer(len(status.nodes), len(status.links), status.lost_telemetry, plans)), flush=True)


def announce(before: State, after: State) -> None:
    """What the command prints of a change is made, and thrown away."""
    announcements(before, after)


def count(port: int) -> None:
    """Be a bare subscriber that counts, until asked to end; then say how many readings came."""
    taken = 0

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        nonlocal taken
        taken += message.topic.endswith("/energy") or "/links/" in message.topic

    def end(_number: int, _frame: FrameType | None) -> None:
        print(taken, flush=True)
        os._exit(0)  # paho's loop would begin anew

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe(f"splitrail/v1/{SITE}/#", qos=1)
    signal.signal(signal.SIGTERM, end)
    say_threads()
    client.loop_forever()


def say_threads() -> None:
    """Print what the threads are called by now: the kernel knows their numbers alone."""
    names = {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id is not None}
    print(json.dumps(names), flush=True)


def decoded(kind: type, value: object) -> object:
    """A path of the settings, which JSON has as a text."""
    return kind(value)


def main() -> None:
    """Be the one that the first argument names: with the file of its settings, or the port of its broker."""
    if sys.argv[1] == "coordinate":
        text = Path(sys.argv[2]).read_bytes()
        coordinate(msgspec.json.decode(text, type=CoordinatorSettings, dec_hook=decoded))
    else:
        count(int(sys.argv[2]))


if __name__ == "__main__":
    main()
