"""The errors of the control plane.

BrokerError (SplitrailError)
├── ConnectionFailedError (ConnectionError)   the broker is not there, refuses, or went away
├── NoReplyError (TimeoutError)               nobody answered a request in time
├── MalformedMessageError (ValueError)        a payload or topic that is not what the registry declares
└── MosquittoError (RuntimeError)             the private Mosquitto cannot be found or started
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


class NoReplyError(BrokerError, TimeoutError):
    """Nobody answered the request on `topic` within `timeout_s` seconds."""

    def __init__(self, topic: str, timeout_s: float) -> None:
        super().__init__(f"{topic}: no reply within {timeout_s:g} s; `splitrail status` shows whether its origin is up")
        self.topic = topic
        self.timeout_s = timeout_s


class MalformedMessageError(BrokerError, ValueError):
    """What came in on `topic` does not fit the type that the registry declares for it."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"{topic}: {reason}")
        self.topic = topic
        self.reason = reason


class MosquittoError(BrokerError, RuntimeError):
    """A private Mosquitto could not be found or did not start."""
