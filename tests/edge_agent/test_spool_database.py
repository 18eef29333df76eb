"""The spool's file: one process uses it, a damaged one is set aside, and somebody else's is left alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.errors import SpoolError, SpoolFailedError
from edge_agent.spool_database import opened, remove, sole_use


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


def filled(path: Path) -> None:
    """Make a spool of some pages, whose log was moved into the file."""
    connection, was_damaged = opened(path)
    assert not was_damaged
    with closing(connection), connection:
        connection.executemany(
            "INSERT INTO message VALUES (?, 'energy', 0.0, 0.0, ?)", [(number, b"x" * 100) for number in range(100)]
        )


def test_one_process_uses_a_spool(tmp_path: Path) -> None:
    """Another one is told at once; when the first has ended, the file is free."""
    path = tmp_path / "new" / "spool.sqlite"
    with (
        sole_use(path),
        pytest.raises(SpoolError, match=r"spool\.sqlite: another agent uses this spool; stop it, or name another"),
        sole_use(path),
    ):
        pass
    with sole_use(path):
        pass


def test_what_was_written_is_there_again(path: Path) -> None:
    """A spool that is whole is opened as it is."""
    filled(path)
    connection, was_damaged = opened(path)
    with closing(connection):
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (100,)
    assert not was_damaged


def test_somebody_elses_files_are_left_alone(path: Path) -> None:
    """A text, and a database of another program, are refused in one line and not changed."""
    path.write_text("These are my notes.\n" * 100)
    with pytest.raises(SpoolError, match="is no spool of telemetry; name another file"):
        opened(path)
    assert path.read_text().startswith("These are my notes.")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    content = path.read_bytes()
    with pytest.raises(SpoolError, match="is a database of something else; name another file"):
        opened(path)
    assert path.read_bytes() == content


def test_a_spool_of_a_newer_version_is_refused(path: Path) -> None:
    """What a newer splitrail has written is not touched."""
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(SpoolError, match=r"was written by a newer splitrail \(version 9\); upgrade"):
        opened(path)


@pytest.mark.parametrize("zeros", [slice(0, 4_096), slice(4_096, None)], ids=["header", "tables"])
def test_a_damaged_spool_is_set_aside(path: Path, zeros: slice) -> None:
    """A card that fails leaves zeros: the file is kept under another name, and a new one takes its place."""
    filled(path)
    content = bytearray(path.read_bytes())
    content[zeros] = bytes(len(content[zeros]))
    path.write_bytes(content)
    connection, was_damaged = opened(path)
    with closing(connection):
        assert was_damaged
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)
    assert path.with_name("spool.sqlite.damaged").read_bytes() == content


def test_what_is_removed_is_gone(path: Path) -> None:
    """With its log; where the disk does not let go of it, that is a failing disk."""
    filled(path)
    remove(path)
    assert list(path.parent.iterdir()) == []
    path.mkdir()
    with pytest.raises(SpoolFailedError):
        remove(path)
