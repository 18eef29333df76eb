"""Mosquitto's configuration as we ship it, and what a private broker and a site make of it, line by line.

Running a broker with it belongs to `broker.mosquitto`.
"""

import importlib.resources
from collections.abc import Mapping
from pathlib import Path

# What the shipped file says about who may come in; a broker that is open to its own machine says it otherwise.
_LETTING_IN = ("certfile", "keyfile", "allow_anonymous", "password_file", "acl_file", "pid_file")


def shipped_configuration() -> str:
    """The text of the mosquitto.conf that the project ships."""
    return importlib.resources.files("broker").joinpath("mosquitto.conf").read_text(encoding="utf-8")


def open_configuration(shipped: str, port: int, directory: Path, *, root: bool) -> str:
    """The shipped configuration open to this machine alone: no TLS, no passwords, a loopback listener on `port`."""
    kept = [line for line in shipped.splitlines() if line.split(" ")[0] not in _LETTING_IN and not line.startswith("#")]
    head = [
        "# Private: open to everybody on this machine and to nobody else, without TLS, passwords or access rules.",
        "# Made anew at each start from the mosquitto.conf that Splitrail ships, which explains the other lines.",
    ]
    changed = replaced(
        "\n".join(kept), {"listener": f"{port} 127.0.0.1", "persistence_location": str(directory.absolute())}
    )
    own = ["allow_anonymous true", "log_dest stderr", *_user(root=root)]
    return "\n".join((*head, changed.strip(), *own)) + "\n"


def site_configuration(shipped: str, port: int, directory: Path, *, root: bool) -> str:
    """The shipped configuration with the files of a site's `directory`, which holds what the broker needs."""
    places = {
        "listener": str(port),
        "certfile": str(directory / "server.pem"),
        "keyfile": str(directory / "server.pem"),
        "password_file": str(directory / "passwords"),
        "acl_file": str(directory / "acl"),
        "pid_file": str(directory / "mosquitto.pid"),
        "persistence_location": f"{directory / 'data'}/",
    }
    return "\n".join((replaced(shipped, places).rstrip(), "", "log_dest stderr", *_user(root=root))) + "\n"


def replaced(configuration: str, values: Mapping[str, str]) -> str:
    """A configuration with other values for some of its settings."""
    lines = []
    for line in configuration.splitlines():
        setting = line.split(" ")[0]
        lines.append(f"{setting} {values[setting]}" if setting in values else line)
    return "\n".join(lines) + "\n"


def _user(*, root: bool) -> tuple[str, ...]:
    if not root:
        return ()
    return (
        "",
        "# Started by root it would become the user `mosquitto`, who may not read root's files.",
        "# Better: make and run all this as a user of its own, and leave the line out.",
        "user root",
    )
