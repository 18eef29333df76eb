"""The project's own traces: files that their generators give again, each with its habit."""

from pathlib import Path
from statistics import fmean

import pytest

from testbed.synthetic import DIRECTORY, HABITS, LEAST_MBPS, MOST_MBPS, synthetic_traces, write_traces
from testbed.traces import Trace


@pytest.fixture(scope="module")
def traces() -> dict[str, Trace]:
    """The set by name."""
    return {trace.name.removeprefix("synthetic-"): trace for trace in synthetic_traces()}


def test_the_files_are_what_the_generators_give(tmp_path: Path) -> None:
    """No trace is edited by hand, and none is there that has no generator."""
    write_traces(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in DIRECTORY.iterdir()}


def test_every_trace_is_a_link_of_a_wifi(traces: dict[str, Trace]) -> None:
    """Minutes long, within what such a link carries, and going on in its manner after its end."""
    assert list(traces) == [habit.name for habit in HABITS]
    for trace in traces.values():
        assert 120 <= trace.duration_s <= 300
        assert min(trace.mbps) >= LEAST_MBPS
        assert max(trace.mbps) <= MOST_MBPS
        assert trace.mbps_at(trace.duration_s + 1.5) == trace.mbps[1]


def test_every_trace_is_described(traces: dict[str, Trace]) -> None:
    """One line each, where whoever opens the directory reads it."""
    page = (DIRECTORY.parent / "README.md").read_text()
    for habit in HABITS:
        assert f"| `{habit.name}.csv` | {habit.words} | {habit.duration_s} |" in page


def test_the_habits_are_what_they_are_called(traces: dict[str, Trace]) -> None:
    """A drop drops, a ramp rises and falls, an oscillation comes back to its middle."""
    drop = traces["drop-recovery"].mbps
    assert fmean(drop[80:110]) < 0.1 * fmean(drop[:50])
    assert fmean(drop[130:]) == pytest.approx(fmean(drop[:50]), rel=0.05)
    ramp = traces["ramp"].mbps
    assert ramp[120] > 20 * ramp[0]
    assert ramp[120] > 20 * ramp[-1]
    assert fmean(traces["oscillation"].mbps) == pytest.approx(7.0, rel=0.1)
    assert min(traces["bursts"].mbps) < 10
    assert max(traces["bursts"].mbps) > 40
    lows = [mbps < 2.0 for mbps in traces["long-lows"].mbps]
    assert 0.3 < sum(lows) / len(lows) < 0.5
