"""What fuzzing found that no few bytes can show: hostile values in their places, and damaged databases."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from fuzz_database import use_spool, use_store
from made_site import declared, folded, plan_message, received, whole_site
from messages_to_fuzz import examples

from broker.errors import MalformedMessageError
from broker.messages import Leader, NodeProfile, PlanReady
from broker.topics import LEADER, PROFILE, READY, Topic
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.errors import StoreError
from coordinator.status_report import StatusReport
from splitrail.commands.status import rendered


@pytest.mark.parametrize(
    ("topic", "message", "field"),
    [
        (LEADER, examples(Leader)[0], "coordinator"),
        (READY, examples(PlanReady)[0], "node"),
        (PROFILE, examples(NodeProfile)[0], "model"),
    ],
)
def test_no_name_ends_in_a_line_break(topic: Topic, message: msgspec.Struct, field: str) -> None:
    """A pattern's `$` also matches before a last line break, with which no topic can be built."""
    hostile = msgspec.structs.replace(message, **{field: getattr(message, field) + "\n"})
    with pytest.raises(MalformedMessageError, match=field):
        topic.decode("address", msgspec.json.encode(hostile))


def test_a_report_with_half_of_its_figures_is_drawn() -> None:
    """A coordinator of another making may leave some figures out."""
    report = next(each for each in examples(StatusReport) if isinstance(each, StatusReport))
    [deployment, *_] = report.deployments
    torn = replace(deployment.last_minute, count=1, latency_p95_ms=None)
    deployments = (msgspec.structs.replace(deployment, last_minute=torn),)
    rendered(msgspec.structs.replace(report, deployments=deployments), 80)


@pytest.mark.parametrize("use", [use_store, use_spool])
def test_a_database_whose_schema_is_no_text_is_damaged(use: Callable[[Path], None], tmp_path: Path) -> None:
    """SQLite quotes the damaged schema in its error, which Python cannot decode then."""
    path = tmp_path / "file.sqlite"
    use(path)
    content = path.read_bytes()
    for part in tmp_path.glob("file.sqlite-*"):
        part.unlink()
    path.write_bytes(content.replace(b"CREATE TABLE", b"CREATE \xff\xc4\xffLE", 1))
    try:
        use(path)
    except StoreError as error:
        assert "file.sqlite" in str(error)


def test_a_plan_of_the_last_epoch_leaves_room_for_the_next() -> None:
    """A plan that claims the highest number that can travel does not end a deployment's planning."""
    state = folded([declared(), *whole_site(), *received(plan_message(2**32 - 1, ("pi", 0, 4)))])
    assert state.deployments["photos"].epoch == 0
    plans = [each.plan for each in decide(state, 0.0, PlanningSettings()) if isinstance(each, PublishPlan)]
    assert [plan.epoch for plan in plans] == [1]
