"""Decides what to ask of a link and when: pings, bandwidth probes within a budget of bytes, and what is news.

Pure: times come as arguments, in seconds of one monotonic clock. The thread that acts on it is `edge_agent.prober`.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta

from edge_agent.deliveries import Delivery, ProbeResult
from edge_agent.lines import InFlight
from edge_agent.links import LinkEstimate, LinkEstimator, Move
from edge_agent.pacing import Pace

CHUNKS: Final = 8
FIRST_PROBE_BYTES: Final = 16_384
SMALLEST_PROBE_BYTES: Final = 8_192
PING_BYTES: Final = 150  # both ways, with the headers of TCP and IP
LONGEST_PROBE_S: Final = 0.5  # where the estimate holds; the smallest probe may take longer on the thinnest link
MAX_LINE_SHARE: Final = 0.15  # of a thin line's time may go into probes
MOST_ABOVE_WHOLE: Final = 2.0  # a slope above twice the whole probe's rate tells of its receiver, not of the link
STALL_MS: Final = 1_000.0  # below this a late reply is more likely a busy peer than a thin link
ALIVE_S: Final = 15.0  # a peer that was silent for longer is gone, as far as its link is concerned
_SOON_S: Final = 0.2
_MINUTE_S: Final = 60.0
_MOST_PARTS: Final = 6  # of a minute: what is spent at once leaves a link unseen for ten seconds at most
_PART_BYTES: Final = 131_072  # a part is worth one probe of any link but the fastest
_CLEAR_BYTES: Final = 32_768  # less, and a probe is hardly longer than its ramp


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a node measures its links to the others."""

    ping_interval_s: Annotated[float, Meta(ge=0.1, le=3_600, description="Seconds between pings to each agent.")] = 1.0
    probe_interval_s: Annotated[
        float,
        Meta(
            ge=0.5,
            le=3_600,
            description="Seconds between bandwidth probes of a link; none while transfers that are not paced "
            "show its bandwidth.",
        ),
    ] = 2.0
    max_probe_bytes_per_minute: Annotated[
        int, Meta(ge=20_000, description="Bound on the bytes of pings and probes, for each link and minute.")
    ] = 1_000_000
    publish_interval_s: Annotated[
        float, Meta(ge=0.5, le=3_600, description="Seconds between readings of a link that does not change.")
    ] = 10.0
    change: Annotated[float, Meta(gt=0, lt=1, description="Relative change of a link that is published at once.")] = 0.1


@dataclass(frozen=True, slots=True)
class Probe:
    """A bandwidth probe: so many messages of so many bytes."""

    chunks: int
    chunk_bytes: int


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be sent over a link now."""

    ping: bool = False
    probe: Probe | None = None


_NOTHING: Final = Due()


class ByteBudget:
    """At most so many bytes in any stretch of time of one length."""

    def __init__(self, max_bytes: int, window_s: float = _MINUTE_S) -> None:
        """Nothing is spent yet."""
        self._max_bytes, self._window_s = max_bytes, window_s
        self._spent: deque[tuple[float, int]] = deque()
        self._spent_bytes = 0

    @classmethod
    def of_a_minute(cls, max_bytes: int) -> Self:
        """At most so many bytes in any 60 s, shared out evenly over parts of it that are as short as probes allow.

        Spent all at once, they would leave the link unseen for the rest of the minute.
        """
        parts = max(1, min(_MOST_PARTS, max_bytes // _PART_BYTES))
        return cls(max_bytes // parts, _MINUTE_S / parts)

    def left_bytes(self, at: float) -> int:
        """How much may be spent at `at`."""
        while self._spent and self._spent[0][0] <= at - self._window_s:
            self._spent_bytes -= self._spent.popleft()[1]
        return self._max_bytes - self._spent_bytes

    def take(self, size_bytes: int, at: float) -> bool:
        """Spend `size_bytes` at `at`, or refuse."""
        if size_bytes > self.left_bytes(at):
            return False
        self._spent.append((at, size_bytes))
        self._spent_bytes += size_bytes
        return True


def probe_bytes(mbps: float | None, rtt_ms: float) -> int:
    """How large a probe shows a bandwidth near `mbps` (None: unknown), without holding a thin line up for long."""
    if mbps is None:
        return FIRST_PROBE_BYTES
    # Measured: 32 KB are enough at 1-20 Mbit/s, 64 KB at 100, 128 KB at a round trip of 40 ms (slow start).
    if mbps <= 20:
        enough = 32_768
    elif mbps <= 100:
        enough = 65_536 if rtt_ms < 20 else 131_072
    else:
        enough = 131_072 if mbps <= 400 else 262_144  # chunks of 16 and 32 KB, so that their handling does not count
    bearable = mbps * 1e6 / 8 * LONGEST_PROBE_S
    return max(SMALLEST_PROBE_BYTES, min(enough, int(bearable)))


def _unheeded(_move: Move, _at: float) -> None:
    """A link that is watched alone has nobody to tell."""


def _credible_mbps(result: ProbeResult, rtt_ms: float | None) -> float:
    """The most that a probe may show: a receiver that was kept from its socket takes chunks of a thin link at once.

    Then the whole probe took long, while its end seems to have come fast. A slow start shows so too, and is a cost of
    real transfers as much.
    """
    on_the_line_ms = result.elapsed_ms - (rtt_ms or 0.0)
    if on_the_line_ms <= 0:
        return math.inf
    return MOST_ABOVE_WHOLE * 8 * result.size_bytes / (1_000 * on_the_line_ms)


class LinkWatch:
    """One link as its sender watches it: the estimate, what to ask next, and what of it is news."""

    def __init__(
        self,
        settings: LinkSettings,
        moved: Callable[[Move, float], None] | None = None,
        *,
        pacing: float | None = None,
    ) -> None:
        """Nothing is known of the link yet; `moved` gets what is learned of its bandwidth, and when.

        Tensors are held to the share `pacing` of it, or to nothing.
        """
        self._settings = settings
        self._pace = Pace(pacing)
        self._left: tuple[LinkEstimate, float | None, LinkEstimate] | None = None
        self._moved = moved or _unheeded
        self._estimator = LinkEstimator()
        self._budget = ByteBudget.of_a_minute(settings.max_probe_bytes_per_minute)
        self._pinged_at = self._probed_at = -math.inf
        self._probed_bytes = FIRST_PROBE_BYTES // 2
        self._published: LinkEstimate | None = None
        self._published_at = -math.inf
        self._no_news: LinkEstimate | None = None  # the last one that differed too little
        self._heard = self._has_answered = False
        self._answered_at = -math.inf

    def estimate(self) -> LinkEstimate | None:
        """The link as tensors have it now, or None until both a ping and a bandwidth are there."""
        whole = self._estimator.estimate()
        if whole is None:
            return None
        if self._left is None or self._left[0] is not whole or self._left[1] != self._pace.mbps:
            mbps = self._pace.left(whole.mbps)
            left = replace(whole, mbps=mbps, mbps_std=whole.mbps_std * mbps / whole.mbps)
            self._left = (whole, self._pace.mbps, left)
        return self._left[2]

    def pace_mbps(self) -> float | None:
        """The pace in Mbit/s to which tensors are to be held from now on; None for none."""
        self._pace.follow(self._estimator.sampled_mbps)
        return self._pace.mbps

    @property
    def rtt_ms(self) -> float | None:
        """The round trip in ms, or None before the first ping."""
        return self._estimator.rtt_ms

    def round_trip(self, rtt_ms: float) -> None:
        """A ping on an idle line has come back."""
        self._heard = self._has_answered = True
        self._estimator.ping(rtt_ms)

    def probed(self, result: ProbeResult, at: float) -> None:
        """A probe has come back."""
        self._heard = self._has_answered = True
        mbps = result.slope.mbps
        if mbps is not None:
            self._tell(self._estimator.probe(min(mbps, _credible_mbps(result, self._estimator.rtt_ms)), at), at)

    def delivered(self, delivery: Delivery, at: float) -> None:
        """Real tensors have arrived."""
        self._heard = self._has_answered = True
        move = self._estimator.transfer(
            delivery.size_bytes, delivery.elapsed_ms, delivery.gap_ms, at, delivery.pace_mbps
        )
        self._tell(move, at)

    def go_along(self, by: float, at: float) -> None:
        """Other links of this node have moved, and this one presumably by `by` with them, in its logarithm.

        As long as the peer was heard of lately, that is as good as heard: it may be news.
        """
        if self._estimator.go_along(by) and at - self._answered_at < ALIVE_S:
            self._heard = True

    def due(self, at: float, in_flight: InFlight | None) -> Due:
        """What to send now; what is returned counts as sent. A busy line is left alone, but its delay is judged.

        Where tensors are paced they do not show the bandwidth, so a busy line is probed as well as an idle one, by one
        probe at a time: another would be paid for and not sent.
        """
        if self._has_answered:
            self._has_answered, self._answered_at = False, at
        if in_flight is not None:
            self._judge_waiting(in_flight, at)
            wants_probe = self._pace.mbps is not None and not in_flight.is_probed
            probe = self._due_probe(at) if wants_probe else None
            return Due(probe=probe) if probe is not None else _NOTHING
        ping = at - self._pinged_at >= self._settings.ping_interval_s and self._budget.take(PING_BYTES, at)
        if ping:
            self._pinged_at = at
        probe = self._due_probe(at)
        return Due(ping, probe) if ping or probe is not None else _NOTHING

    def news(self, at: float) -> LinkEstimate | None:
        """The estimate if it should be published now; what is returned counts as published.

        That is when it has changed clearly, or from time to time as long as the peer answers.
        """
        estimate = self.estimate() if self._heard else None
        if estimate is None:
            return None
        is_old = at - self._published_at >= self._settings.publish_interval_s
        if not is_old and estimate is self._no_news:
            return None
        if not is_old and self._published is not None and not self._differs(self._published, estimate):
            self._no_news = estimate
            return None
        self._published, self._published_at, self._heard = estimate, at, False
        return estimate

    def _judge_waiting(self, in_flight: InFlight, at: float) -> None:
        if in_flight.waiting_ms > STALL_MS and in_flight.size_bytes >= SMALLEST_PROBE_BYTES:
            move = self._estimator.ceiling(8 * in_flight.size_bytes / (1_000 * in_flight.waiting_ms), at)
            self._heard = self._heard or move is not None
            self._tell(move, at)

    def _tell(self, move: Move | None, at: float) -> None:
        if move is not None:
            self._moved(move, at)

    def _due_probe(self, at: float) -> Probe | None:
        rtt_ms = self._estimator.rtt_ms
        if rtt_ms is None or at - self._probed_at < _SOON_S:
            return None  # a peer that answers no ping gets no probe
        suspected, known = self._estimator.suspected_mbps, self._estimator.mbps
        wanted = probe_bytes(known if suspected is None else suspected, rtt_ms)
        # A suspicion may be wrong by far, so a probe grows by at most a factor of two, and shrinks at once.
        size_bytes = min(wanted, 2 * self._probed_bytes)
        is_urgent = suspected is not None or self._estimator.is_in_doubt or wanted >= 2 * self._probed_bytes
        if not is_urgent:
            is_fresh = at - self._estimator.sampled_at < self._settings.probe_interval_s
            if is_fresh and self._pace.mbps is None:
                return None
            if at - self._probed_at < self._spacing_s(size_bytes, known):
                return None
        # Half of it now is better than all of it later, as long as it shows the link.
        least_bytes = min(size_bytes, max(size_bytes // 2, _CLEAR_BYTES))
        size_bytes = max(least_bytes, min(size_bytes, self._budget.left_bytes(at)))
        if not self._budget.take(size_bytes, at):
            return None
        self._probed_at, self._probed_bytes = at, size_bytes
        return Probe(CHUNKS, size_bytes // CHUNKS)

    def _spacing_s(self, size_bytes: int, mbps: float | None) -> float:
        within_budget_s = _MINUTE_S * size_bytes / self._settings.max_probe_bytes_per_minute
        on_the_line_s = 0.0 if mbps is None else 8 * size_bytes / (mbps * 1e6)
        return max(self._settings.probe_interval_s, within_budget_s, on_the_line_s / MAX_LINE_SHARE)

    def _differs(self, old: LinkEstimate, new: LinkEstimate) -> bool:
        by_mbps, by_rtt_ms = abs(new.mbps - old.mbps), abs(new.rtt_ms - old.rtt_ms)
        bandwidth = by_mbps > self._settings.change * old.mbps and by_mbps > new.mbps_std / 2
        # Below a millisecond the round trip is the machines' own unrest.
        return bandwidth or (by_rtt_ms > self._settings.change * old.rtt_ms and by_rtt_ms > max(1.0, new.rtt_ms_std))
