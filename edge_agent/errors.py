"""The errors of a node's agent.

AgentError (SplitrailError)
├── WireError (ValueError)           frames that are not a message of the tensor plane, or of another version
├── TransportError (OSError)         an endpoint that cannot be listened on or does not make sense
│   └── SendError                    a message that cannot be queued: unknown peer, full queue, closed transport
├── NodeKeyError (OSError)           a tensor key that cannot be used: unreadable, malformed, readable by others
├── ExecutorBusyError (RuntimeError) too many requests wait for this node's compute already
├── ProfileError (ValueError)        a model whose cost cannot be measured here
└── MeterUnavailableError (OSError)  an energy meter that this machine lacks or does not let us read
"""

from pathlib import Path

from splitrail.errors import SplitrailError


class AgentError(SplitrailError):
    """A fault of a node's agent."""


class WireError(AgentError, ValueError):
    """Frames that are not a message of the tensor plane; the message says which field does not fit."""


class TransportError(AgentError, OSError):
    """The tensor transport cannot use `endpoint`; the message says why."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class SendError(TransportError):
    """A message to a peer could not be queued; nothing of it was sent."""

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"cannot send to {peer}", reason)
        self.peer = peer


class NodeKeyError(AgentError, OSError):
    """The node's tensor key in `path` cannot be used; the message says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class ExecutorBusyError(AgentError, RuntimeError):
    """The executor's queue is full; taking more would only make every request late."""


class ProfileError(AgentError, ValueError):
    """A model cannot be profiled; the message says what of it."""


class MeterUnavailableError(AgentError, OSError):
    """An energy meter that is absent or unreadable; the message says what would make it readable."""
