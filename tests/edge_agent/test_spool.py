"""What a spool keeps, and what it drops."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import SpoolError, SpoolFailedError
from edge_agent.spool import ROW_BYTES, Kept, Spool
from edge_agent.spooling import Held

Opening = Callable[..., Spool]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "spool.sqlite"


@pytest.fixture
def opening(path: Path) -> Iterator[Opening]:
    opened: list[Spool] = []

    def open_spool(session: str = "s1", max_bytes: int = 1_000_000) -> Spool:
        opened.append(Spool(path, session=session, max_bytes=max_bytes))
        return opened[-1]

    yield open_spool
    for spool in opened:
        spool.close()


def kept(text: str, size: int = 0) -> Kept:
    return Kept("energy", text.encode().ljust(size), 1_000.0, 1.0)


def messages(count: int) -> list[Kept]:
    return [kept(f"m{number}") for number in range(1, count + 1)]


def test_what_is_appended_is_read_again(opening: Opening) -> None:
    """By run and number, also by a later run of the agent."""
    spool = opening("s1")
    spool.append(1, messages(3))
    spool.close()
    spool = opening("s2")
    spool.append(1, [kept("new")])
    assert spool.held() == (Held("s1", 1, 3), Held("s2", 1, 1))
    assert [(number, each.payload) for number, each in spool.read("s1", 2, 9)] == [(2, b"m2"), (3, b"m3")]
    assert spool.read("s3", 1, 9) == ()


def test_a_run_is_forgotten_up_to_a_number(opening: Opening) -> None:
    """Other runs are not touched; what is deleted no longer counts."""
    spool = opening("s1")
    spool.append(1, messages(3))
    spool.close()
    spool = opening("s2")
    spool.append(1, messages(2))
    spool.delete("s1", 2)
    spool.delete("s2", 5)
    spool.delete("s3", 5)
    assert spool.held() == (Held("s1", 3, 3),)
    assert spool.held_bytes == ROW_BYTES + 2


def test_runs_keep_their_order(opening: Opening) -> None:
    """The oldest comes first, whatever the sessions are called and however many came and went."""
    for session in ("z", "a", "m"):
        spool = opening(session)
        spool.append(1, messages(1))
        spool.close()
    assert [each.session for each in opening("b").held()] == ["z", "a", "m"]


def test_the_oldest_goes_first_where_the_spool_is_full(opening: Opening) -> None:
    """Messages of the oldest run make room, and it is told which went."""
    spool = opening("s1", max_bytes=10 * (100 + ROW_BYTES))
    spool.append(1, [kept("x", 100)] * 4)
    spool.close()
    spool = opening("s2", max_bytes=10 * (100 + ROW_BYTES))
    assert spool.append(1, [kept("x", 100)] * 6) == ()
    assert spool.append(7, [kept("x", 100)]) == (Held("s1", 1, 1),)
    assert spool.append(8, [kept("x", 100)] * 5) == (Held("s1", 2, 4), Held("s2", 1, 2))
    assert spool.held() == (Held("s2", 3, 12),)
    assert spool.held_bytes == 10 * (100 + ROW_BYTES)


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_what_waits_stays_within_its_bound(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is appended: the newest is kept, nothing is missing in the middle, and the count is right."""
    path = tmp_path_factory.mktemp("spool") / "spool.sqlite"
    with closing(Spool(path, session="s", max_bytes=1_000)) as spool:
        dropped = 0
        for number, size in enumerate(sizes, 1):
            dropped += sum(each.last - each.first + 1 for each in spool.append(number, [kept("", size)]))
            assert spool.held_bytes <= 1_000
        assert spool.held() == (Held("s", dropped + 1, len(sizes)),)
        assert len(spool.read("s", 1, len(sizes))) == len(sizes) - dropped


def test_telemetry_goes_on_after_damage(opening: Opening, path: Path) -> None:
    """What the spool held is lost, and it says so."""
    spool = opening()
    spool.append(1, messages(100))
    spool.close()
    path.write_bytes(bytes(path.stat().st_size))
    spool = opening("s2")
    assert spool.was_damaged
    assert spool.held() == ()
    spool.append(1, messages(1))


def test_a_disk_that_is_full_fails_and_mends(opening: Opening) -> None:
    """Nothing of what was appended then is kept, all of what was there before is; with room it goes on."""
    spool = opening()
    spool.append(1, messages(3))
    limit = spool._connection.execute("PRAGMA page_count").fetchone()[0]  # the file's own bound plays the full disk
    spool._connection.execute(f"PRAGMA max_page_count = {limit}")
    with pytest.raises(SpoolFailedError, match="full"):
        spool.append(4, [kept("x", 50_000), kept("y", 50_000)])
    assert spool.held() == (Held("s1", 1, 3),)
    spool._connection.execute("PRAGMA max_page_count = 100000")
    spool.append(4, [kept("x", 50_000)])
    assert spool.held() == (Held("s1", 1, 4),)


def test_the_log_stays_short(opening: Opening, path: Path) -> None:
    """It is moved into the file now and then, when nobody waits for the disk."""
    spool = opening()
    for number in range(1, 1_001):
        spool.append(number, messages(1))
        spool.delete("s1", number)
        spool.tidy()
    assert path.with_name("spool.sqlite-wal").stat().st_size < 1_000_000
    assert path.stat().st_size < 100_000


def test_a_spool_that_is_begun_anew_is_empty(opening: Opening) -> None:
    """It stays this agent's, and takes what comes next under the next number."""
    spool = opening()
    spool.append(1, messages(3))
    spool.begin_anew()
    assert (spool.held(), spool.held_bytes) == ((), 0)
    with pytest.raises(SpoolError, match="another agent uses this spool"):
        opening()
    spool.append(4, messages(1))
    assert spool.held() == (Held("s1", 4, 4),)


def test_a_place_that_cannot_be_written_fails_for_now(path: Path) -> None:
    """Where the directory cannot be made, that is a failing disk, and no reason to stop the agent."""
    path.parent.parent.mkdir(exist_ok=True)
    path.parent.write_text("a file where a directory should be")
    with pytest.raises(SpoolFailedError):
        Spool(path, session="s", max_bytes=1_000)


def test_what_was_appended_outlives_a_kill(path: Path) -> None:
    """A process that ends without a word leaves all that it had appended."""
    program = (
        "import os, sys; from pathlib import Path; from edge_agent.spool import Kept, Spool;"
        "spool = Spool(Path(sys.argv[1]), session='killed', max_bytes=1_000_000);"
        "spool.append(1, [Kept('energy', b'{}', 0.0, 0.0)] * 7);"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -9
    with closing(Spool(path, session="next", max_bytes=1_000_000)) as spool:
        assert not spool.was_damaged
        assert spool.held() == (Held("killed", 1, 7),)
