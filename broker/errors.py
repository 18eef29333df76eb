"""The errors of the control plane.

BrokerError (SplitrailError)
├── ConnectionFailedError (ConnectionError)   the broker is not there, refuses, or went away
│   └── SignInRefusedError (PermissionError)  the broker knows no such user, or another password
├── NoReplyError (TimeoutError)               nobody answered a request in time
├── NodeNameTakenError (RuntimeError)         another session holds a node's name
├── MalformedMessageError (ValueError)        a payload or topic that is not what the registry declares
├── MosquittoError (RuntimeError)             the private Mosquitto cannot be found or started
└── SiteError (ValueError)                    what a site's directory does not allow, or cannot be done with it
"""

from splitrail.errors import SplitrailError


class BrokerError(SplitrailError):
    """A fault of the control plane."""


class ConnectionFailedError(BrokerError, ConnectionError):
    """The broker at `endpoint` could not be reached or refused the session; the message says why."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class SignInRefusedError(ConnectionFailedError, PermissionError):
    """The broker at `endpoint` refused the user or its password, or admits nobody without a name."""


class NoReplyError(BrokerError, TimeoutError):
    """Nobody answered the request on `topic` within `timeout_s` seconds; `known` says what is known of the cause."""

    def __init__(self, topic: str, timeout_s: float, known: str) -> None:
        super().__init__(f"{topic}: no reply within {timeout_s:g} s: {known}")
        self.topic = topic
        self.timeout_s = timeout_s


class NodeNameTakenError(BrokerError, RuntimeError):
    """Another session, `rival`, holds the name of `node`."""

    def __init__(self, node: str, rival: str) -> None:
        super().__init__(
            f"another agent of this site calls itself {node!r} and has been connected for longer (session {rival}): "
            "give this one a name of its own, or stop the other"
        )
        self.node = node
        self.rival = rival


class MalformedMessageError(BrokerError, ValueError):
    """What came in on `topic` does not fit the type that the registry declares for it."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"{topic}: {reason}")
        self.topic = topic
        self.reason = reason


class MosquittoError(BrokerError, RuntimeError):
    """A private Mosquitto could not be found or did not start."""


class SiteError(BrokerError, ValueError):
    """A site's directory cannot be made, read or changed as asked; the message says why and what would be right."""
