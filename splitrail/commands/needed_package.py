"""Names the extra that brings a package, where one option of a command needs more than the command does."""

import contextlib
from collections.abc import Iterator

from splitrail.errors import SplitrailError
from splitrail.shadowing import PACKAGES


@contextlib.contextmanager
def package_needed(what: str, extra: str) -> Iterator[None]:
    """SplitrailError in place of the ModuleNotFoundError of a package that `what` needs and `extra` brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in PACKAGES:
            raise
        raise SplitrailError(f"{what} needs the package {error.name!r}: pip install 'splitrail[{extra}]'") from None
