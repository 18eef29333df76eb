"""Decides which way the messages to a peer go: directly, or through the broker while it cannot be connected to.

Pure: times come as arguments, in seconds of one monotonic clock. `edge_agent.ways` acts on it.
"""

from typing import Final, Literal

from broker.explanations import is_loopback
from edge_agent.configuration import AgentSettings

LONGEST_RETURN_S: Final = 10.0
"""How long the direct way waits for what is under way through the broker, at most, so that nothing is overtaken."""

State = Literal["direct", "mqtt", "returning"]
"""`returning`: the peer can be connected to again, and what goes to it waits until the other way is empty."""


class Choice:
    """The way to one peer: another one is taken late, and given up at once."""

    def __init__(self, after_s: float, at: float) -> None:
        """The direct way first; the other one where it could not be made for `after_s`."""
        self._after_s = after_s
        self._since = at
        self.state: State = "direct"

    def look(self, at: float, *, is_up: bool, is_empty: bool) -> State:
        """What holds now: the direct way is up or not, and the other one empty or not."""
        match self.state:
            case "direct":
                if is_up:
                    self._since = at
                elif at - self._since >= self._after_s:
                    self.state = "mqtt"
            case "mqtt":
                if is_up:
                    self.state, self._since = "returning", at
            case "returning":
                if not is_up:
                    self.state = "mqtt"
                elif is_empty or at - self._since >= LONGEST_RETURN_S:
                    self.state, self._since = "direct", at
        return self.state


def fallback_refusal(settings: AgentSettings) -> str | None:
    """Why this node's tensors may not go through the broker though its settings let them, in one sentence; or None."""
    tensors, broker = settings.tensors, settings.broker
    if tensors.fallback == "none" or tensors.security == "open" or broker.encrypted or is_loopback(broker.host):
        return None
    return (
        f"tensors are encrypted between agents, but the broker {broker.endpoint} is not reached over TLS: none go "
        "through it; set broker.ca_file, or tensors.fallback to none"
    )


def takes_fallback(settings: AgentSettings) -> bool:
    """Whether this node's tensors may go through the broker, where they cannot go directly."""
    return settings.tensors.fallback == "mqtt" and fallback_refusal(settings) is None
