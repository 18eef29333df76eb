"""An agent's own telemetry: everything that it measures goes through its spool."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from eventually import eventually

from broker.messages import EnergyReading, NodeStatus, SpoolReport, TelemetryStored
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import ENERGY, SPOOL, STATUS, STORED
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, EnergySettings, SpoolSettings, TensorSettings
from edge_agent.errors import SpoolError


def settings(directory: Path, mosquitto: PrivateMosquitto, site: str, node: str = "pi") -> AgentSettings:
    return AgentSettings(
        site=site,
        node=node,
        tier="edge",
        broker=mosquitto.settings,
        cache=directory / node,
        spool=SpoolSettings(file=directory / "spool.sqlite"),
        tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open"),
        energy=EnergySettings(meter="modelled", interval_s=0.1),
    )


def waiting(spool: Path) -> int:
    with closing(sqlite3.connect(spool, timeout=10.0)) as connection:
        return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])


def test_what_an_agent_measures_is_marked_and_kept_until_it_is_stored(
    tmp_path: Path, mosquitto: PrivateMosquitto, site: str
) -> None:
    """The marks bear the session of the node's birth; the spool is empty once the coordinator has said so."""
    births: list[NodeStatus] = []
    readings: list[EnergyReading] = []
    reports: list[SpoolReport] = []
    agent = Agent(settings(tmp_path, mosquitto, site))
    coordinator = Session(mosquitto.settings, site=site, client_id=f"coordinator-{site}")
    coordinator.on(STATUS, lambda incoming: births.append(incoming.message))
    coordinator.on(ENERGY, lambda incoming: readings.append(incoming.message))
    coordinator.on(SPOOL, lambda incoming: reports.append(incoming.message))
    with coordinator:
        try:
            agent.start()
            deadline = time.monotonic() + 20.0
            while len(readings) < 3 and time.monotonic() < deadline:
                time.sleep(agent.tick())
            session = next(each.session for each in births if each.state == "online")
            marks = [reading.mark for reading in readings]
            assert all(mark is not None and mark.session == session for mark in marks)
            numbers = [mark.sequence for mark in marks if mark]
            assert numbers == sorted(set(numbers))
            assert waiting(tmp_path / "spool.sqlite") >= 3
            told = TelemetryStored(node="pi", session=session, sequence=2**40, term=0)
            coordinator.publish(STORED, told, "pi")
            assert eventually(lambda: waiting(tmp_path / "spool.sqlite") == 0)
            assert (reports[0].session, reports[0].dropped) == (session, 0)
        finally:
            agent.close()


def test_two_agents_do_not_share_a_spool(tmp_path: Path, mosquitto: PrivateMosquitto, site: str) -> None:
    """The second one's start ends with one sentence, and it leaves the site."""
    first = Agent(settings(tmp_path, mosquitto, site))
    second = Agent(settings(tmp_path, mosquitto, site, node="pc"))
    try:
        first.start()
        with pytest.raises(SpoolError, match=r"spool\.sqlite: another agent uses this spool; stop it, or name another"):
            second.start()
    finally:
        second.close()
        first.close()
