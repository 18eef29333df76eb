"""The results of an experiment that is resumed: the first byte picks the file that is wrong."""

import contextlib
from collections.abc import Iterator

import msgspec
from messages_to_fuzz import examples
from scratch_file import scratch

from testbed.errors import ExperimentError
from testbed.paper.journal import RUNS, SETTINGS, Journal
from testbed.paper.records import RunRecord
from testbed.paper.settings import ExperimentSettings

GIVEN = next(each for each in examples(ExperimentSettings) if isinstance(each, ExperimentSettings))


def run(data: bytes) -> None:
    """The runs that are there, or a sentence."""
    directory = scratch("results").parent / "results"
    directory.mkdir(exist_ok=True)
    wrong_settings = bool(data) and data[0] % 2 == 1
    (directory / SETTINGS).write_bytes(data[1:] if wrong_settings else msgspec.json.encode(GIVEN))
    (directory / RUNS).write_bytes(b"" if wrong_settings else data[1:])
    with contextlib.suppress(ExperimentError), Journal(directory, GIVEN) as journal:
        assert len(journal.records) <= len(data)


def seeds() -> Iterator[bytes]:
    """One run, one run and a torn line, and settings."""
    record = msgspec.json.encode(examples(RunRecord)[0])
    yield b"\0" + record + b"\n"
    yield b"\0" + record + b"\n" + record[:20]
    yield b"\1" + msgspec.json.encode(GIVEN)
