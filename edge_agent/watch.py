"""Watches how an origin's requests get on: what is overdue, who is to blame, and whom requests should avoid since.

Not locked, and does nothing about it: `edge_agent.origin` does both. How long is too long says `edge_agent.patience`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from edge_agent.patience import Experience, Leg
from edge_agent.request import Request
from edge_agent.routes import route
from edge_agent.suspicion import Suspects

STOOD_STILL_NS: Final = 500_000_000  # a look that comes so much after the last: this process did not run meanwhile
LONGEST_LOADING_NS: Final = 5_000_000_000  # VGG16 took 3 s on two busy cores of x86-64, measured
MOST_STRETCH: Final = 2.0  # of the time that a leg is allowed, by one sign that came too late
LATE_KEPT: Final = 256
NODES_KEPT: Final = 1_024
LONGEST_START_NS: Final = 10_000_000_000  # how long a node that was born again is taken to load


@dataclass(frozen=True, slots=True)
class Blame:
    """Who is silent, and whether it has the tensors, which it had from `src`."""

    suspect: str
    src: str
    delivered: bool


@dataclass(frozen=True, slots=True)
class _Late:
    """A leg that was given up, should a sign of it come yet."""

    leg: Leg
    since_ns: int
    suspect: str
    teaches: bool
    """Whether its nodes are slower than was thought, if so; not where a fault delayed it."""


class Watch:
    """Times are in nanoseconds of one monotonic clock. While a node `is_loading`, everybody's time at it stands still.

    Nothing may be awaited beyond `longest_ns` after its request began, so that there is time left to do without it.
    One that `is_patient` finds nothing overdue, and knows only of deaths.
    """

    def __init__(
        self,
        node: str,
        is_loading: Callable[[str], bool],
        now_ns: int,
        *,
        longest_ns: int,
        is_patient: bool = False,
    ) -> None:
        self._node = node
        self._is_loading = is_loading
        self._longest_ns = longest_ns
        self._is_patient = is_patient
        self._gone: dict[str, int | None] = {}
        """When each that has gone was born again, where it was."""
        self._heard_ns: dict[str, int] = {}
        self._suspects = Suspects()
        self._experience = Experience()
        self._late: dict[bytes, _Late] = {}
        self._looked_ns = now_ns

    @property
    def gone(self) -> frozenset[str]:
        """The nodes whose death was told."""
        return frozenset(self._gone)

    @property
    def avoided(self) -> frozenset[str]:
        """The nodes that no request should go to: those that have gone, and suspects."""
        return self._suspects.avoided | self._gone.keys()

    def fault_of(self, node: str) -> str:
        """Why a node is avoided, in words."""
        return f"{node} has gone" if node in self._gone else f"{node} missed a stage and has not been heard from since"

    def lose(self, node: str) -> None:
        """A node has gone; among too many that have, which comes of no site of ours, one is forgotten."""
        if len(self._gone) >= NODES_KEPT:
            self._gone.popitem()
        self._gone[node] = None
        self._heard_ns.pop(node, None)

    def reborn(self, node: str, now_ns: int) -> None:
        """A node that had gone is there again, and loads its segments."""
        if node in self._gone:
            self._gone[node] = now_ns

    def regain(self, node: str) -> None:
        """A node has its segments: nothing is held against it."""
        self._gone.pop(node, None)
        self._suspects.answered(node)

    def heard(self, node: str, now_ns: int) -> None:
        """A sign of life has come from a node."""
        if node not in self._gone and (node in self._heard_ns or len(self._heard_ns) < NODES_KEPT):
            self._heard_ns[node] = now_ns
        self._suspects.heard(node, now_ns / 1e9)

    def answered(self, nodes: Iterable[str]) -> None:
        """These nodes have done their part of a request."""
        for node in nodes:
            self._suspects.answered(node)

    def look(self, requests: Iterable[Request], now_ns: int) -> None:
        """Begin a look at all requests: the time since the last runs for none that could not get on meanwhile.

        That is all of them where this process stood still, for what came in meanwhile counts first.
        """
        for node, reborn_ns in list(self._gone.items()):
            if reborn_ns is not None and now_ns - reborn_ns > LONGEST_START_NS:
                # Its report may have been lost; whether it goes on, the next request will show.
                self.regain(node)
        since_ns, self._looked_ns = now_ns - self._looked_ns, now_ns
        for request in requests:
            if since_ns > STOOD_STILL_NS or self._waits_for_loading(request, now_ns):
                # It goes on where it stopped: plans that follow each other closely must not give it its time anew.
                request.patient_from_ns = min(request.patient_from_ns + since_ns, now_ns)

    def allowed_ms(self, leg: Leg) -> float:
        """The time that a leg has; 0 where nothing of it is predicted."""
        return min(self._experience.allowed_ms(leg) or 0.0, self._longest_ns / 1e6)

    def left_ms(self, request: Request, now_ns: int) -> float | None:
        """How long the awaited leg may still take; None where nothing is awaited, or nothing of it predicted."""
        leg = request.leg
        if self._is_patient or request.phase != "under way" or leg is None:
            return None
        allowed_ms = self._experience.allowed_ms(leg)
        if allowed_ms is None:
            return None
        left_ns = request.started_ns + self._longest_ns - now_ns
        return min(allowed_ms - (now_ns - request.patient_from_ns) / 1e6, left_ns / 1e6)

    def passed(self, request: Request, hop: int, requests: Iterable[Request], now_ns: int) -> None:
        """A request's tensors have reached a hop: those behind it in the same line wait from now on."""
        leg, since_ns, patient_from_ns = request.leg, request.since_ns, request.patient_from_ns
        request.passed(hop, now_ns)
        if leg is None or since_ns is None or leg.hop > hop:
            return
        if leg.hop == hop:
            self._learn(leg, now_ns - patient_from_ns)
        for behind in line(requests, leg, since_ns):
            behind.patient_from_ns, behind.asked_ns = now_ns, None

    def passed_late(self, attempt: bytes, hop: int, now_ns: int) -> None:
        """A sign of an attempt that is none any more: where it was given up, its suspect has gone on after all."""
        late = self._late.get(attempt)
        if late is not None and hop >= late.leg.hop:
            del self._late[attempt]
            if late.teaches:
                self._learn(late.leg, now_ns - late.since_ns)
            self._suspects.heard(late.suspect, now_ns / 1e9)

    def _waits_for_loading(self, request: Request, now_ns: int) -> bool:
        """A process that loads stands still; one that is said to load for ever may have stopped."""
        leg, since_ns = request.leg, request.since_ns
        if leg is None or since_ns is None or now_ns - since_ns >= LONGEST_LOADING_NS:
            return False
        return any(self._is_loading(node) for node in (leg.src, leg.dst, self._node))

    def _learn(self, leg: Leg, took_ns: int) -> None:
        # A cut between two others silences nobody: one sign, however late, teaches only so much patience.
        took_ms, allowed_ms = took_ns / 1e6, self._experience.allowed_ms(leg)
        self._experience.measured(leg, took_ms if allowed_ms is None else min(took_ms, MOST_STRETCH * allowed_ms))

    def blame(self, request: Request, leg: Leg) -> Blame:
        """Who is to blame for an overdue leg: its sender, unless that is alive and the receiver is not."""
        dst_ns = self._heard_ns.get(leg.dst)
        receiver_is_silent = (
            leg.dst != self._node
            and dst_ns is not None
            and dst_ns < request.patient_from_ns <= self._heard_ns.get(leg.src, 0)
        )
        if leg.src == self._node or receiver_is_silent:
            return Blame(leg.dst, leg.src, delivered=False)
        return Blame(leg.src, way_to(request, leg.hop - 1).src, delivered=True)

    def missed(self, request: Request, leg: Leg, suspect: str, now_ns: int) -> None:
        """A leg is given up, and its suspect avoided from now on.

        A fault delays many and teaches patience once; one that silences its suspect altogether, as a cut does, never.
        """
        heard_ns, asked_ns = self._heard_ns.get(suspect), request.asked_ns
        is_silent = heard_ns is not None and asked_ns is not None and heard_ns < asked_ns
        teaches = not is_silent and suspect not in self._suspects.avoided
        self._suspects.missed(suspect, now_ns / 1e9)
        if request.leg is not None:
            if len(self._late) >= LATE_KEPT:
                del self._late[next(iter(self._late))]
            self._late[request.attempt] = _Late(leg, request.patient_from_ns, suspect, teaches)


def line(requests: Iterable[Request], leg: Leg, since_ns: int) -> list[Request]:
    """The requests that await the same way between the same nodes, and have done so from then on at most."""
    return [
        other
        for other in requests
        if other.phase == "under way"
        and other.since_ns is not None
        and other.since_ns >= since_ns
        and other.leg is not None
        and other.leg.pair == leg.pair
    ]


def way_to(request: Request, hop: int) -> Leg:
    """The way by which a request's tensors came to the node of a hop; nothing of it is predicted."""
    hops = route(request.plan)
    first = next(number for number in range(hop, -1, -1) if number == 0 or hops[number - 1].node != hops[hop].node)
    return Leg(first, hops[max(0, first - 1)].node, hops[hop].node, None, 0.0)
