"""The requests of an origin that have begun and not ended, by the names of their attempts, and how many may begin.

Not locked: `edge_agent.origin` does that. How long a request would wait is `edge_agent.overload`'s estimate.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from broker.messages import Plan
from edge_agent.overload import Paces
from edge_agent.request import Request, same_plan
from edge_agent.routes import route

MOST_IN_FLIGHT: Final = 64  # as many as an executor lets wait
MOST_BYTES: Final = 256 * 2**20  # of the tensors that requests in flight hold here


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a request may take, and how long it may have to wait for others to be taken at all."""

    timeout_s: float
    longest_wait_s: float
    failover: bool = True
    """Whether a stage has no more time than its plan predicts, with its spread; otherwise `timeout_s` alone counts."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Why a request is not taken: what waits before it, and for how long it would have."""

    reason: str
    wait_ms: float


class RequestBook:
    """Bounded in requests and in bytes: what comes beyond is refused with the wait that it would have had."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests: dict[bytes, Request] = {}
        self._paces = Paces()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        """Over all as of now, whatever becomes of them meanwhile."""
        return iter(list(self._requests.values()))

    def add(self, request: Request) -> None:
        """A request begins."""
        self._requests[request.attempt] = request

    def get(self, attempt: bytes) -> Request | None:
        """The request whose attempt has this name now."""
        return self._requests.get(attempt)

    def under_way(self, attempt: bytes) -> Request | None:
        """The same, as long as the attempt is on its way through its plan."""
        request = self._requests.get(attempt)
        return request if request is not None and request.phase == "under way" else None

    def end(self, request: Request) -> bool:
        """A request ends; False if it has ended before."""
        return self._requests.pop(request.attempt, None) is not None

    def abandon(self, request: Request) -> None:
        """Let no message of the attempt so far be taken for one of the request's; one that has ended stays so."""
        if self.end(request):
            request.abandon()
            self._requests[request.attempt] = request

    def renew(self, request: Request, plan: Plan) -> None:
        """Begin a request anew under a plan."""
        self.end(request)
        request.renew(plan)
        self._requests[request.attempt] = request

    def answered(self, request: Request, now_ns: int) -> None:
        """A request has its result."""
        self._paces.answered(request.plan.deployment, request.started_ns / 1e9, now_ns / 1e9, _busiest_s(request))

    def under(self, plan: Plan) -> int:
        """How many requests run under a plan."""
        return sum(each.plan.deployment == plan.deployment and same_plan(each.plan, plan) for each in self)

    def wait_ms(self, deployment: str, waiting: int) -> float:
        """How long a request would wait that comes after `waiting` others and those that are here."""
        here = sum(each.plan.deployment == deployment for each in self)
        return self._paces.wait_s(deployment, waiting + here) * 1e3

    def refusal(self, deployment: str, waiting: int, size_bytes: int) -> Busy | None:
        """Why a request of `size_bytes` that comes after `waiting` others is not taken now; None if it is."""
        wait_ms = self.wait_ms(deployment, waiting)
        if wait_ms > self._limits.longest_wait_s * 1e3:
            reason = f", more than longest_wait_s {self._limits.longest_wait_s:g} s"
        elif len(self) >= MOST_IN_FLIGHT:
            reason = f": {len(self)} requests are under way already"
        elif len(self) and not self.has_room(size_bytes):
            reason = f": requests under way hold {self._kept_bytes() / 1e6:.0f} MB already"
        else:
            return None
        return Busy(f"busy: it would have waited {wait_ms / 1e3:.1f} s{reason}", wait_ms)

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much more may be kept."""
        return self._kept_bytes() + size_bytes <= MOST_BYTES

    def _kept_bytes(self) -> int:
        return sum(each.kept_bytes for each in self)


def _busiest_s(request: Request) -> float | None:
    """What the busiest node or link of a request's plan was busy with it, as far as is known; None without a result."""
    if request.result is None:
        return None
    hops = route(request.plan)
    busy_s: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for record in request.result.stages:
        busy_s[hops[record.hop].node,] += record.compute_ns / 1e9
    for hop in request.transfers.values():
        busy_s[hop.src, hop.dst] += hop.transfer_ms / 1e3
    return max(busy_s.values(), default=None)
