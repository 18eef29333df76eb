"""Decides how fast tensors may go over a link, so that the messages which share it stay quick, and what that leaves.

Pure; `edge_agent.tcp` holds a connection to it, `edge_agent.looks` lifts it for a probe.
"""

from typing import Final

PACED_BELOW_MBPS: Final = 300.0  # there a 600 KB tensor passes in 16 ms: what waits behind it does not mind
_RELEASED_ABOVE: Final = 1.25  # of that, so that a link near the bound does not go to and fro
_CHANGE: Final = 0.05  # of the pace that is worth telling the kernel
PACED_SHARE: Final = 0.75  # a transfer at three quarters of its pace or above tells of the pace, not of the link


class Pace:
    """The pace of one link's tensors: a share of its bandwidth as last sampled, where the link is not fast anyway."""

    def __init__(self, share: float | None) -> None:
        """Hold tensors to `share` (0 to 1) of the bandwidth; None holds them to nothing."""
        self._share = share
        self.mbps: float | None = None
        """The pace in Mbit/s, None where tensors go as fast as they can."""

    def follow(self, sampled_mbps: float | None) -> None:
        """The link was last sampled at this bandwidth in Mbit/s (None: never)."""
        wanted = self._wanted(sampled_mbps)
        if wanted is None or self.mbps is None or abs(wanted - self.mbps) > _CHANGE * self.mbps:
            self.mbps = wanted

    def left(self, mbps: float) -> float:
        """What tensors get of a link of this bandwidth, in Mbit/s."""
        return mbps if self.mbps is None else min(mbps, self.mbps)

    def _wanted(self, sampled_mbps: float | None) -> float | None:
        if self._share is None or sampled_mbps is None:
            return None
        bound = PACED_BELOW_MBPS * (1.0 if self.mbps is None else _RELEASED_ABOVE)
        return self._share * sampled_mbps if sampled_mbps < bound else None


def is_of_the_link(mbps: float, pace_mbps: float | None) -> bool:
    """Whether a transfer that went at `mbps`, held to `pace_mbps`, shows what the link can carry."""
    return pace_mbps is None or mbps < PACED_SHARE * pace_mbps
