"""A real, private Mosquitto for the tests and a site of its own for each that speaks through it, or one for each."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.mosquitto import PrivateMosquitto

__all__ = ["mosquitto", "own_mosquitto", "site"]


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMosquitto]:
    """One broker for the whole run; a test that stops or restarts one starts its own."""
    with PrivateMosquitto(tmp_path_factory.mktemp("mosquitto")) as running:
        yield running


@pytest.fixture
def own_mosquitto(tmp_path: Path) -> Iterator[PrivateMosquitto]:
    """A broker for one test, which may kill it."""
    with PrivateMosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
def site() -> str:
    """A site that no other test uses, so that the tests share a broker without seeing each other."""
    return f"site-{uuid.uuid4().hex[:12]}"
