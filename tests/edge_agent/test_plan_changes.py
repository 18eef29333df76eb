"""Plans change under a steady stream of requests: nothing is lost, answered twice, mixed or left behind."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from changing_plans import DEPLOYMENT, NODES, ORIGIN, ChangingSite, Stream, is_exact, ran_as_planned
from eventually import eventually

from broker.mosquitto import PrivateMosquitto
from edge_agent.routes import computing_segments
from models.runtime import Segment

CHANGES = 200


@pytest.mark.usefixtures("nothing_left")
def test_200_plan_changes_lose_and_mix_nothing(
    tmp_path: Path,
    mosquitto: PrivateMosquitto,
    small_model: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every request is answered once, bit for bit as by the whole model, by the stages of one plan."""
    monkeypatch.setattr("edge_agent.draining.QUIET_S", 0.5)
    with ChangingSite(mosquitto, small_model("branchy"), tmp_path, seed=4) as site:
        first = site.random_plan(1)
        site.change(first)
        assert site.takes(first)
        with Stream(site) as stream:
            for epoch in range(2, 2 + CHANGES):
                plan = site.random_plan(epoch)
                site.change(plan)
                assert site.takes(plan)
        assert stream.begun > CHANGES
        assert {len(ends) for ends in stream.ended.values()} == {1}
        assert [end.report.error for _, end in stream.ends if end.report.error] == []
        assert all(is_exact(asked, end) for asked, end in stream.ends)
        assert all(ran_as_planned(site, end) for _, end in stream.ends)
        assert all(end.report.fallback is None for _, end in stream.ends)
        last = site.plans[1 + CHANGES]
        for name in NODES:
            shelf = site.agents[name].agent._preparation._shelf
            needed = set(computing_segments(last, name))
            whole = {(0, site.reference.ops)} if name == ORIGIN else set()
            assert eventually(lambda shelf=shelf, kept=needed | whole: {key[1:3] for key in shelf.held} <= kept, 20)
            assert needed <= {key[1:3] for key in shelf.held}
        held = sum(len(site.agents[name].agent._preparation._shelf.held) for name in NODES)
        gc.collect()
        assert sum(isinstance(each, Segment) for each in gc.get_objects()) == held


def test_plans_change_while_nodes_come_and_go(
    tmp_path: Path,
    mosquitto: PrivateMosquitto,
    small_model: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that leaves in the middle of requests, or takes tensors and says nothing, costs no answer."""
    monkeypatch.setattr("edge_agent.draining.QUIET_S", 0.5)
    with ChangingSite(mosquitto, small_model("branchy"), tmp_path, seed=5) as site:
        first = site.random_plan(1, nodes=(ORIGIN,))
        site.change(first)
        assert site.takes(first)
        with Stream(site) as stream:
            for epoch in range(2, 42):
                plan = site.random_plan(epoch, predicted=True)
                site.change(plan)
                assert site.takes(plan)
                victim = site.random.choice(NODES[1:])
                if epoch % 8 == 0:
                    site.stop(victim)
                    time.sleep(0.1)
                    site.start(victim)
                elif epoch % 8 == 4:
                    # It acknowledges tensors and goes no further, until the next plan is there.
                    deaf = site.agents[victim].agent._pipeline
                    monkeypatch.setattr(deaf, "arrive", lambda *_: None)
                    time.sleep(0.8)
                    monkeypatch.undo()
                    monkeypatch.setattr("edge_agent.draining.QUIET_S", 0.5)
        assert {len(ends) for ends in stream.ended.values()} == {1}
        assert [end.report.error for _, end in stream.ends if end.report.error] == []
        assert all(is_exact(asked, end) for asked, end in stream.ends)
        assert all(ran_as_planned(site, end) for _, end in stream.ends)
        assert any(end.report.fallback for _, end in stream.ends)
        assert site.origin._plans.active(DEPLOYMENT) is not None
