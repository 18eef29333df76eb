"""Files that are there once they are whole: written beside, renamed at the end, and never over another by mistake."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from coordinator.errors import ExportError


class _File(NamedTuple):
    path: Path
    partial: Path
    file: BinaryIO


class WholeFiles:
    """A block in which files are written; where it ends without an error they all get their names, else none is left.

    ExportError where one is there already and `replace` is not set, or cannot be written.
    """

    def __init__(self, *, replace: bool) -> None:
        self._replace = replace
        self._files: list[_File] = []
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def open(self, path: Path) -> BinaryIO:
        """A new file that will be `path`; its directory is made where it is not there."""
        self._refuse_existing(path)
        with _said_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            number, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
            self._undo.callback(Path(partial).unlink, missing_ok=True)
            file = os.fdopen(number, "wb", buffering=1 << 20)
        self._undo.callback(_close, file)
        self._files.append(_File(path, Path(partial), file))
        return file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._undo:
            if error is None:
                self._name()
            elif isinstance(error, OSError) and error.filename is None and error.errno is not None:
                # The disk is full, for instance: Python does not say of which file.
                raise ExportError(f"{self._files[-1].path}: cannot be written: {error.strerror}") from None

    def _name(self) -> None:
        umask = os.umask(0o022)
        os.umask(umask)
        for path, _, file in self._files:
            with _said_of(path):
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~umask)  # a temporary file is its owner's alone
                os.fsync(file.fileno())
                self._refuse_existing(path)
        for path, partial, _ in self._files:
            with _said_of(path):
                partial.replace(path)

    def _refuse_existing(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise ExportError(f"{path}: is no file; give the name of one, or - for standard output")
        if path.exists() and not self._replace:
            raise ExportError(f"{path}: is there already; give another --out, or --force to replace it")


@contextlib.contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Turn what the operating system says into a sentence about a file."""
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}; give another --out") from None


def _close(file: BinaryIO) -> None:
    """Close a file; what its buffer still holds is wanted no more where the disk is full."""
    with contextlib.suppress(OSError):
        file.close()
