"""The result file: nothing that is over is lost, run twice or mixed with another experiment."""

from pathlib import Path

import msgspec
import pytest
from paper_records import key, run

from testbed.errors import ExperimentError
from testbed.paper.journal import RUNS, Journal
from testbed.paper.settings import ExperimentSettings, ModelSource, TraceSource

SETTINGS = ExperimentSettings(
    version="1",
    mode="emulated",
    models=(ModelSource(model="vgg16", sha256="a" * 64, weights="random"),),
    traces=(TraceSource(label="bus.csv", sha256="b" * 64),),
    contenders=("latency",),
    repetitions=2,
    seconds=60.0,
    photographs=(),
    fleets=(),
)


def test_what_is_over_is_there_again(tmp_path: Path) -> None:
    """Every run comes back as it was, in the order in which it ended."""
    records = (run(key("latency", 1), [1.0, None], switches=1), run(key("latency", 2), [2.0]))
    with Journal(tmp_path / "new" / "out", SETTINGS) as journal:
        for record in records:
            journal.append(record)
    with Journal(tmp_path / "new" / "out", SETTINGS) as journal:
        assert journal.records == records
        assert journal.has(records[0].key)
        assert not journal.has(key("latency", 3))


def test_a_run_is_on_the_disk_at_once(tmp_path: Path) -> None:
    """A writer that is killed has kept all that it appended."""
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append(run(key(), [1.0]))
        assert (tmp_path / RUNS).read_bytes().endswith(b"\n")


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """What was being written when its writer was killed is forgotten, and the next run stands on a line of its own."""
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append(run(key("latency", 1), [1.0]))
        journal.append(run(key("latency", 2), [2.0]))
    path = tmp_path / RUNS
    path.write_bytes(path.read_bytes()[:-20])
    with Journal(tmp_path, SETTINGS) as journal:
        assert [record.key.repetition for record in journal.records] == [1]
        journal.append(run(key("latency", 2), [2.0]))
    with Journal(tmp_path, SETTINGS) as journal:
        assert [record.key.repetition for record in journal.records] == [1, 2]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"repetitions": 3}, "repetitions 2 there, 3 now"),
        ({"contenders": ("latency", "reap")}, "contenders (no others) there, reap now"),
        (
            {"models": (ModelSource(model="alexnet", sha256="c" * 64, weights="random"),)},
            "alexnet (random, cccccccc) now",
        ),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """A directory holds one experiment; the message says what differs."""
    with Journal(tmp_path, SETTINGS):
        pass
    other = msgspec.structs.replace(SETTINGS, **change)
    with pytest.raises(ExperimentError, match="holds another experiment") as refused, Journal(tmp_path, other):
        pass
    assert sentence in str(refused.value)


def test_only_one_at_a_time(tmp_path: Path) -> None:
    """A second experiment in the same directory is refused while the first one runs."""
    with Journal(tmp_path, SETTINGS), pytest.raises(ExperimentError, match="another experiment is writing"):
        Journal(tmp_path, SETTINGS).__enter__()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("settings.json", b"{}", "is not an experiment's settings"),
        (RUNS, b'{"key": 3}\n', f"has {RUNS} but no settings.json"),
    ],
)
def test_foreign_files(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    """A directory of something else is left alone, in one line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExperimentError, match="--out") as refused, Journal(tmp_path, SETTINGS):
        pass
    assert sentence in str(refused.value)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """A line in the midst that is no run is told with its number."""
    with Journal(tmp_path, SETTINGS) as journal:
        journal.append(run(key(), [1.0]))
    with (tmp_path / RUNS).open("ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(ExperimentError, match=r"runs\.jsonl:2: is not a run"), Journal(tmp_path, SETTINGS):
        pass


def test_a_file_in_the_way(tmp_path: Path) -> None:
    """A directory that cannot be made is one line."""
    (tmp_path / "out").write_text("")
    with pytest.raises(ExperimentError, match="cannot be used for the results"), Journal(tmp_path / "out", SETTINGS):
        pass
