"""Two real agents that call themselves the same: one stays, the other ends with a sentence."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eventually import eventually

from broker.messages import NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import STATUS


@contextmanager
def agent(directory: Path, mosquitto: PrivateMosquitto, site: str) -> Iterator[subprocess.Popen[str]]:
    """`splitrail agent` of the node `pi`, with a cache of its own."""
    directory.mkdir()
    config = directory / "agent.yaml"
    config.write_text(
        f"site: {site}\nnode: pi\ntier: edge\nbroker: {{port: {mosquitto.port}}}\ncache: cache\n"
        "tensors: {listen: 'tcp://127.0.0.1:0', security: open}\nenergy: {meter: modelled}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "splitrail", "agent", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def births(mosquitto: PrivateMosquitto, site: str) -> Iterator[list[NodeStatus]]:
    """Every birth at the site, in order."""
    heard: list[NodeStatus] = []
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-observer")
    session.on(STATUS, lambda incoming: heard.append(incoming.message) if incoming.message.announcement else None)
    with session:
        yield heard


def test_the_second_ends_with_one_sentence_and_the_first_is_not_disturbed(
    mosquitto: PrivateMosquitto, site: str, births: list[NodeStatus], tmp_path: Path
) -> None:
    """Exit code 2; every subscriber has the first one's endpoint, before and after."""
    with agent(tmp_path / "one", mosquitto, site) as first:
        assert eventually(lambda: births, 30)
        with agent(tmp_path / "two", mosquitto, site) as second:
            _, complaints = second.communicate(timeout=60)
        assert second.returncode == 2
        assert complaints.splitlines()[-1] == (
            "splitrail: another agent of this site calls itself 'pi' and has been connected for longer "
            f"(session {births[0].session}): give this one a name of its own, or stop the other"
        )
        assert "Traceback" not in complaints
        assert first.poll() is None
        assert {birth.session for birth in births} == {births[0].session}
        assert births[-1].announcement == births[0].announcement


def test_one_that_was_stopped_for_a_while_comes_back_as_the_elder(
    mosquitto: PrivateMosquitto, site: str, births: list[NodeStatus], tmp_path: Path
) -> None:
    """The one that took its place while it was silent leaves, with the sentence, as soon as it is heard again."""
    with agent(tmp_path / "one", mosquitto, site) as first:
        assert eventually(lambda: births, 30)
        first.send_signal(signal.SIGSTOP)
        with agent(tmp_path / "two", mosquitto, site) as second:
            assert eventually(lambda: births[-1].session != births[0].session, 30)
            first.send_signal(signal.SIGCONT)
            _, complaints = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "has been connected for longer" in complaints.splitlines()[-1]
        assert first.poll() is None
        assert eventually(lambda: births[-1].session == births[0].session)
