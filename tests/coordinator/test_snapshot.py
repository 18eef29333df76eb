"""What a coordinator remembers through a kill: its whole state, but only as far as it still fits."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import made_site
import msgspec
import pytest
from decisions import after, carry_out, photos, settled, stages
from made_site import declared, folded, inference_message, load_message, miss_message, ready_message, received

from coordinator.errors import StoreError
from coordinator.site import EMPTY, State
from coordinator.snapshot import FORMAT, snapshot_of
from coordinator.state import Connected, DeploymentDeclared, Restored, apply
from coordinator.store_snapshot import Office, SnapshotStore


def lived() -> State:
    """A site that has seen something of everything that is remembered."""
    state = after(
        settled(), ready_message("pi", 1), ready_message("laptop", 1, ready=False, reason="disk full"), at=1.0
    )
    state = after(state, load_message("pc", 0.1), inference_message(("pi", 0, 1, 40.0), ("pc", 1, 4, 15.0)), at=2.0)
    state = after(state, miss_message(), miss_message("laptop", delivered=False), inference_message(error="no"), at=3.0)
    state, _ = carry_out(state, 3.0)
    return state


def through(state: State, path: Path) -> State:
    """The state after a kill and a restart with the same settings."""
    with closing(SnapshotStore(path)) as store:
        assert store.save(snapshot_of(state))
    with closing(SnapshotStore(path)) as store:
        snapshot = store.snapshot()
    assert snapshot is not None
    return folded([declared(epoch=1), Restored(snapshot)])


def test_the_state_outlives_the_process(tmp_path: Path) -> None:
    """Plans, accounts, refusals, suspicions, traffic, beliefs and profiles are as they were."""
    state = lived()
    assert photos(state).suspect_links
    assert photos(state).refusals
    assert through(state, tmp_path / "store.sqlite") == state


def test_a_restart_decides_as_the_run_before_would(tmp_path: Path) -> None:
    """Nothing is due because of the restart alone, and what comes later has the same outcome."""
    state = lived()
    again = through(state, tmp_path / "store.sqlite")
    for at in (4.0, 9.0, 30.0):
        state, plans = carry_out(state, at)
        again, plans_again = carry_out(again, at)
        assert plans == plans_again


def test_a_broker_that_forgot_everything_costs_no_plan(tmp_path: Path) -> None:
    """Nodes that were there count as there while they connect again one after the other."""
    state = apply(Connected(50.0), through(settled(), tmp_path / "store.sqlite"))
    for number, node in enumerate(("laptop", "pi", "pc")):
        state, plans = carry_out(state, 50.0 + number)
        assert plans == []
        state = after(state, made_site.birth_message(node), at=50.5 + number)


def test_another_declaration_keeps_the_numbering_alone(tmp_path: Path) -> None:
    """A plan was weighed by what the settings said; under others it is weighed anew, with a higher epoch."""
    with closing(SnapshotStore(tmp_path / "store.sqlite")) as store:
        store.save(snapshot_of(lived()))
        snapshot = store.snapshot()
    assert snapshot is not None
    state = folded([declared(deadline_ms=500.0), Restored(snapshot)])
    assert (photos(state).plan, photos(state).evaluation) == (None, None)
    _, plans = carry_out(state, 4.0)
    assert [plan.epoch for plan in plans] == [photos(lived()).epoch + 1]


def test_a_model_that_is_served_elsewhere_is_the_same_deployment(tmp_path: Path) -> None:
    """The port of the HTTP interface may differ at each start."""
    with closing(SnapshotStore(tmp_path / "store.sqlite")) as store:
        store.save(snapshot_of(settled()))
        snapshot = store.snapshot()
    assert snapshot is not None
    here = declared().deployment
    reference = msgspec.structs.replace(here.model.reference, url="http://127.0.0.1:9/models/x")
    elsewhere = replace(here, model=replace(here.model, reference=reference))
    plan = photos(folded([DeploymentDeclared(elsewhere), Restored(snapshot)])).plan
    assert plan is not None
    assert stages(plan) == [("pi", 0, 1), ("pc", 1, 4)]


def test_the_office_outlives_the_process(tmp_path: Path) -> None:
    """The highest term, and whose it was."""
    path = tmp_path / "store.sqlite"
    with closing(SnapshotStore(path)) as store:
        assert store.office() == Office()
        store.save_office(Office(term=7, session="s7"))
    with closing(SnapshotStore(path)) as store:
        assert store.office() == Office(term=7, session="s7")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (f"UPDATE memory SET format = {FORMAT + 1} WHERE name = 'site'", f"format {FORMAT + 1}"),
        ("UPDATE memory SET content = x'ff' WHERE name = 'site'", "is left aside"),
        ("UPDATE memory SET content = substr(content, 1, 100) WHERE name = 'site'", "is left aside"),
        ("UPDATE memory SET content = x'80' WHERE name = 'site'", "missing required field"),
    ],
)
def test_what_cannot_be_read_is_left_aside(
    tmp_path: Path, damage: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says so, and the coordinator starts with what the broker retains."""
    path = tmp_path / "store.sqlite"
    with closing(SnapshotStore(path)) as store:
        store.save(snapshot_of(settled()))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    with closing(SnapshotStore(path)) as store:
        assert store.snapshot() is None
    assert words in caplog.text


def test_a_disk_that_is_full_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was kept before stays, and it is tried again."""
    path = tmp_path / "store.sqlite"
    with closing(SnapshotStore(path)) as store:
        assert store.save(snapshot_of(EMPTY))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON memory BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
        assert not store.save(snapshot_of(settled()))
        assert not store.save(snapshot_of(settled()))
        assert caplog.text.count("disk full") == 1
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DROP TRIGGER full")
        assert store.save(snapshot_of(settled()))
        assert store.snapshot() == snapshot_of(settled())


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """The error names the file and the setting."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database " * 1_000)
    with pytest.raises(StoreError, match="cannot keep the coordinator's state"):
        SnapshotStore(path)


def test_retained_messages_count_before_what_was_remembered(tmp_path: Path) -> None:
    """A plan that another coordinator has published since is in force; a node that died meanwhile is dead."""
    state = through(settled(), tmp_path / "store.sqlite")
    newer = msgspec.structs.replace(made_site.plan_message(4, ("pi", 0, 4)), term=3)
    state = folded(received(newer, made_site.offline("pc"), at=60.0), state)
    assert photos(state).plan == newer
    assert not state.nodes["pc"].online
