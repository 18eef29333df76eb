from collections.abc import Callable
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import InferenceReport, StageReport, TransferReport
from edge_agent.frame_streams import Depth, Frame, Line, Submit, depth_of

TWO = Depth(2, 2)


def of(stream: str, policy: Literal["every", "latest"] = "every") -> Frame:
    """A frame of a stream of one deployment."""
    return Frame("photos", stream, policy)


def submitting(said: list[str], what: str) -> Submit:
    """What submits a frame."""
    return lambda: said.append(what)


def drain(line: Line[str], frame: Frame) -> int:
    """Submit all of a stream that can be; how many that were."""
    count = 0
    submit = line.to_submit(frame, go_on=False)
    while submit is not None:
        count += 1
        submit()
        submit = line.to_submit(frame, go_on=True)
    return count


def test_requests_begin_in_the_order_in_which_they_came() -> None:
    """Whether they belong to a stream or not."""
    line: Line[str] = Line()
    for name, frame in (("a", None), ("b", of("camera")), ("c", None)):
        line.add(name, frame)
    assert [line.begin(TWO.of) for _ in range(4)] == ["a", "b", "c", None]


def test_a_stream_waits_while_its_plan_is_full_and_lets_others_pass() -> None:
    """Until one of its frames has ended."""
    line: Line[str] = Line()
    for name in ("a", "b", "c"):
        line.add(name, of("camera"))
    line.add("other", None)
    assert [line.begin(TWO.of) for _ in range(4)] == ["a", "b", "other", None]
    line.ended(of("camera"))
    assert line.begin(TWO.of) == "c"


def test_only_a_frame_that_waits_gives_way_and_the_newer_has_its_place() -> None:
    """One that has begun is finished; a live stream does not fall back behind others."""
    line: Line[str] = Line()
    live = of("camera", "latest")
    line.add("a", live)
    assert line.begin(TWO.of) == "a"
    assert line.displaced_by(live) is None
    line.add("b", live)
    line.add("other", None)
    assert line.displaced_by(live) == "b"
    line.add("c", live)
    assert len(line) == 2
    assert [line.begin(TWO.of) for _ in range(3)] == ["c", "other", None]


def test_streams_that_keep_every_frame_and_others_displace_nothing() -> None:
    """Nor does the frame of another live stream, or of another deployment."""
    line: Line[str] = Line()
    line.add("a", of("camera", "latest"))
    others = (of("camera"), of("door", "latest"), Frame("faces", "camera", "latest"), None)
    assert [line.displaced_by(frame) for frame in others] == [None] * 4


@given(order=st.permutations(range(5)), bad=st.sets(st.integers(0, 4)))
def test_frames_are_submitted_in_their_order_however_long_each_takes_to_prepare(
    order: list[int], bad: set[int]
) -> None:
    """One that cannot be prepared holds up none of those behind it, and an idle stream is forgotten."""
    line: Line[str] = Line()
    said: list[str] = []
    frame = of("camera")
    names = [f"f{number}" for number in range(5)]
    for name in names:
        line.add(name, frame)
    begun = [line.begin(lambda _: 5) for _ in names]
    assert begun == names
    for number in order:
        line.prepared(names[number], frame, None if number in bad else submitting(said, names[number]))
        if number in bad:
            line.ended(frame)
        drain(line, frame)
    assert said == [name for number, name in enumerate(names) if number not in bad]
    for _ in said:
        line.ended(frame)
    assert not line._streams


def test_one_thread_at_a_time_submits_a_stream() -> None:
    """What another prepares meanwhile is left to it."""
    line: Line[str] = Line()
    said: list[str] = []
    frame = of("camera")
    for name in ("a", "b"):
        line.add(name, frame)
        line.begin(TWO.of)
        line.prepared(name, frame, submitting(said, name))
    first = line.to_submit(frame, go_on=False)
    assert first is not None
    assert line.to_submit(frame, go_on=False) is None
    first()
    second = line.to_submit(frame, go_on=True)
    assert second is not None
    second()
    assert line.to_submit(frame, go_on=True) is None
    assert said == ["a", "b"]


def took(compute_ms: tuple[float, ...], transfer_ms: float) -> InferenceReport:
    """A report of stages on as many nodes, with a transfer to each but the first."""
    return InferenceReport(
        deployment="photos",
        epoch=1,
        request_id="r1",
        origin="n0",
        at=0.0,
        latency_ms=1e3,
        stages=tuple(
            StageReport(node=f"n{number}", start=number, stop=number + 1, compute_ms=ms, wait_ms=0.0)
            for number, ms in enumerate(compute_ms)
        ),
        transfers=tuple(
            TransferReport(src=f"n{number}", dst=f"n{number + 1}", size_bytes=1_000, transfer_ms=transfer_ms)
            for number in range(len(compute_ms) - 1)
        ),
    )


@pytest.mark.parametrize(
    ("compute_ms", "transfer_ms", "decode_ms", "latest"),
    [
        ((50.0, 50.0, 50.0), 1.0, 5.0, 4),
        ((100.0, 10.0, 10.0), 1.0, 5.0, 2),
        ((10.0, 10.0), 100.0, 5.0, 2),
        ((5.0,), 0.0, 20.0, 3),
    ],
    ids=["three like stages", "one slow stage", "a slow link", "decoding is slowest"],
)
def test_a_stream_is_as_deep_as_its_plan(
    compute_ms: tuple[float, ...], transfer_ms: float, decode_ms: float, latest: int
) -> None:
    """As many frames as are worked upon at once while the busiest part never idles, and one that waits for it."""
    depth = depth_of(took(compute_ms, transfer_ms), decode_ms, 2)
    assert depth == Depth(latest, latest + len(compute_ms))


def test_batches_have_room_to_form_where_every_frame_is_answered() -> None:
    """While one is computed the next one gathers; a live stream does not wait for that."""
    report = took((10.0, 10.0, 40.0), 0.0)
    batched = msgspec.structs.replace(report.stages[2], batch=4)
    report = msgspec.structs.replace(report, stages=(*report.stages[:2], batched))
    assert depth_of(report, 5.0, 2) == Depth(2, 2 + 3 + 2 * 4)


@pytest.mark.parametrize("policy", ["latest", "every"])
def test_a_report_without_compute_tells_nothing(policy: Literal["latest", "every"]) -> None:
    """Until one tells more, two frames are under way."""
    assert depth_of(took((0.0,), 0.0), 5.0, 2) is None
    assert Depth().of(of("camera", policy)) == 2


def test_the_depth_may_change_between_frames() -> None:
    """A plan with more stages takes more at once."""
    line: Line[str] = Line()
    depth = 1
    look: Callable[[Frame], int] = lambda _: depth  # noqa: E731  # it looks at what changes below
    for name in ("a", "b", "c"):
        line.add(name, of("camera"))
    assert [line.begin(look), line.begin(look)] == ["a", None]
    depth = 2
    assert [line.begin(look), line.begin(look)] == ["b", None]
