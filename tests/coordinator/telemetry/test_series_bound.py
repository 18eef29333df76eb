"""How many series a coordinator makes, whatever names nodes give."""

import pytest

from coordinator.telemetry.samples import Sample
from coordinator.telemetry.series_bound import SeriesBound


def sample(meter: str, time_ns: int = 0) -> Sample:
    return Sample("energy", (("node", "pi"), ("meter", meter)), (("power_w", 1.0),), time_ns)


def test_known_series_go_on_when_new_ones_are_too_many(caplog: pytest.LogCaptureFixture) -> None:
    """What a site had first is kept; the rest is left out, and said once."""
    bound = SeriesBound(most=2)
    assert bound.admits([sample("rapl"), sample("model")])
    assert bound.admits([sample("rapl", 1), sample("rapl", 2)])
    assert not bound.admits([sample("hostile-1")])
    assert not bound.admits([sample("rapl"), sample("hostile-2")]), "a message is kept whole or not at all"
    assert bound.admits([sample("model", 3)])
    assert caplog.text.count("more than 2 series") == 1


def test_room_that_is_left_is_used() -> None:
    """A message with more than what is left takes nothing of it."""
    bound = SeriesBound(most=2)
    assert not bound.admits([sample("a"), sample("b"), sample("c")])
    assert bound.admits([sample("a"), sample("b")])
