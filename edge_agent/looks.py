"""A look at what a paced line could carry: a probe for which the pace is lifted and everything else is held back.

Pure: times come as arguments, in nanoseconds. `edge_agent.transport` sends what is due.
"""

from collections.abc import Sequence
from typing import Final, Literal

from edge_agent.wire_tensors import Frame

Messages = Sequence[Sequence[Frame]]

PATIENCE_NS: Final = 2_000_000_000


class Look:
    """One probe, in three steps: the line drains, a ping goes alone, then the probe's chunks.

    The ping has the kernel reckon anew how fast it may send, since it does so only when something is acknowledged: else
    the probe would see the pace that was just lifted.
    """

    def __init__(self, ping: int, probe: int, messages: Messages) -> None:
        """The tokens of its ping and probe, which are owed on the line already, and the probe's messages."""
        self.ping, self.probe, self.messages = ping, probe, messages
        self.held: list[bytes] = []
        """The messages that are to be sent after it, in order."""
        self.step: Literal["draining", "pinging", "probing"] = "draining"
        self._since_ns = 0

    def goes_on(self, step: Literal["pinging", "probing"], at_ns: int) -> None:
        """The line has drained, or the ping has come back."""
        self.step, self._since_ns = step, at_ns

    def is_overdue(self, at_ns: int) -> bool:
        """What it waits for has got lost: what is held must not wait for ever."""
        return self.step != "draining" and at_ns - self._since_ns > PATIENCE_NS
