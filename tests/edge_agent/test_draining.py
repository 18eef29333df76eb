"""When a superseded plan's segments may go."""

import msgspec
from plans import plan_of

from broker.messages import Plan
from edge_agent.draining import QUIET_S, Draining
from edge_agent.routes import plan_digest

ELSEWHERE = plan_of(("pi", 0, 5), ("pc", 5, 10), way_back=("pc", "pi"))


def test_the_origin_lets_a_plan_go_with_its_last_request() -> None:
    """It is the one that knows."""
    under_way = {1: 2}
    draining = Draining("pi", lambda plan: under_way.get(plan.epoch, 0))
    assert draining.drained([ELSEWHERE], 0.0) == []
    assert draining.drained([ELSEWHERE], 1e6) == []
    under_way.clear()
    assert draining.drained([ELSEWHERE], 1e6) == [ELSEWHERE]


def test_another_node_waits_until_nothing_has_come_for_a_while() -> None:
    """Every message under the plan starts the while anew."""
    draining = Draining("pc", lambda _: 0)
    assert draining.drained([ELSEWHERE], 0.0) == []
    draining.passed("photos", 1, plan_digest(ELSEWHERE), QUIET_S - 1.0)
    assert draining.drained([ELSEWHERE], QUIET_S + 1.0) == []
    assert draining.drained([ELSEWHERE], 2 * QUIET_S) == [ELSEWHERE]


def test_a_slow_plan_has_longer() -> None:
    """Its requests may be on their way for that long."""
    slow: Plan = msgspec.structs.replace(
        ELSEWHERE, prediction=msgspec.structs.replace(ELSEWHERE.prediction, latency_ms=10_000.0)
    )
    draining = Draining("pc", lambda _: 0)
    assert draining.drained([slow], 0.0) == []
    assert draining.drained([slow], 29.0) == []
    assert draining.drained([slow], 31.0) == [slow]


def test_plans_that_nobody_follows_are_not_remembered() -> None:
    """Whatever tensors claim to belong to."""
    draining = Draining("pc", lambda _: 0)
    for epoch in range(100):
        draining.passed("photos", epoch, 0, 1.0)
    assert draining.drained([ELSEWHERE], 0.0) == []
    assert draining.drained([], 99.0) == []
