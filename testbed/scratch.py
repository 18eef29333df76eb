"""A directory for one run of the testbed, which is kept only where it tells what went wrong."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from splitrail.errors import SplitrailError


@contextlib.contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """A temporary directory, which is kept only where a SplitrailError leaves logs in it that say more."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    keep = False
    try:
        yield directory
    except SplitrailError:
        keep = True
        raise
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
