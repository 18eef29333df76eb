"""The errors of the emulated testbed.

TestbedError (SplitrailError)
├── TraceError (ValueError)                a trace file that cannot be read as `seconds,mbps`
├── UnknownLinkError (KeyError)            a link or node that the continuum does not have
├── ProcessFailedError (ChildProcessError) a process of the continuum died, or did not become ready in time
├── InfluxdError (RuntimeError)            the private InfluxDB cannot be found or did not start
├── ConversionFailedError (RuntimeError)   a zoo model that cannot be converted on this machine
├── DemoError (RuntimeError)               the demo cannot go on; the message says what it lacks
├── UnpublishedModelError (ValueError)     a model, or a graph, for which no static split was published
└── ExperimentError (ValueError)           an experiment's options, files or machines do not allow it
"""

from pathlib import Path

from splitrail.errors import SplitrailError


class TestbedError(SplitrailError):
    """A fault of the emulated testbed."""

    __test__ = False  # pytest would take the name for a test class


class TraceError(TestbedError, ValueError):
    """A trace file, or one line of it, is not what a trace must be; `line` is None where the whole file is meant."""

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        place = f"{path}" if line is None else f"{path}:{line}"
        super().__init__(f"{place}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class UnknownLinkError(TestbedError, KeyError):
    """The continuum has no such node, or no link between these two."""

    def __str__(self) -> str:
        """The sentence itself: KeyError would show it quoted."""
        return str(self.args[0])


class ProcessFailedError(TestbedError, ChildProcessError):
    """A process of the continuum died or did not become ready; the message carries the last line of its log."""

    def __init__(self, process: str, reason: str, log: Path) -> None:
        super().__init__(f"{process} {reason} (log: {log})")
        self.process = process
        self.reason = reason
        self.log = log


class InfluxdError(TestbedError, RuntimeError):
    """A private InfluxDB could not be found or did not start."""


class UnpublishedModelError(TestbedError, ValueError):
    """No static split was published for this model, or its graph is not of the published architecture."""


class ConversionFailedError(TestbedError, RuntimeError):
    """A zoo model cannot be converted here; the message carries the last line of the conversion's log."""


class DemoError(TestbedError, RuntimeError):
    """The demo cannot go on."""


class ExperimentError(TestbedError, ValueError):
    """An experiment cannot start or go on; the message says what is wrong, where, and what would be right."""
