"""No test of the broker package may leave a thread or a child process behind; and a site to be changed."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from eventually import eventually
from secured_site import make_secured_site

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


@pytest.fixture(scope="session")
def site_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with two nodes and two clients, to be copied."""
    path = tmp_path_factory.mktemp("template") / "site"
    make_secured_site(path)
    return path


@pytest.fixture
def site_path(site_template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(site_template, tmp_path / "site"))
