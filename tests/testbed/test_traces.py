"""Bandwidth traces: read strictly, and a step function of time."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.traces import DEMO_TRACE, Trace, constant, read_trace


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "link.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_steps(tmp_path: Path) -> None:
    """A rate holds from its row's second until the next row's; before the start, the first one holds."""
    trace = read_trace(written(tmp_path, "seconds,mbps\n0,40\n2.5,1.5\n4,8\n"))
    assert [trace.mbps_at(t) for t in (-1, 0, 2.4, 2.5, 3.9, 4, 1e9)] == [40, 40, 40, 1.5, 1.5, 8, 8]
    assert trace.duration_s == 5.5
    assert [trace.next_step_s(t) for t in (0, 2.5, 3.0)] == [2.5, 4, 4]
    assert trace.next_step_s(4) == float("inf")


def test_loop() -> None:
    """A looping trace starts anew when its last step has lasted as long as the one before it."""
    trace = Trace("t", (0.0, 2.0), (10.0, 1.0), at_the_end="loop")
    assert trace.duration_s == 4.0
    assert [trace.mbps_at(t) for t in (0, 2, 3.9, 4, 6, 401)] == [10, 1, 1, 10, 1, 10]
    assert [trace.next_step_s(t) for t in (1, 2, 5)] == [2, 4, 6]


def test_scale_is_said() -> None:
    """A scaled trace carries its factor in its label; factors multiply."""
    trace = constant(2.0, "lan").scaled(5).scaled(2)
    assert trace.mbps_at(0) == 20
    assert trace.label == "lan, scaled x10"
    assert constant(2.0, "lan").label == "lan"


def test_demo_trace() -> None:
    """The shipped trace shows a good link, a deep drop and the recovery within 90 seconds."""
    trace = read_trace(DEMO_TRACE)
    assert 75 <= trace.duration_s <= 90
    assert min(trace.mbps) < 5
    assert min(trace.mbps[0], trace.mbps[-1]) > 35


@given(st.floats(0, 1e6), st.lists(st.floats(0.001, 100), min_size=1, max_size=20), st.sampled_from(["loop", "hold"]))
def test_rate_is_constant_between_steps(time_s: float, gaps: list[float], at_the_end: str) -> None:
    """Between a moment and the next step the rate does not change, and the next step lies ahead."""
    seconds = [0.0]
    for gap in gaps:
        seconds.append(seconds[-1] + gap)
    trace = Trace("t", tuple(seconds), tuple(float(i) for i in range(len(seconds))), at_the_end=at_the_end)  # type: ignore[arg-type]  # sampled from its two values
    ahead = trace.next_step_s(time_s)
    assert ahead > time_s
    middle = time_s + 1 if ahead == float("inf") else (time_s + ahead) / 2
    if ahead - time_s > 1e-6:
        assert trace.mbps_at(middle) == trace.mbps_at(time_s)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ":1: the first line must be `seconds,mbps`"),
        ("time,rate\n0,1\n", ":1: the first line must be `seconds,mbps`"),
        ("seconds,mbps\n", ": holds no row after its header; a trace needs at least one"),
        ("seconds,mbps\n0,1\n1\n", ":3: has 1 columns; a row is two numbers, `seconds,mbps`"),
        ("seconds,mbps\n0,1\n1,2,3\n", ":3: has 3 columns; a row is two numbers, `seconds,mbps`"),
        ("seconds,mbps\n0,1\n1,fast\n", ":3: mbps is 'fast'; it must be a finite number"),
        ("seconds,mbps\n0,nan\n", ":2: mbps is 'nan'; it must be a finite number"),
        ("seconds,mbps\n0,1\ninf,1\n", ":3: seconds is 'inf'; it must be a finite number"),
        ("seconds,mbps\n0,-1\n", ":2: mbps is -1; it must lie between 0 and 100000"),
        ("seconds,mbps\n5,1\n", ":2: starts at 5 seconds; a trace starts at 0"),
        ("seconds,mbps\n0,1\n2,1\n2,3\n", ":4: goes from 2 to 2 seconds; seconds must rise"),
        ("seconds,mbps\n0,0\n2,0\n", ": carries 0 Mbit/s throughout; a trace needs a rate above 0 somewhere"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, sentence: str) -> None:
    """A bad file is one line: the file, the line, what is wrong and what would be right."""
    path = written(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value) == f"{path}{sentence}"


def test_files_that_are_no_text(tmp_path: Path) -> None:
    """A missing file, a directory, a binary file and an endless line are refused in a sentence."""
    binary = tmp_path / "model.tflite"
    binary.write_bytes(b"\x1c\x00\x00\x00TFL3\xff\xfe" * 100)
    for path in (tmp_path / "none.csv", tmp_path, binary, written(tmp_path, "seconds,mbps\n" + "1" * 100_000)):
        with pytest.raises(TraceError, match=str(path)):
            read_trace(path)
