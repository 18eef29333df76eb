"""The experiment's result file: one JSON line for each run that is over, so that it resumes where it stopped.

Holds the output directory for one experiment at a time; what the runs mean is others' part.
"""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from testbed.errors import ExperimentError
from testbed.paper.records import RunKey, RunRecord
from testbed.paper.settings import ExperimentSettings, first_difference

RUNS = "runs.jsonl"
SETTINGS = "settings.json"
LOCK = ".lock"


class Journal:
    """The runs in a directory, from `with` to its end; each is on the disk before `append` returns.

    ExperimentError if the directory cannot be used, holds other settings or is in use.
    """

    def __init__(self, directory: Path, settings: ExperimentSettings) -> None:
        self.directory = directory
        self._settings = settings
        self._records: dict[RunKey, RunRecord] = {}
        self._encoder = msgspec.json.Encoder()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the directory, made if need be, and read what is there."""
        try:
            with ExitStack() as stack:
                self.directory.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.directory / LOCK).open("wb"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._agree_on_settings()
                path = self.directory / RUNS
                self._records = {record.key: record for record in _read(path)}
                self._file = stack.enter_context(path.open("ab"))
                self._stack = stack.pop_all()
        except BlockingIOError:
            raise ExperimentError(
                f"{self.directory}: another experiment is writing there; wait for it, or give another --out"
            ) from None
        except OSError as error:
            raise ExperimentError(
                f"{self.directory}: cannot be used for the results: {error.strerror or error}; give another --out"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the directory."""
        self._stack.close()

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """All runs that are over, in the order in which they ended."""
        return tuple(self._records.values())

    def has(self, key: RunKey) -> bool:
        """Whether this run is over."""
        return key in self._records

    def append(self, record: RunRecord) -> None:
        """Keep a run."""
        self._file.write(self._encoder.encode(record) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._records[record.key] = record

    def _agree_on_settings(self) -> None:
        path = self.directory / SETTINGS
        if not path.exists():
            if (self.directory / RUNS).exists():
                raise ExperimentError(f"{self.directory}: has {RUNS} but no {SETTINGS}; give another --out")
            part = path.with_suffix(".part")
            part.write_bytes(msgspec.json.format(msgspec.json.encode(self._settings), indent=2) + b"\n")
            part.replace(path)
            return
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=ExperimentSettings)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ExperimentError(f"{path}: is not an experiment's settings: {error}; give another --out") from None
        difference = first_difference(kept, self._settings)
        if difference is not None:
            raise ExperimentError(
                f"{self.directory}: holds another experiment: {difference}; give the same options, or another --out"
            )


def _read(path: Path) -> list[RunRecord]:
    """The runs in a file; a last line that was torn when its writer was killed is cut off."""
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(RunRecord)
    records = []
    with path.open("r+b") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                file.seek(-len(line), os.SEEK_END)
                file.truncate()
                break
            try:
                records.append(decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ExperimentError(f"{path}:{number}: is not a run: {error}; remove that line") from None
    return records
