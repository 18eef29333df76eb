"""What comes in from a site: who may say what, what is news, and what happens when too much comes."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from eventually import eventually
from fake_fleet import FakeAgent
from made_site import link_message, plan_message

from broker.messages import DeploymentNotice, InferenceReport, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import LINK, PLAN
from coordinator import reception
from coordinator.reception import Reception
from coordinator.state import Connected, Received
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore


@contextmanager
def receiving(broker: PrivateMosquitto, site: str, directory: Path) -> Iterator[tuple[Reception, list[int]]]:
    """A reception on a real broker, and the terms that it heard of."""
    terms: list[int] = []

    def ignore(_notice: DeploymentNotice) -> None:
        return

    with closing(SqliteTelemetryStore(directory / "store.sqlite", retention_s=3_600.0)) as store:
        session = Session(broker.settings, site=site, client_id=f"{site}-reception")
        received = Reception(session, store, clock=time.time, on_term=terms.append, on_notice=ignore)
        with session:
            yield received, terms


def taken(received: Reception, enough: Callable[[list[Received]], object]) -> list[Received]:
    """The messages that come, until there are enough."""
    events: list[Received] = []

    def take() -> bool:
        events.extend(event for event in received.next_events() if not isinstance(event, Connected))
        return enough(events)

    assert eventually(take), events
    return events


def test_what_a_node_says_of_another_is_dropped(mosquitto: PrivateMosquitto, site: str, tmp_path: Path) -> None:
    """A message counts only under the topic of whom it speaks of."""
    with receiving(mosquitto, site, tmp_path) as (received, _), FakeAgent(mosquitto.settings, site, "pi") as pi:
        pi.link_in_the_name_of("laptop", "pc", 0.001)
        pi.link("pc", 5.0)
        events = taken(received, lambda events: any(event.message == link_message("pi", "pc", 5.0) for event in events))
        assert link_message("laptop", "pc", 0.001) not in [event.message for event in events]


def test_what_the_broker_had_kept_is_told_from_news(mosquitto: PrivateMosquitto, site: str, tmp_path: Path) -> None:
    """Retained messages come first, and say so."""
    with FakeAgent(mosquitto.settings, site, "pi") as pi:
        pi.link("pc", 5.0)
        with receiving(mosquitto, site, tmp_path) as (received, _):
            (kept,) = [e for e in taken(received, lambda events: len(events) >= 2) if not is_birth(e)]
            assert (kept.message, kept.retained) == (link_message("pi", "pc", 5.0), True)
            pi.link("pc", 6.0)
            (news,) = taken(received, bool)
            assert (news.message, news.retained) == (link_message("pi", "pc", 6.0), False)


def test_what_the_broker_had_kept_is_stored_as_of_its_own_time(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path
) -> None:
    """Nobody else knows how long ago it came; what comes now is of now."""
    old, new = link_message("pi", "pc", at=time.time() - 1_800.0), link_message("pi", "laptop", 5.0)
    with (
        FakeAgent(mosquitto.settings, site, "pi") as pi,
        Session(mosquitto.settings, site=site, client_id=f"{site}-link") as session,
    ):
        session.publish(LINK, old, "pi", "pc")
        with receiving(mosquitto, site, tmp_path) as (received, _):
            kept = taken(received, lambda events: any(event.message == old for event in events))
            assert [event.retained for event in kept if event.message == old] == [True]
            pi.link("laptop", 5.0)
            taken(received, lambda events: any(event.message == new for event in events))
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        ((kept_ns,), (new_ns,)) = connection.execute("SELECT time_ns FROM v_link ORDER BY time_ns").fetchall()
    assert kept_ns == round(old.at * 1e6) * 1_000
    assert new_ns > kept_ns + 1_000 * 10**9


def is_birth(event: Received) -> bool:
    return isinstance(event.message, NodeStatus)


def test_a_backlog_is_stored_and_is_no_news(mosquitto: PrivateMosquitto, site: str, tmp_path: Path) -> None:
    """Telemetry that waited in a spool tells of the past: the state does not hear of it."""
    with receiving(mosquitto, site, tmp_path) as (received, _), FakeAgent(mosquitto.settings, site, "pi") as pi:
        pi.inference("waited", 80.0, age_s=60.0)
        pi.inference("fresh", 80.0, age_s=0.1)
        events = taken(received, lambda events: any(isinstance(e.message, InferenceReport) for e in events))
        reports = [event.message for event in events if isinstance(event.message, InferenceReport)]
        assert [report.request_id for report in reports] == ["fresh"]


def test_too_much_is_dropped_said_and_counted(
    mosquitto: PrivateMosquitto,
    site: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While nobody takes events, those beyond the queue are lost one by one, with one line in the log."""
    monkeypatch.setattr(reception, "MAX_QUEUED", 3)
    monkeypatch.setattr(reception, "QUEUE_TIMEOUT_S", 0.01)
    with (
        receiving(mosquitto, site, tmp_path) as (received, _),
        Session(mosquitto.settings, site=site, client_id=f"{site}-flood") as flood,
    ):
        for number in range(10):
            flood.publish(LINK, link_message("pi", f"n{number}"), "pi", f"n{number}")
        assert eventually(lambda: received.lost == 8), "the connection itself is the first of the three that are kept"
        assert received.waiting == 3
        assert caplog.text.count("some are dropped") == 1
        assert len(taken(received, lambda events: len(events) >= 2)) == 2


def test_the_terms_of_plans_are_told(mosquitto: PrivateMosquitto, site: str, tmp_path: Path) -> None:
    """Before the state hears of the plan: a leader that was succeeded must know it first."""
    with (
        receiving(mosquitto, site, tmp_path) as (received, terms),
        Session(mosquitto.settings, site=site, client_id=f"{site}-leader") as leader,
    ):
        leader.publish(PLAN, plan_message(1, ("pi", 0, 4)), "photos")
        taken(received, bool)
        assert terms == [0]
