"""Agents that cannot connect to each other run a split through the broker, and say so."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from changing_plans import NODES, ChangingSite, Stream, is_exact, ran_as_planned
from eventually import eventually
from secured_site import make_secured_site

from broker.messages import LinkReading, Plan
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Incoming
from broker.site_directory import SiteDirectory
from broker.site_record import COORDINATOR
from broker.topics import LINK
from edge_agent.probes import LinkSettings
from models.cache import ModelCache

pytestmark = pytest.mark.usefixtures("nothing_left")


class BlockedSite(ChangingSite):
    """Agents that announce addresses where nobody listens."""

    def __init__(self, mosquitto: Any, model: Path, directory: Path) -> None:
        super().__init__(mosquitto, model, directory, seed=1)
        self.readings: list[LinkReading] = []
        for name, settings in self._settings.items():
            tensors = msgspec.structs.replace(
                settings.tensors,
                advertise=f"tcp://127.0.0.1:{free_port()}",
                fallback_after_s=0.5,
                pacing=0.9,
            )
            self._settings[name] = msgspec.structs.replace(
                settings, tensors=tensors, links=LinkSettings(ping_interval_s=0.2, probe_interval_s=1.0)
            )

    def hear_links(self) -> None:
        """Keep what the agents say of their links."""

        def hear(incoming: Incoming[LinkReading]) -> None:
            self.readings.append(incoming.message)

        self.session.on(LINK, hear)

    def split(self) -> None:
        """Have every node compute its part of each request, and all tensors go through the broker."""
        plan = split_over_all(self, 1)
        self.change(plan)
        assert self.takes(plan)
        assert eventually(lambda: all_by_mqtt(self))


class LockedSite(BlockedSite):
    """The same behind TLS, passwords and access rules, with tensors that would be encrypted."""

    def __init__(self, locks: SiteDirectory, model: Path, directory: Path) -> None:
        super().__init__(SimpleNamespace(settings=locks.broker_settings(COORDINATOR)), model, directory)
        self.site = locks.record.site
        for name, settings in self._settings.items():
            tensors = msgspec.structs.replace(settings.tensors, security="tls")
            self._settings[name] = msgspec.structs.replace(
                settings,
                site=self.site,
                broker=locks.broker_settings(name),
                cache=directory / name,
                tensors=tensors,
            )
            ModelCache(directory / name).add(model)


def split_over_all(site: ChangingSite, epoch: int) -> Plan:
    """A plan in which every node computes."""
    plans = (site.random_plan(epoch) for _ in range(1_000))
    return next(
        plan for plan in plans if {stage.node for stage in plan.stages if stage.start < stage.stop} == set(NODES)
    )


def all_by_mqtt(site: ChangingSite) -> bool:
    """Whether no agent has a direct way to another any more."""
    agents = site.agents.items()
    return all(
        running.agent._transport.way(peer) == "mqtt" for name, running in agents for peer in NODES if peer != name
    )


@pytest.fixture
def blocked(
    tmp_path: Path, own_mosquitto: PrivateMosquitto, small_model: Callable[[str], Path]
) -> Iterator[BlockedSite]:
    """A site of blocked agents that runs a split, and what they say of their links."""
    with BlockedSite(own_mosquitto, small_model("branchy"), tmp_path) as site:
        site.hear_links()
        site.split()
        yield site


def test_a_split_runs_through_the_broker(blocked: BlockedSite) -> None:
    """Every request is answered, bit for bit as by the whole model, by the stages of its plan, none by a rescue."""
    with Stream(blocked) as stream:
        assert eventually(lambda: len(stream.ends) > 100)
    assert {len(ends) for ends in stream.ended.values()} == {1}
    assert [end.report.error for _, end in stream.ends if end.report.error] == []
    assert all(is_exact(asked, end) for asked, end in stream.ends)
    assert all(ran_as_planned(blocked, end) for _, end in stream.ends)
    assert all(end.report.fallback is None for _, end in stream.ends)
    pairs = {(src, dst) for src in NODES for dst in NODES if src != dst}
    # The planner reckons with what this way is like, and everybody can see which it is.
    assert eventually(lambda: {(each.src, each.dst) for each in blocked.readings if each.way == "mqtt"} == pairs)
    assert all(each.rtt_ms > 0 for each in blocked.readings)


def test_a_broker_that_is_killed_costs_no_answer(blocked: BlockedSite, own_mosquitto: PrivateMosquitto) -> None:
    """Requests wait for it, or their origin finishes them; each is answered once, and right."""
    with Stream(blocked) as stream:
        assert eventually(lambda: len(stream.ends) > 20)
        own_mosquitto.kill()
        own_mosquitto.start()
        before = len(stream.ends)
        assert eventually(lambda: len(stream.ends) > before + 20, 60.0)
    assert {len(ends) for ends in stream.ended.values()} == {1}
    assert [end.report.error for _, end in stream.ends if end.report.error] == []
    assert all(is_exact(asked, end) for asked, end in stream.ends)


def test_a_site_with_locks_lets_tensors_through_to_whom_they_are_for(
    tmp_path: Path, small_model: Callable[[str], Path]
) -> None:
    """By TLS, and within the rules by which each node speaks in its own name alone."""
    locks = make_secured_site(tmp_path / "site")
    locks.add_node("pc", "cloud")
    with (
        PrivateMosquitto(tmp_path / "broker", site=locks),
        LockedSite(locks, small_model("branchy"), tmp_path) as site,
    ):
        site.split()
        with Stream(site) as stream:
            assert eventually(lambda: len(stream.ends) > 20)
        assert [end.report.error for _, end in stream.ends if end.report.error] == []
        assert all(is_exact(asked, end) for asked, end in stream.ends)
        assert all(end.report.fallback is None for _, end in stream.ends)


def test_agents_that_can_connect_leave_the_broker_alone(
    tmp_path: Path, own_mosquitto: PrivateMosquitto, small_model: Callable[[str], Path]
) -> None:
    """Though it is allowed to them."""
    with ChangingSite(own_mosquitto, small_model("branchy"), tmp_path, seed=1) as site:
        plan = split_over_all(site, 1)
        site.change(plan)
        assert site.takes(plan)
        with Stream(site) as stream:
            assert eventually(lambda: len(stream.ends) > 20)
        ways = [running.agent._transport._mqtt for running in site.agents.values()]
        assert [way is not None and way.is_open for way in ways] == [False] * len(NODES)
