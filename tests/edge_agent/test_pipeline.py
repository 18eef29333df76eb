"""Requests on their way through the pipelines of several nodes."""

from collections.abc import Iterator
from queue import Queue

import pytest
from joined_nodes import INPUT, BrokenSegment, Site
from plans import plan_of

from broker.messages import Plan, StageEnergy
from edge_agent.request import Finished
from edge_agent.routes import plan_digest
from edge_agent.wire import FailureMessage, Route, StageRecord, TensorsMessage


@pytest.fixture
def site() -> Iterator[Site]:
    """A Pi, a laptop and a PC."""
    site = Site("pi", "laptop", "pc")
    yield site
    site.close()


THREE_STAGES = (("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10))


def test_a_request_runs_every_op_once_over_three_nodes(site: Site) -> None:
    """The result comes back through a relay, and the report names each stage and each hop."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "laptop", "pi")))
    ended = site.ask()
    assert ended.outputs is not None
    assert ended.outputs[0].tolist() == [10.0] * 3
    assert [(stage.node, stage.start, stage.stop) for stage in ended.report.stages] == list(THREE_STAGES)
    assert [(hop.src, hop.dst) for hop in ended.report.transfers] == [
        ("pi", "laptop"),
        ("laptop", "pc"),
        ("pc", "laptop"),
        ("laptop", "pi"),
    ]
    assert ended.report.error is None
    assert ended.report.energy_source == "modelled"
    assert ended.report.origin_energy_j == pytest.approx(sum_of_origin(ended), rel=1e-6)


class Metering:
    """Says of each run that it took 2 J."""

    def begin(self) -> "Metering":
        """A run begins."""
        return self

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """It is over."""
        return StageEnergy(
            energy_j=2.0, energy_j_std=0.3, method="integrated", source="measured", scope="board", meter="hwmon"
        )


def test_the_report_has_the_energy_of_each_stage_as_its_node_measured_it(site: Site) -> None:
    """It travels with the tensors; where one node measures nothing there is no sum."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    for node in ("pi", "laptop"):
        site.nodes[node].executor.measure_energy_by(Metering())
    report = site.ask().report
    assert [stage.energy.energy_j if stage.energy else None for stage in report.stages] == [2.0, 2.0, None]
    assert report.compute_energy is None
    site.nodes["pc"].executor.measure_energy_by(Metering())
    report = site.ask().report
    assert report.compute_energy is not None
    assert report.compute_energy.energy_j == pytest.approx(6.0)
    assert report.compute_energy.source == "measured"


def test_what_the_origin_finishes_alone_has_its_energy_too(site: Site) -> None:
    """Of the stages that made the result; a failed request tells of none."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    pi = site.nodes["pi"]
    pi.executor.measure_energy_by(Metering())
    pi.fallbacks = {(0, 10), (3, 10)}
    site.lost, site.emulated = {"laptop"}, {"pc"}
    ended = site.begin()
    pi.origin.lose("laptop")
    report = ended.get(timeout=10).report
    assert report.fallback is not None
    assert report.compute_energy is not None
    assert report.compute_energy.energy_j == pytest.approx(2.0 * len(report.stages))
    assert (report.model, report.emulated) == ("small", True)


def test_a_failed_request_names_its_model_and_no_energy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its stages took is not known to the origin."""
    monkeypatch.setattr("edge_agent.origin.PATIENCE_NS", -1)
    site.emulated = {"pi"}
    site.adopt(plan_of(("pi", 0, 3), ("gone", 3, 10), way_back=("gone", "pi")))
    ended = site.begin()
    while ended.empty():
        site.nodes["pi"].origin.sweep()
    report = ended.get().report
    assert report.error is not None
    assert (report.model, report.emulated, report.compute_energy) == ("small", True, None)


def test_the_report_names_its_model_and_whether_a_node_was_emulated(site: Site) -> None:
    """A node that is emulated counts only where the plan names it."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    assert (site.ask().report.model, site.ask().report.emulated) == ("small", False)
    site.emulated = {"server"}
    assert not site.ask().report.emulated
    site.emulated = {"pc"}
    assert site.ask().report.emulated


def sum_of_origin(ended: Finished) -> float:
    """The origin's share as the per-node account has it."""
    [pi] = [energy for energy in ended.report.node_energy if energy.node == "pi"]
    return pi.compute_j + pi.waiting_j + pi.radio_j


def test_a_node_may_hold_two_segments_that_follow_each_other(site: Site) -> None:
    """Between them nothing is sent."""
    site.adopt(plan_of(("pi", 0, 3), ("pi", 3, 10)))
    ended = site.ask()
    assert ended.outputs is not None
    assert ended.outputs[0].tolist() == [10.0] * 3
    assert ended.report.transfers == ()


def test_without_a_plan_a_request_fails_at_once(site: Site) -> None:
    """The client is told where to look."""
    assert "no plan of photos is ready" in str(site.ask().report.error)


def test_a_segment_that_fails_is_an_error_that_names_its_node(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime's own words reach the client."""
    site.nodes["laptop"].segments[3, 7] = BrokenSegment()
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    monkeypatch.setattr("edge_agent.origin.PATIENCE_NS", -1)
    ended = site.begin()
    while ended.empty():
        site.nodes["pi"].origin.sweep()
    assert ended.get().report.error == "laptop: RuntimeError: out of arena, and no other plan is ready"


def test_a_peer_that_is_not_connected_is_an_error_that_names_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan may name a node that has just gone."""
    monkeypatch.setattr("edge_agent.origin.PATIENCE_NS", -1)
    site.adopt(plan_of(("pi", 0, 3), ("gone", 3, 10), way_back=("gone", "pi")))
    ended = site.begin()
    while ended.empty():
        site.nodes["pi"].origin.sweep()
    assert "cannot send to gone" in str(ended.get().report.error)


def test_a_request_under_a_replaced_plan_is_tried_again_under_the_new_one(site: Site) -> None:
    """A node that has dropped the old epoch costs time, not the request."""
    old = plan_of(*THREE_STAGES, way_back=("pc", "pi"), epoch=1)
    new = plan_of(("pi", 0, 10), epoch=2)
    pi, laptop = site.nodes["pi"], site.nodes["laptop"]
    laptop.plans.append(new)
    pi.plans.append(old)
    ended: Queue[Finished] = Queue()
    message_was_sent = pi.pipeline.begin

    def carry_late(plan: Plan, message: TensorsMessage, *, may_compute: bool) -> None:
        if new not in pi.plans:
            pi.plans.append(new)
        message_was_sent(plan, message, may_compute=may_compute)

    pi.pipeline.begin = carry_late  # type: ignore[method-assign]  # the plan changes while the request is under way
    pi.origin.submit("photos", INPUT, ended.put)
    report = ended.get(timeout=10).report
    assert (report.error, report.epoch) == (None, 2)


def test_a_failure_reaches_its_request_even_when_the_origin_has_dropped_the_plan_too(site: Site) -> None:
    """Plans may change several times while one slow request is under way; it is tried again, not forgotten."""
    old, new = plan_of(*THREE_STAGES, way_back=("pc", "pi"), epoch=1), plan_of(("pi", 0, 10), epoch=9)
    pi = site.nodes["pi"]
    pi.plans.append(old)
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi.origin.submit("photos", INPUT, ended.put)
    [identity] = [request.attempt for request in pi.origin._requests]
    pi.plans = [new]
    where = Route("photos", 1, identity, 1, plan_digest(old))
    pi.pipeline.pass_failure(FailureMessage(where, "laptop does not know epoch 1"), "laptop")
    report = ended.get(timeout=10).report
    assert (report.error, report.epoch) == (None, 9)


def test_a_request_whose_plan_lost_a_node_is_tried_again_when_the_next_plan_comes(site: Site) -> None:
    """Neither what was under way when the node went nor what came before the next plan fails for it."""
    pi = site.nodes["pi"]
    pi.plans.append(plan_of(*THREE_STAGES, way_back=("pc", "pi"), epoch=1))
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi.origin.submit("photos", INPUT, ended.put)
    pi.origin.lose("laptop")
    site.nodes.pop("laptop").executor.close()
    pi.origin.submit("photos", INPUT, ended.put)
    pi.origin.sweep()
    assert pi.origin.in_flight == 2
    pi.plans.append(plan_of(("pi", 0, 10), epoch=2))
    while pi.origin.in_flight:
        pi.origin.sweep()
    assert [(each.report.error, each.report.epoch) for each in (ended.get(timeout=10), ended.get(timeout=10))] == [
        (None, 2),
        (None, 2),
    ]


def test_a_request_whose_plan_lost_a_node_does_not_wait_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other plan comes, the error names the node; one that has come back is asked as ever."""
    monkeypatch.setattr("edge_agent.origin.PATIENCE_NS", -1)
    pi = site.nodes["pi"]
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi.origin.submit("photos", INPUT, ended.put)
    pi.origin.lose("laptop")
    while pi.origin.in_flight:
        pi.origin.sweep()
    assert ended.get(timeout=10).report.error == "laptop has gone, and no other plan is ready"
    site.lost = set()
    pi.origin.regain("laptop")
    assert site.ask().report.error is None


def test_a_request_that_nobody_answers_ends_with_the_place_where_it_was_last_seen() -> None:
    """The origin gives up after its timeout and says which hop was the last."""
    site = Site("pi", "laptop", "pc", timeout_s=0.0)
    site.lost = {"pc"}
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    ended: Queue[Finished] = Queue()
    origin = site.nodes["pi"].origin
    origin.submit("photos", INPUT, ended.put)
    while ended.empty():
        origin.sweep()
    assert "no answer within 0 s" in str(ended.get().report.error)
    assert origin.in_flight == 0
    site.close()


def test_a_result_that_tells_of_hops_beyond_its_plan_is_ignored(site: Site) -> None:
    """A hostile or broken sender cannot leave a request without an end."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    site.lost = {"laptop"}
    ended: Queue[Finished] = Queue()
    pi = site.nodes["pi"]
    pi.origin.submit("photos", INPUT, ended.put)
    [identity] = [request.attempt for request in pi.origin._requests]
    here = Route("photos", 1, identity, 3)
    pi.origin.delivered(TensorsMessage(here, INPUT, (StageRecord(4, 1, 1),)))
    for hop, src in enumerate(("pi", "laptop", "pc"), 1):
        pi.origin.transferred(Route("photos", 1, identity, hop), src, 8, 1.0)
    assert ended.empty()
    pi.origin.delivered(TensorsMessage(here, INPUT, (StageRecord(3, 1, 1),)))
    assert ended.get(timeout=10).report.error is None


def test_tensors_for_a_hop_that_is_not_ours_are_refused(site: Site) -> None:
    """A stale or hostile sender cannot make a node run what the plan gives to another."""
    plan = plan_of(*THREE_STAGES, way_back=("pc", "pi"))
    site.adopt(plan)
    ended: Queue[Finished] = Queue()
    site.lost = {"laptop"}
    site.nodes["pi"].origin.submit("photos", INPUT, ended.put)
    while not site.nodes["pi"].origin.in_flight:
        pass
    site.lost = set()
    [identity] = [request.attempt for request in site.nodes["pi"].origin._requests]
    site.nodes["pc"].pipeline.arrive(TensorsMessage(Route("photos", 1, identity, 1, plan_digest(plan)), INPUT), "pi")
    assert ended.empty()
    assert [miss.epoch for miss in site.nodes["pi"].misses] == [1]


def test_tensors_and_failures_of_nodes_that_have_no_say_in_them_are_ignored(site: Site) -> None:
    """An agent speaks for the hops that the plan gives it alone."""
    plan = plan_of(("pi", 0, 3), ("laptop", 3, 10), way_back=("laptop", "pi"))
    site.adopt(plan)
    site.held = []
    ended = site.begin()
    pi = site.nodes["pi"]
    [attempt] = [request.attempt for request in pi.origin._requests]
    to_laptop = Route("photos", 1, attempt, 1, plan_digest(plan))
    back = Route("photos", 1, attempt, 2, plan_digest(plan))
    site.nodes["laptop"].pipeline.arrive(TensorsMessage(to_laptop, INPUT), "pc")
    pi.pipeline.arrive(TensorsMessage(back, INPUT), "pc")
    pi.origin.transferred(to_laptop, "pc", 1, 1.0)
    pi.pipeline.pass_failure(FailureMessage(to_laptop, "believe me"), "pc")
    assert ended.empty()
    assert not pi.misses
    site.release()
    finished = ended.get(timeout=10)
    assert finished.outputs is not None
    assert finished.outputs[0].tolist() == [10.0] * 3


def test_an_answer_does_not_wait_long_for_records_that_are_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is cut one way swallows the record and not the result: the report goes without that transfer."""
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    pi = site.nodes["pi"]
    told = pi.origin.transferred

    def lost_from_pc(where: Route, src: str, size_bytes: int, transfer_ms: float) -> None:
        if src != "pc":
            told(where, src, size_bytes, transfer_ms)

    monkeypatch.setattr(pi.origin, "transferred", lost_from_pc)
    ended = site.begin()
    while ended.empty():
        pi.origin.sweep()
    finished = ended.get()
    assert finished.outputs is not None
    assert [(hop.src, hop.dst) for hop in finished.report.transfers] == [("pi", "laptop"), ("laptop", "pc")]
