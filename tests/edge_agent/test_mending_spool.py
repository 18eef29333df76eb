"""A spool on a disk that fails: what it does then, and how it comes back."""

from pathlib import Path

import pytest
from memory_spool import MemorySpool

from edge_agent.errors import SpoolError
from edge_agent.mending_spool import RETRY_S, MendingSpool
from edge_agent.spool import Kept
from edge_agent.spooling import Held
from edge_agent.telemetry_losses import Losses


class Disk:
    """A spool on a disk."""

    def __init__(self) -> None:
        self.file = MemorySpool()
        self.refusal: SpoolError | None = None
        self.losses = Losses()
        self.spool = MendingSpool(self.opened, self.losses)

    def opened(self) -> MemorySpool:
        """What it opens."""
        if self.refusal is not None:
            raise self.refusal
        self.file.check()
        return self.file

    def append(self, first: int, at_s: float = 0.0, *, is_empty: bool = False) -> tuple[Held, ...] | None:
        """One message."""
        return self.spool.append(first, [Kept("energy", b"{}", 0.0, 0.0)], at_s, is_empty=is_empty)


@pytest.fixture
def disk() -> Disk:
    """One that works, with a spool that is open and empty."""
    made = Disk()
    assert made.spool.open(0.0) == ()
    return made


def test_a_spool_that_works_is_handed_through(disk: Disk) -> None:
    """With what it holds, which is nothing once it is closed."""
    assert disk.append(1) == ()
    assert disk.append(2) == ()
    read = disk.spool.read("", 1, 9, 0.0)
    assert read is not None
    assert list(read) == [1, 2]
    disk.spool.delete("", 1, 0.0)
    assert (disk.file.held(), disk.spool.held_bytes) == ((Held("", 2, 2),), 100)
    disk.spool.close()
    assert (disk.spool.is_open, disk.spool.held_bytes, disk.spool.read("", 1, 9, 0.0)) == (False, 0, None)
    assert disk.losses.count == 0


def test_what_it_does_not_take_is_lost_and_counted(disk: Disk) -> None:
    """A disk that fails now may work the next time: the spool stays open."""
    disk.file.fails = True
    assert disk.append(1) is None
    assert disk.spool.read("", 1, 1, 0.0) is None
    assert (disk.losses.count, disk.losses.reason) == (1, "the spool cannot be written: disk full")
    disk.file.fails = False
    assert disk.append(1) == ()


def test_a_damaged_spool_is_let_go_of_and_opened_again_after_a_while(disk: Disk) -> None:
    """It will not mend by itself; opening it sets it aside."""
    disk.file.fails = disk.file.is_damaged = True
    disk.spool.delete("", 1, 100.0)
    assert not disk.spool.is_open
    disk.file.fails = False
    assert disk.append(1, 101.0) is None
    assert disk.losses.reason == "the spool cannot be used: disk full"
    assert disk.spool.reopen(100.0 + RETRY_S - 0.1) is None
    assert disk.spool.reopen(100.0 + RETRY_S) == ()
    assert disk.spool.is_open
    assert disk.spool.reopen(200.0) is None


def test_a_file_that_became_somebody_elses_is_no_reason_to_stop(disk: Disk) -> None:
    """Once the agent runs; when it starts, it is."""
    disk.file.fails = disk.file.is_damaged = True
    disk.spool.tidy(0.0)
    disk.append(1)
    disk.refusal = SpoolError(Path("spool"), "is no spool of telemetry")
    assert disk.spool.reopen(RETRY_S) is None
    assert disk.append(1, RETRY_S) is None
    assert disk.losses.reason == "the spool cannot be used: is no spool of telemetry"
    with pytest.raises(SpoolError):
        disk.spool.open(RETRY_S)


def test_only_an_empty_spool_is_begun_anew_for_room(disk: Disk) -> None:
    """Of a full disk its file may hold the rest; once in a while, since it may be in vain."""
    disk.file.is_clogged = True
    assert disk.append(1, 0.0) is None
    assert disk.append(1, 0.0, is_empty=True) == ()
    disk.file.is_clogged = True
    assert disk.append(2, 1.0, is_empty=True) is None
    assert disk.append(2, RETRY_S, is_empty=True) == ()
