"""How telemetry that is lost is told of."""

import pytest

from edge_agent.telemetry_losses import LOG_INTERVAL_S, MAX_REASON, Losses


def test_losses_are_counted_with_the_newest_reason() -> None:
    """A reason is no longer than a message admits."""
    losses = Losses()
    losses.add(2, "the spool is full", 0.0)
    losses.add(3, "x" * 3_000, 1.0)
    assert (losses.count, losses.reason) == (5, "x" * MAX_REASON)


def test_the_log_tells_of_them_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """With how many there were by then."""
    losses = Losses()
    for at_s in (0.0, 1.0, LOG_INTERVAL_S - 0.1, LOG_INTERVAL_S):
        losses.add(1, "no room", at_s)
    assert [record.message for record in caplog.records] == [
        "telemetry is dropped (1 messages since the start): no room",
        "telemetry is dropped (4 messages since the start): no room",
    ]
