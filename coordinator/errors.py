"""The errors of the coordinator.

CoordinatorError (SplitrailError)
├── ProblemError (ValueError)          a planning problem that cannot be read or contradicts itself
├── PlanError (ValueError)             stages that are no plan for their problem
├── PlanInfeasibleError (ValueError)   a sound problem whose bounds no plan keeps
├── UnknownStrategyError (LookupError) a strategy that the registry does not have
├── DeclarationError (ValueError)      settings that do not fit each other, or the models that they name
├── StoreError (OSError)               the telemetry store cannot be opened
├── InfluxError (OSError)              an InfluxDB that cannot be used as the settings say
│   ├── InfluxAwayError (ConnectionError)    it does not answer
│   ├── InfluxDeniedError (PermissionError)  it refuses who asks, or has no such database
│   └── InfluxQueryError (ValueError)        it cannot answer this question
├── TimeError (ValueError)             a duration or a time that cannot be read
├── ExportError (OSError)              a file that telemetry cannot be exported to
├── ListenError (OSError)              the address for HTTP cannot be listened on, or may not be without tokens
└── TokensError (OSError)              the file of tokens cannot be read, or is none
"""

from collections.abc import Iterable

from splitrail.errors import SplitrailError


class CoordinatorError(SplitrailError):
    """A fault of the coordinator."""


class ProblemError(CoordinatorError, ValueError):
    """A planning problem that cannot be read or contradicts itself; the message names the place."""


class PlanError(CoordinatorError, ValueError):
    """Stages that do not cover the model once, in order, over links and codecs that the problem has."""


class PlanInfeasibleError(CoordinatorError, ValueError):
    """No plan keeps the bound that the message names.

    `bound` is `deadline_ms`, `memory_mb`, `tier`, `codecs` or `requests_per_s`; or `most_labels`, where the search was
    given up before it knew.
    """

    def __init__(self, bound: str, message: str) -> None:
        super().__init__(message)
        self.bound = bound


class UnknownStrategyError(CoordinatorError, LookupError):
    """There is no strategy of this name; the message lists those that there are."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no strategy {name!r}: choose one of {', '.join(known)}")
        self.name = name


class DeclarationError(CoordinatorError, ValueError):
    """Settings that are well-formed but do not fit each other, or the models that they name."""


class StoreError(CoordinatorError, OSError):
    """The telemetry store cannot be opened; the message names the file and the way out."""


class InfluxError(CoordinatorError, OSError):
    """The InfluxDB at `endpoint` cannot be used; the message says why and what would be right."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class InfluxAwayError(InfluxError, ConnectionError):
    """The InfluxDB at `endpoint` does not answer, or not in time, or it is busy."""


class InfluxDeniedError(InfluxError, PermissionError):
    """The InfluxDB at `endpoint` refuses who asks, or has no such database."""


class InfluxQueryError(InfluxError, ValueError):
    """The InfluxDB at `endpoint` cannot answer this question."""


class TimeError(CoordinatorError, ValueError):
    """A duration or a time that cannot be read, or is out of range; the message shows what can."""


class ExportError(CoordinatorError, OSError):
    """Telemetry cannot be exported to where it should go; the message names the file and the way out."""


class ListenError(CoordinatorError, OSError):
    """The address of the HTTP interface cannot be listened on, or not as the settings want it."""


class TokensError(CoordinatorError, OSError):
    """The file of tokens cannot be read, or holds something else."""
