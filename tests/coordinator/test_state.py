"""What the coordinator's state makes of each event."""

import dataclasses

import made_site
import msgspec
from made_site import birth_message, declared, folded, link_message, offline, profile_message, ready_message, received

from broker.messages import PROTOCOL_VERSION, InferenceReport, NodeStatus
from coordinator import state as state_module
from coordinator.site import EMPTY
from coordinator.state import Received, apply, apply_all


def test_birth_brings_a_node_online() -> None:
    """A birth makes a node usable, since the time when it came."""
    node = folded(received(birth_message("pi"), at=7.0)).nodes["pi"]
    assert node.usable
    assert node.since == 7.0


def test_a_death_counts_only_for_its_own_session() -> None:
    """The late will of an older session does not take down the node's newer one."""
    state = folded(received(birth_message("pi", "old"), birth_message("pi", "new"), offline("pi", "old")))
    assert state.nodes["pi"].online
    assert not folded(received(offline("pi", "new")), state).nodes["pi"].online


def test_a_repeated_birth_does_not_make_a_node_younger() -> None:
    """A node that announces itself again after a reconnect has been up since its first birth."""
    state = folded([*received(birth_message("pi"), at=1.0), *received(birth_message("pi"), at=50.0)])
    assert state.nodes["pi"].since == 1.0


def test_a_birth_without_an_announcement_is_ignored() -> None:
    """A birth that says nothing of the node is of no use."""
    assert folded(received(NodeStatus(node="pi", session="s", state="online"))) == EMPTY


def test_another_protocol_is_kept_but_refused() -> None:
    """A node of another protocol version is shown, with what to upgrade, but not usable."""
    newer = folded(received(birth_message("pi", protocol=PROTOCOL_VERSION + 1))).nodes["pi"]
    assert newer.online
    assert not newer.usable
    assert newer.refused is not None
    assert f"runs splitrail 0.3 (protocol {PROTOCOL_VERSION + 1})" in newer.refused
    assert newer.refused.endswith("upgrade splitrail on the coordinator")
    older = folded(received(birth_message("pi", protocol=0))).nodes["pi"]
    assert older.refused is not None
    assert older.refused.endswith("upgrade splitrail on the node")


def test_profiles_of_undeclared_models_are_ignored() -> None:
    """Only models of declared deployments are remembered."""
    state = folded([declared(), *received(profile_message("pi"), profile_message("pi", sha256="b" * 64))])
    assert list(state.profiles) == [("pi", made_site.SHA256)]


def test_a_link_keeps_its_newest_reading_and_when_it_was_first_known() -> None:
    """A newer reading replaces the older one of its direction only."""
    events = [
        *received(link_message("pi", "pc", 10.0), link_message("pc", "pi", 20.0), at=1.0),
        *received(link_message("pi", "pc", 30.0), at=2.0),
    ]
    links = folded(events).links
    assert links["pi", "pc"].reading.mbps == 30.0
    assert (links["pi", "pc"].first_at, links["pi", "pc"].arrived_at) == (1.0, 2.0)
    assert links["pc", "pi"].reading.mbps == 20.0


def test_nodes_and_links_are_bounded() -> None:
    """A flood of unknown names does not grow the state; those that are known stay up to date."""
    crowd = [birth_message(f"n{number}") for number in range(state_module.MAX_NODES + 10)]
    state = apply_all(received(*crowd), EMPTY)
    assert len(state.nodes) == state_module.MAX_NODES
    assert not folded(received(offline("n0")), state).nodes["n0"].online
    pairs = [link_message("pi", f"n{number}") for number in range(state_module.MAX_LINKS + 10)]
    assert len(apply_all(received(*pairs), EMPTY).links) == state_module.MAX_LINKS


def test_readiness_belongs_to_the_plan_in_force() -> None:
    """Word on an older plan is ignored, and a new plan starts with nobody ready."""
    state = folded(
        [
            declared(),
            *made_site.whole_site(),
            *received(made_site.plan_message(2, ("pi", 0, 4)), ready_message("pi", 1), ready_message("pc", 2)),
        ]
    )
    assert state.deployments["photos"].ready == {"pc"}
    state = folded(received(made_site.plan_message(3, ("pi", 0, 4))), state)
    assert state.deployments["photos"].ready == frozenset()


def test_a_report_that_is_repeated_counts_once() -> None:
    """Agents repeat their reports after a reconnect; a refusal is not renewed by that, and readiness ends it."""
    refusal = ready_message("pc", 1, ready=False, reason="disk full")
    plan = made_site.plan_message(1, ("pi", 0, 1), ("pc", 1, 4))
    once = folded([declared(), *made_site.whole_site(), *received(plan, refusal, at=1.0)])
    assert folded(received(refusal, at=50.0), once).deployments == once.deployments
    assert once.deployments["photos"].refusals["pc"].reason == "disk full"
    assert not folded(received(ready_message("pc", 1)), once).deployments["photos"].refusals


def test_epochs_only_rise() -> None:
    """A plan older than the one in force changes nothing."""
    newer, older = made_site.plan_message(5, ("pi", 0, 4)), made_site.plan_message(4, ("pi", 0, 1), ("pc", 1, 4))
    deployment = folded([declared(), *received(newer, older)]).deployments["photos"]
    assert deployment.plan == newer
    assert deployment.epoch == 5


def test_a_retained_plan_of_another_declaration_counts_for_the_numbering_only() -> None:
    """After a change of the settings the old plan is not in force, but the next epoch is above its own."""
    retained = made_site.plan_message(9, ("pi", 0, 4), strategy="cloud-only")
    deployment = folded([declared("exact"), *received(retained)]).deployments["photos"]
    assert deployment.plan is None
    assert deployment.epoch == 9


def test_a_retained_plan_that_names_another_address_of_its_model_stays_in_force() -> None:
    """Coordinators serve one model at several addresses; agents fetch it from where the newest notice says."""
    retained = made_site.plan_message(9, ("pi", 0, 4))
    moved = msgspec.structs.replace(
        retained, model=msgspec.structs.replace(made_site.REFERENCE, url="http://elsewhere/models/x")
    )
    assert folded([declared(), *received(moved)]).deployments["photos"].plan == moved


def test_a_retained_plan_is_taken_up_again_at_the_epoch_that_the_store_remembers() -> None:
    """A restart finds the same epoch in its store and on the broker; the plan is in force again."""
    retained = made_site.plan_message(9, ("pi", 0, 4))
    assert folded([declared(epoch=9), *received(retained)]).deployments["photos"].plan == retained
    assert folded([declared(epoch=10), *received(retained)]).deployments["photos"].plan is None


def test_the_last_failure_is_remembered() -> None:
    """Of the inferences only the last failure is kept in the state; the store has them all."""
    report = InferenceReport(deployment="photos", epoch=1, request_id="r", origin="pi", at=0.0, latency_ms=5.0)
    failed = msgspec.structs.replace(report, error="pc did not answer")
    state = folded([declared(), *received(failed, report, at=3.0)])
    failure = state.deployments["photos"].last_failure
    assert failure is not None
    assert (failure.at, failure.reason) == (3.0, "pc did not answer")


def test_a_recorded_event_log_replays_to_the_same_state() -> None:
    """The state is a function of its events: folding them again, at any time, gives an equal value."""
    events = [declared(), *made_site.whole_site(), *received(offline("pc"), made_site.plan_message(1, ("pi", 0, 4)))]
    assert folded(events) == folded(events)
    assert folded(events[5:], folded(events[:5])) == folded(events)


def test_applying_never_changes_the_state_before() -> None:
    """The state before an event stays as it was."""
    before = folded([declared(), *made_site.whole_site()])
    copy = dataclasses.replace(before, nodes=dict(before.nodes))
    apply(Received(offline("pc"), 9.0), before)
    assert before == copy
