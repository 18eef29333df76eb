import pytest

from broker.messages import InferReply
from splitrail.client import FrameAnswer
from splitrail.stream_figures import StreamTally, words_of


def answer(number: int, latency_ms: float = 1.0, **fields: object) -> FrameAnswer:
    """The answer to a frame."""
    return FrameAnswer(number, InferReply(request_id="r", **fields), latency_ms)  # type: ignore[arg-type]  # the test's own


def test_each_frame_is_counted_by_what_became_of_it() -> None:
    """What was dropped is no failure, what was refused none of the model's, and only answers have a latency."""
    tally = StreamTally()
    for frame in (
        answer(0, 10.0),
        answer(1, 0.1, dropped=True),
        answer(2, 0.1, error="busy: it would have waited 12 s", busy_ms=12_000.0),
        answer(3, 0.1, error="no image"),
        answer(4, 30.0),
    ):
        tally.take(frame)
    figures = tally.figures(2.0)
    assert (figures.frames, figures.answered, figures.dropped, figures.refused, figures.failed) == (5, 2, 1, 1, 1)
    assert (figures.answered_per_s, figures.p50_ms) == (1.0, 20.0)
    assert figures.p99_ms == pytest.approx(29.8)
    assert words_of(figures) == (
        "5 frames in 2.0 s: 2 answered, 1 dropped, 1 refused, 1 failed\n"
        "1.0 frames/s\n"
        "latency p50 20.0 ms, p99 29.8 ms\n"
        "first error: busy: it would have waited 12 s"
    )


def test_without_an_answer_there_is_no_latency() -> None:
    """Nor a line about it."""
    figures = StreamTally().figures(0.0)
    assert (figures.answered_per_s, figures.p50_ms, figures.p99_ms) == (0.0, None, None)
    assert words_of(figures).count("\n") == 1
