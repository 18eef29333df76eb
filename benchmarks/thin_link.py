"""A thin link on this machine: two network namespaces, joined by a pair of devices that tbf shapes. It takes root.

What goes over it is up to processes that enter one or the other.
"""

import ctypes
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEAR, FAR = "splitrail-near", "splitrail-far"
NEAR_ADDRESS, FAR_ADDRESS = "10.213.7.1", "10.213.7.2"
MBPS = 20
CLONE_NEWNET = 0x40000000


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def thin_link() -> Iterator[None]:
    """Two network namespaces, joined by one link of MBPS in both directions."""
    for name in (NEAR, FAR):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)  # of a run that was killed
    try:
        for name in (NEAR, FAR):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "sr-near", "netns", NEAR, "type", "veth", "peer", "name", "sr-far", "netns", FAR)
        for name, device, address in ((NEAR, "sr-near", NEAR_ADDRESS), (FAR, "sr-far", FAR_ADDRESS)):
            inside = ("ip", "netns", "exec", name)
            run(*inside, "ip", "address", "add", f"{address}/24", "dev", device)
            run(*inside, "ip", "link", "set", device, "up")
            run(*inside, "ip", "link", "set", "lo", "up")
            shape = ("rate", f"{MBPS}mbit", "burst", "32kbit", "latency", "400ms")
            run(*inside, "tc", "qdisc", "add", "dev", device, "root", "tbf", *shape)
        yield
    finally:
        for name in (NEAR, FAR):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def enter(namespace: str) -> None:
    """Move this process into a network namespace, before it starts any thread."""
    with Path(f"/run/netns/{namespace}").open("rb") as handle:
        # Python has os.setns since 3.12 only.
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
