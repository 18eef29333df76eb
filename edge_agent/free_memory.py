"""Gives memory that is free back to the system: the C library keeps it for what may come.

After a profile or a change of plan that is several MB, which an idle agent does not need again.
"""

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Give it back, in a few milliseconds; where the C library is not glibc, nothing happens."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], object] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
