import time
from collections.abc import Sequence

import pytest

from broker.messages import NodeLoad
from edge_agent.load_readings import PUBLISH_INTERVAL_S, LoadReadings


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def published(samples: Sequence[float | None], *, emulated: bool = False) -> list[tuple[int, NodeLoad]]:
    """What is published of one sample a second, with the number of its second."""
    clock = Clock()
    waiting = iter(samples)
    readings = LoadReadings(
        lambda: next(waiting), node="pi", session="s", emulated=emulated, clock=time.time, clock_s=clock
    )
    told: list[tuple[int, NodeLoad]] = []
    for second in range(len(samples)):
        clock.now_s += 1.0
        load = readings.due()
        if load is not None:
            told.append((second, load))
    return told


def test_the_first_load_is_published_and_then_one_from_time_to_time() -> None:
    """A load that stays is repeated, so that whoever reads it knows it is no old one."""
    told = published([0.2] * 25)
    assert [second for second, _ in told] == [0, 10, 20]
    assert {load.load for _, load in told} == {0.2}
    assert PUBLISH_INTERVAL_S == 10.0


def test_a_clear_change_is_published_at_once_but_one_busy_second_is_not() -> None:
    """The second busy sample makes it a load; a single one is a cron job."""
    assert [second for second, _ in published([0.0, 0.0, 0.9, 0.0, 0.0])] == [0]
    told = published([0.0, 0.0, 0.6, 0.6, 0.6, 0.0, 0.0])
    assert [(second, load.load) for second, load in told] == [(0, 0.0), (3, 0.6), (6, 0.0)]
    assert told[1][1].load_std == pytest.approx(0.283, abs=0.001)


def test_an_emulated_load_is_exact() -> None:
    """It is told with the first sample that has it, without a spread, and said to be emulated."""
    told = published([0.0, 0.6, 0.6, 0.0], emulated=True)
    assert [(second, load.load) for second, load in told] == [(0, 0.0), (1, 0.6), (3, 0.0)]
    assert all(load.emulated and load.load_std == 0.0 for _, load in told)


def test_nothing_is_sampled_before_its_time() -> None:
    """The agent asks ten times a second; the processor is looked at once."""
    clock = Clock()
    looks: list[float] = []

    def look() -> float:
        looks.append(clock.now_s)
        return 0.0

    readings = LoadReadings(look, node="pi", session="s", emulated=False, clock=time.time, clock_s=clock)
    for _ in range(40):
        clock.now_s += 0.1
        readings.due()
    assert len(looks) in (3, 4)


def test_a_sample_that_cannot_tell_is_passed_over() -> None:
    """It neither counts as a load nor as a look."""
    assert [second for second, _ in published([None, 0.3])] == [1]


def test_a_load_never_reaches_one() -> None:
    """Compute would be stretched without end."""
    [(_, load)] = published([1.0])
    assert load.load == 0.99
