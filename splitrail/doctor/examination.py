"""Which checks a machine, a node, a coordinator or a client gets, in the order that they depend on each other."""

from collections.abc import Callable, Iterator
from pathlib import Path

from splitrail.doctor.clock import is_synchronised, synchronisation_findings
from splitrail.doctor.finding import Finding, checked, looked
from splitrail.doctor.installation import package_findings, python_findings
from splitrail.doctor.subject import (
    AgentSubject,
    ClientSubject,
    CoordinatorSubject,
    Kind,
    Subject,
    kind_of_file,
    load_subject,
)
from splitrail.settings import SettingsError

_Checks = Callable[[], Iterator[Finding]]


def examine(config: Path | None) -> Iterator[Finding]:
    """All findings, as they come. SplitrailError if there is no such settings file."""
    kind = kind_of_file(config) if config is not None else None
    yield from checked("python", python_findings)
    yield from checked("packages", lambda: package_findings(kind))
    subject: Subject | None = None
    if config is not None and kind is not None:
        found = looked("settings", lambda: _settings(config, kind))
        if isinstance(found, tuple):
            yield from found
        else:
            subject = found
            yield Finding("settings", "ok", f"{config} is a valid {kind}.yaml")
    yield from checked("clock", lambda: synchronisation_findings(is_synchronised()))
    if kind in (None, "agent"):
        yield from _carried_out("machine", lambda: _machine_checks(subject))
    if subject is not None:
        yield from _carried_out("site", lambda: _site_checks(subject))


def _settings(config: Path, kind: Kind) -> Subject | tuple[Finding, ...]:
    try:
        return load_subject(config, kind)
    except SettingsError as error:
        return tuple(Finding("settings", "problem", str(problem)) for problem in error.problems)


def _carried_out(subject: str, load: Callable[[], _Checks]) -> Iterator[Finding]:
    """The findings of checks whose modules may need packages that are not there."""
    checks = looked(subject, load)
    yield from checks if isinstance(checks, tuple) else checks()


def _machine_checks(subject: Subject | None) -> _Checks:
    from splitrail.doctor.machine import machine_findings  # noqa: PLC0415  # it needs the extra

    settings = subject.settings if isinstance(subject, AgentSubject) else None
    return lambda: machine_findings(settings)


def _site_checks(subject: Subject) -> _Checks:
    match subject:
        case AgentSubject():
            from splitrail.doctor.node import node_findings  # noqa: PLC0415  # as above

            return lambda: node_findings(subject)
        case CoordinatorSubject():
            from splitrail.doctor.coordinator import coordinator_findings  # noqa: PLC0415  # as above

            return lambda: coordinator_findings(subject)
        case ClientSubject():
            from splitrail.doctor.client import client_findings  # noqa: PLC0415  # as above

            return lambda: client_findings(subject)
