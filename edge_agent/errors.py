"""The errors of a node's agent.

AgentError (SplitrailError)
├── WireError (ValueError)           frames that are not a message of the tensor plane, or of another version
├── TransportError (OSError)         an endpoint that cannot be listened on or does not make sense
│   └── SendError                    a message that cannot be queued: unknown peer, full queue, closed transport
├── NodeKeyError (OSError)           a tensor key that cannot be used: unreadable, malformed, readable by others
├── NoRoomError (MemoryError)        weights that this node may not or cannot hold beside what it holds
├── ExecutorBusyError (RuntimeError) too many requests wait for this node's compute already
├── SpoolError (OSError)             a spool that another process uses, or a file that is none
├── SpoolFailedError (OSError)       the disk of the spool is full or fails, perhaps only for now
├── MetricsError (OSError)           metrics that cannot be served as the settings say
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


class NoRoomError(AgentError, MemoryError):
    """More weights than `memory_mb` allows or the machine has free; the message has the figures."""


class ExecutorBusyError(AgentError, RuntimeError):
    """The executor's queue is full; taking more would only make every request late."""


class MetricsError(AgentError, OSError):
    """The metrics cannot be served as the settings say; the message says why and what would be right."""


class ProfileError(AgentError, ValueError):
    """A model cannot be profiled; the message says what of it."""


class CalibrationError(AgentError, ValueError):
    """What a meter said of this machine fits no power model; the message says what would."""


class MeterUnavailableError(AgentError, OSError):
    """An energy meter that is absent or cannot be read now; the message says why and `fix`, what would mend it."""

    def __init__(self, reason: str, *, fix: str = "", is_there: bool = False) -> None:
        """`is_there` where the machine has the meter and only the reading fails."""
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.reason = reason
        self.fix = fix
        self.is_there = is_there


class SpoolError(AgentError, OSError):
    """The file at `path` cannot be this agent's spool; the message says why and what to do."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class SpoolFailedError(AgentError, OSError):
    """The spool could not be read or written, perhaps only for now; `is_damaged` where it will not mend by itself."""

    def __init__(self, path: Path, reason: str, *, is_damaged: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.is_damaged = is_damaged
