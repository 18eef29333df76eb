"""Addresses of the tensor plane, `tcp://host:port`: whether they make sense, and where tensors may run open."""

import ipaddress
import re
from typing import Final

from edge_agent.errors import TransportError

WILDCARD_HOSTS: Final = ("*", "0.0.0.0", "[::]")  # where one can listen but not be reached

_FORM: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5}|\*)")


def check_peer_endpoint(peer: str, endpoint: str) -> None:
    """TransportError if `endpoint` is no `tcp://host:port` that can be connected to."""
    match = _FORM.fullmatch(endpoint)
    if not match or not match[2].isdigit() or not 0 < int(match[2]) < 2**16:
        raise TransportError(endpoint, f"is not an address of {peer}, write tcp://HOST:PORT")
    if match[1] in WILDCARD_HOSTS:
        raise TransportError(endpoint, f"says where {peer} listens, not where it can be reached; advertise a host")


def check_listening_endpoint(endpoint: str, *, is_open: bool) -> None:
    """TransportError if `endpoint` is no `tcp://host:port`, or if tensors run open elsewhere than on loopback."""
    match = _FORM.fullmatch(endpoint)
    if not match:
        raise TransportError(endpoint, "is not an address to listen on, write tcp://HOST:PORT")
    if is_open and not _is_loopback(match[1]):
        raise TransportError(
            endpoint, "open tensors may be listened for on loopback only: set tensors.security to curve"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
