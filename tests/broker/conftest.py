"""No test of the broker package may leave a thread or a child process behind."""

import threading
from collections.abc import Iterator

import psutil
import pytest
from eventually import eventually

from broker.mosquitto import PrivateMosquitto


@pytest.fixture(autouse=True)
def leaves_nothing_behind(mosquitto: PrivateMosquitto) -> Iterator[None]:
    """Compare the threads and child processes after a test with those before it."""
    threads = set(threading.enumerate())
    children = set(psutil.Process().children(recursive=True))
    yield
    assert eventually(lambda: set(threading.enumerate()) <= threads), "a thread was left running"
    left = set(psutil.Process().children(recursive=True)) - children
    assert not left, f"child processes were left running: {left}"
