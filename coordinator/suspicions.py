"""Nodes and links that did not do in time what a plan asked of them: for how long they are left out, and why.

Pure. A suspect is taken back when its patience is over and something new was heard of it; a new session begins anew.
"""

from dataclasses import dataclass, replace

from broker.messages import StageMiss

FIRST_PATIENCE_S = 2.0
LONGEST_PATIENCE_S = 60.0
SILENT_S = 15.0
"""Of nodes something is heard every second, of a link that does not change every 10 s, by default."""
FORGOTTEN_S = 600.0
"""Who has done well for so long since its last miss starts anew."""
LATE_S = 5.0
"""For so long after it was taken back, misses of requests that had begun before may still come."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a suspect is left out, since its newest miss."""

    reason: str
    at: float
    """When its newest miss was heard of."""
    count: int
    """How many times it was left out; each time for twice as long, up to a bound."""
    epoch: int
    """The newest epoch of its misses."""

    @property
    def patience_s(self) -> float:
        """For how long it is left out at least."""
        return min(FIRST_PATIENCE_S * 2.0 ** min(self.count - 1, 16), LONGEST_PATIENCE_S)

    def is_over(self, heard_at: float, now: float) -> bool:
        """Whether it is healthy again; `heard_at` is when something new was heard of it last."""
        # A clock that was set back must not keep it out.
        return now < self.at or (now - self.at >= self.patience_s and heard_at > self.at)

    def leaves_out(self, heard_at: float, now: float, *, plan_stays: bool) -> bool:
        """Whether it is planned without. A plan that is to stay outlasts what is slow, and ends with what is silent."""
        return not self.is_over(heard_at, now) and (not plan_stays or now - heard_at >= SILENT_S)


def after_miss(before: Suspicion | None, miss: StageMiss, at: float, heard_at: float) -> Suspicion:
    """The suspicion after a miss; `heard_at` is when something new was heard of the suspect last.

    A miss while it is left out is of the same fault, and lengthens that; a later one makes it last for longer.
    """
    if before is None:
        return Suspicion(reason_of(miss), at, 1, miss.epoch)
    if not before.is_over(heard_at, at):
        return replace(before, at=max(at, before.at), epoch=max(before.epoch, miss.epoch))
    left_out_until = before.at + before.patience_s
    if miss.epoch <= before.epoch and 0.0 <= at - left_out_until < LATE_S:
        return before
    count = before.count + 1 if 0.0 <= at - before.at < FORGOTTEN_S else 1
    return Suspicion(reason_of(miss), at, count, max(before.epoch, miss.epoch))


def reason_of(miss: StageMiss) -> str:
    """The miss in words; one that nothing was allowed for is no matter of time."""
    if not miss.allowed_ms:
        return f"{miss.suspect} failed in its part of a request of {miss.node}, whose log says why"
    allowed = f"{miss.allowed_ms:.0f} ms allowed"
    if miss.delivered:
        return f"{miss.node} waited {miss.waited_ms:.0f} ms for {miss.suspect}, {allowed}"
    return f"{miss.node} waited {miss.waited_ms:.0f} ms for {miss.suspect} to take tensors from {miss.src}, {allowed}"
