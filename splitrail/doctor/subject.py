"""What is examined: one settings file, whose kind its keys tell, or this machine alone."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from splitrail.errors import SplitrailError
from splitrail.settings import MAX_FILE_BYTES, load_settings

if TYPE_CHECKING:
    from coordinator.configuration import CoordinatorSettings
    from edge_agent.configuration import AgentSettings
    from splitrail.client_settings import ClientSettings

Kind = Literal["agent", "coordinator", "client"]

# Keys that only one kind has, most telling first.
_OWN_KEYS: Final[dict[Kind, frozenset[str]]] = {
    "agent": frozenset({"node", "tier", "tensors", "power", "energy", "emulation", "threads", "models", "spool"}),
    "coordinator": frozenset({"deployments", "leadership", "store", "influxdb", "http", "planning", "retention_days"}),
    "client": frozenset({"coordinator", "token_file", "ca_file"}),
}
_KEY: Final = re.compile(r"^([A-Za-z_]\w*)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AgentSubject:
    """A node, by its agent.yaml."""

    file: Path
    settings: "AgentSettings"


@dataclass(frozen=True, slots=True)
class CoordinatorSubject:
    """A coordinator, by its coordinator.yaml."""

    file: Path
    settings: "CoordinatorSettings"


@dataclass(frozen=True, slots=True)
class ClientSubject:
    """Who asks a site, by a client.yaml."""

    file: Path
    settings: "ClientSettings"


Subject = AgentSubject | CoordinatorSubject | ClientSubject


def kind_of(text: str) -> Kind:
    """Whose settings a YAML text seems to be, also where some of its keys are misspelt."""
    keys = frozenset(_KEY.findall(text))
    return max(_OWN_KEYS, key=lambda kind: len(keys & _OWN_KEYS[kind]))


def kind_of_file(file: Path) -> Kind:
    """Whose settings a file seems to be; SplitrailError if it is not there or cannot be read."""
    try:
        with file.open("rb") as source:
            return kind_of(source.read(MAX_FILE_BYTES).decode("utf-8", "replace"))
    except OSError as error:
        raise SplitrailError(f"--config {file}: {error.strerror or error}; give the settings file to look at") from None


def load_subject(file: Path, kind: Kind) -> Subject:
    """The settings in `file`; SettingsError with all that is wrong in it."""
    match kind:
        case "agent":
            from edge_agent.configuration import AgentSettings  # noqa: PLC0415  # it needs packages

            return AgentSubject(file, load_settings(file, AgentSettings))
        case "coordinator":
            from coordinator.configuration import CoordinatorSettings  # noqa: PLC0415  # as above

            return CoordinatorSubject(file, load_settings(file, CoordinatorSettings))
        case "client":
            from splitrail.client_settings import ClientSettings  # noqa: PLC0415  # as above

            return ClientSubject(file, load_settings(file, ClientSettings))
