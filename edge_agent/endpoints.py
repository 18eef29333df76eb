"""Addresses of the tensor plane, `tcp://host:port`: whether they make sense, and where tensors may run open."""

import ipaddress
import re
import socket
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
        raise TransportError(endpoint, "open tensors may be listened for on loopback only: set tensors.security to tls")


def listening_socket(endpoint: str, backlog: int) -> tuple[socket.socket, str]:
    """A socket that listens there and does not block, and its endpoint with the port that was taken.

    The wildcards `*` and `[::]` are every address of either family. TransportError if the system does not let it.
    """
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    host = host.strip("[]")
    number = 0 if port == "*" else int(port)
    try:
        if host in ("*", "::"):
            both = socket.has_dualstack_ipv6()
            listener = socket.create_server(("", number), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=both)
        else:
            family, _, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            listener = socket.create_server(address, family=family, backlog=backlog)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TransportError(endpoint, f"cannot listen for tensors there: {reason}") from None
    listener.setblocking(False)
    bound = listener.getsockname()
    shown = f"[{bound[0]}]" if listener.family == socket.AF_INET6 else bound[0]
    return listener, f"tcp://{shown}:{bound[1]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
