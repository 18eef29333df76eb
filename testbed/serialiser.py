"""When bytes leave a shaped link: the arithmetic of a queue whose rate follows a trace; no clock, no sockets."""

import math
from dataclasses import dataclass, replace

from testbed.traces import Trace

TURN_S = 0.001
FORGIVEN_S = 0.001
CATCHING_UP = 1.1
PACKET_BYTES = 1_448  # what an Ethernet frame of 1,500 bytes holds of a TCP stream with timestamps
LARGEST_TURN_BYTES = 8_192  # so that a probe of tens of KB does not arrive as one burst


@dataclass(frozen=True, slots=True)
class LinkState:
    """One directed link at a moment. All times are seconds of one monotonic clock.

    `trace` has run since `trace_start_s`; `free_at_s` is when the last byte let in leaves; a cut one carries nothing.
    """

    trace: Trace
    delay_ms: float
    trace_start_s: float
    free_at_s: float = -math.inf
    is_cut: bool = False

    def mbps_at(self, now_s: float) -> float:
        """What the link carries now, in Mbit/s; 0 while it is cut."""
        return 0.0 if self.is_cut else self.trace.mbps_at(now_s - self.trace_start_s)


def departure_s(link: LinkState, size_bytes: int, start_s: float) -> float:
    """When the last bit has left, if the first leaves at `start_s`; infinite on a link that is cut or stays at 0."""
    if link.is_cut:
        return math.inf
    bits = 8.0 * size_bytes
    now_s = start_s
    while True:
        bits_per_s = link.mbps_at(now_s) * 1e6
        step_end_s = link.trace_start_s + link.trace.next_step_s(now_s - link.trace_start_s)
        finish_s = now_s + bits / bits_per_s if bits_per_s > 0 else math.inf
        if finish_s <= step_end_s or math.isinf(step_end_s):
            return finish_s
        bits -= bits_per_s * (step_end_s - now_s)
        # Absolute times are coarser than the trace's own, so a step may end at the very float it began at.
        now_s = max(step_end_s, math.nextafter(now_s, math.inf))


def admit(link: LinkState, size_bytes: int, arrived_s: float) -> tuple[LinkState, float]:
    """The link after it has taken bytes that arrived at `arrived_s`, and when their last bit leaves it.

    What arrived while the link was busy starts when it is free, so a late caller costs no capacity.
    """
    leaves_s = departure_s(link, size_bytes, max(arrived_s, link.free_at_s))
    return replace(link, free_at_s=leaves_s), leaves_s


def arrival_s(due_s: float, now_s: float, before_s: float, size_bytes: int, mbps: float) -> float:
    """When bytes that were due at `due_s` may arrive, if those before them arrived at `before_s`.

    A late caller (a busy processor) must not hand on what has piled up as one burst: no link is faster than itself,
    and whoever measures it by a probe's arrivals would believe so. A small part of the lateness is made up for.
    """
    if now_s - due_s <= FORGIVEN_S or mbps <= 0:
        return max(due_s, now_s)
    return max(now_s, before_s + 8 * size_bytes / (mbps * 1e6 * CATCHING_UP))


def chunk_bytes(mbps: float) -> int:
    """How much one connection sends before the next one's turn: about a millisecond of the link, at least a packet."""
    return round(min(LARGEST_TURN_BYTES, max(PACKET_BYTES, mbps * 1e6 / 8 * TURN_S)))
