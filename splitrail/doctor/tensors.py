"""Where tensors come in: whether the port is free or this node's own agent has it, and the node's key."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from splitrail.doctor.finding import Finding, split_advice

if TYPE_CHECKING:
    from broker.messages import NodeStatus
    from edge_agent.configuration import AgentSettings

_LISTENING: Final = "0A"  # TCP_LISTEN in /proc/net/tcp, proc(5)
_TABLES: Final = ("proc/net/tcp", "proc/net/tcp6")


def listening_ports(root: Path = Path("/")) -> frozenset[int]:
    """The TCP ports on which somebody listens on this machine, by the kernel's tables; nobody is connected to."""
    ports: set[int] = set()
    for table in _TABLES:
        try:
            text = (root / table).read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        ports |= {
            int(port, 16)
            for port, state in re.findall(r":([0-9A-F]{4}) [0-9A-F]+:0000 ([0-9A-F]{2}) ", text)
            if state == _LISTENING
        }
    return frozenset(ports)


def tensor_findings(
    settings: "AgentSettings", status: "NodeStatus | None", ports: frozenset[int], *, was_asked: bool
) -> Iterator[Finding]:
    """The port and the key; `status` is what the broker keeps of this node, where it `was_asked`."""
    yield from port_findings(settings.tensors.listen, status, ports, was_asked=was_asked)
    yield from _key_findings(settings)
    yield _fallback_finding(settings)


def port_findings(
    listen: str, status: "NodeStatus | None", ports: frozenset[int], *, was_asked: bool
) -> Iterator[Finding]:
    """Whether the port of `listen` is free, or held by the agent that the site knows under this node's name."""
    port = listen.rpartition(":")[2]
    is_up = status is not None and status.state == "online"
    if not port.isdigit() or int(port) == 0:
        yield Finding("tensor port", "ok", "a free one is taken at each start")
    elif int(port) not in ports:
        if is_up:
            says = f"an agent of this name is up, and does not listen on port {port} of this machine"
            fix = "give this node a name of its own, if that one runs elsewhere"
            yield Finding("tensor port", "note", says, fix)
        else:
            yield Finding("tensor port", "ok", f"port {port} is free")
    elif is_up:
        yield Finding("tensor port", "ok", f"this node's agent is up, and somebody listens on port {port}")
    elif not was_asked:
        says = f"something listens on port {port}: this node's own agent, if it runs; the broker could not be asked"
        fix = f"look with `ss -ltnp 'sport = :{port}'`, if the agent does not start"
        yield Finding("tensor port", "note", says, fix)
    else:
        fix = f"stop it (`ss -ltnp 'sport = :{port}'` names it), or choose another tensors.listen"
        yield Finding("tensor port", "problem", f"another program listens on port {port}", fix)


def _fallback_finding(settings: "AgentSettings") -> Finding:
    from edge_agent.fallback import fallback_refusal  # noqa: PLC0415  # as below

    if settings.tensors.fallback == "none":
        return Finding("tensor fallback", "ok", "none: what is for an agent that cannot be connected to waits")
    refusal = fallback_refusal(settings)
    if refusal is not None:
        return split_advice("tensor fallback", "note", refusal)
    says = f"the broker {settings.broker.endpoint} carries tensors, and sees them, where agents cannot connect"
    return Finding("tensor fallback", "ok", says)


def _key_findings(settings: "AgentSettings") -> Iterator[Finding]:
    if settings.tensors.security == "open":
        yield Finding("tensor key", "note", "tensors run open, which only loopback may", "set tensors.security to tls")
        return
    file = (settings.tensors.key_file or settings.cache / "keys" / f"{settings.node}.pem").expanduser()
    if not file.exists():
        yield Finding("tensor key", "ok", f"made at the first start, in {file}")
        return
    from edge_agent.errors import NodeKeyError  # noqa: PLC0415  # it needs the extra
    from edge_agent.keys import load_or_make_key  # noqa: PLC0415  # as above

    try:
        load_or_make_key(file)
    except NodeKeyError as error:
        yield split_advice("tensor key", "problem", str(error).removeprefix(f"{file}: "))
    else:
        yield Finding("tensor key", "ok", f"{file}, for its owner alone")
