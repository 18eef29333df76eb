"""What a stream of frames came to: its rate, its latencies, and how many frames were answered, dropped or refused."""

from dataclasses import dataclass

from splitrail.client import FrameAnswer
from splitrail.percentile import percentile


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """Of a whole stream; latencies are of the answered frames, from the send to the answer at the client."""

    frames: int
    answered: int
    dropped: int
    """Frames that gave way to newer ones before they began."""
    refused: int
    """Frames that would have waited for too long."""
    failed: int
    seconds: float
    answered_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    first_error: str | None
    """Of what was refused or failed."""


class StreamTally:
    """Counts answers as they come."""

    def __init__(self) -> None:
        self._answered_ms: list[float] = []
        self._frames = self._dropped = self._refused = self._failed = 0
        self._first_error: str | None = None

    def take(self, answer: FrameAnswer) -> None:
        """One more frame has its answer."""
        reply = answer.reply
        self._frames += 1
        if reply.dropped:
            self._dropped += 1
        elif reply.error is None:
            self._answered_ms.append(answer.latency_ms)
        else:
            self._first_error = self._first_error or reply.error
            if reply.busy_ms is not None:
                self._refused += 1
            else:
                self._failed += 1

    def figures(self, seconds: float) -> StreamFigures:
        """Of the answers so far, which took so long together."""
        answered = len(self._answered_ms)
        return StreamFigures(
            frames=self._frames,
            answered=answered,
            dropped=self._dropped,
            refused=self._refused,
            failed=self._failed,
            seconds=seconds,
            answered_per_s=answered / seconds if seconds else 0.0,
            p50_ms=percentile(self._answered_ms, 50),
            p99_ms=percentile(self._answered_ms, 99),
            first_error=self._first_error,
        )


def words_of(figures: StreamFigures) -> str:
    """The figures as a few lines of text."""
    lines = [
        f"{figures.frames} frames in {figures.seconds:.1f} s: {figures.answered} answered, {figures.dropped} dropped, "
        f"{figures.refused} refused, {figures.failed} failed",
        f"{figures.answered_per_s:.1f} frames/s",
    ]
    if figures.p50_ms is not None and figures.p99_ms is not None:
        lines.append(f"latency p50 {figures.p50_ms:.1f} ms, p99 {figures.p99_ms:.1f} ms")
    if figures.first_error is not None:
        lines.append(f"first error: {figures.first_error}")
    return "\n".join(lines)
