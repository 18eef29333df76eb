"""Arrays that are a runtime's own memory, for inputs that are written there and outputs that are read there, uncopied.

Running the interpreter is `models.runtime`'s part.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import numpy as np

WORTH_IT_BYTES: Final = 65_536  # below that a copy (3 us) is cheaper than finding the memory (5 us), x86-64, measured


class _Memory:
    """What numpy asks for an array; it keeps the interpreter alive for as long as the array is."""

    __slots__ = ("__array_interface__", "_interpreter")

    def __init__(self, array_interface: dict[str, Any], interpreter: object) -> None:
        self.__array_interface__ = array_interface
        self._interpreter = interpreter


def runtime_memory(interpreter: Any, index: int) -> np.ndarray[Any, Any]:
    """The memory of the tensor `index`, where it lies now; the interpreter may run while the array is there.

    The arrays of the runtime's own `tensor()` forbid it to run until they are gone.
    """
    passing = interpreter.tensor(index)()
    return np.asarray(_Memory(passing.__array_interface__, interpreter))


def is_runtime_memory(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array, or what it is a view of, was made by `runtime_memory`."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, _Memory)


def own(arrays: Iterable[np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], ...]:
    """The same arrays, with copies of those that are a runtime's memory."""
    return tuple(array.copy() if is_runtime_memory(array) else array for array in arrays)


class InputLoan:
    """Who may write to a segment's input memory: whoever it was lent to, as long as they hold the arrays, or a run.

    May be used by several threads; runs themselves take turns.
    """

    def __init__(self, *, is_open: bool) -> None:
        """Lend nothing at all unless `is_open`."""
        self._is_open = is_open
        self._lock = threading.Lock()
        self._lent: tuple[weakref.ref[np.ndarray[Any, Any]], ...] = ()
        self._is_used = False

    def lend(self, find: Callable[[], tuple[np.ndarray[Any, Any], ...]]) -> tuple[np.ndarray[Any, Any], ...] | None:
        """What `find` gives; None if it is lent or in use."""
        with self._lock:
            if not self._is_open or self._is_used or self._is_lent():
                return None
            arrays = find()
            self._lent = tuple(map(weakref.ref, arrays))
            return arrays

    def end(self, arrays: Sequence[np.ndarray[Any, Any]]) -> bool:
        """Whoever holds these writes to them no more; False if they are not what is lent."""
        with self._lock:
            is_theirs = self._is_lent() and _are(self._lent, arrays)
            if is_theirs:
                self._lent = ()
            return is_theirs

    def use(self, arrays: Sequence[np.ndarray[Any, Any]]) -> Literal["these", "none", "others"]:
        """A run on `arrays` begins: whether these are lent, or none, or others; then nothing is lent from now on."""
        with self._lock:
            self._is_used = True
            is_lent, lent, self._lent = self._is_lent(), self._lent, ()
            if not is_lent:
                return "none"
            if _are(lent, arrays):
                return "these"
            self._is_open = False
            return "others"

    def end_use(self) -> None:
        """The outputs of the run are needed no more."""
        with self._lock:
            self._is_used = False

    def _is_lent(self) -> bool:
        return any(reference() is not None for reference in self._lent)


def _are(lent: Sequence["weakref.ref[np.ndarray[Any, Any]]"], arrays: Sequence[np.ndarray[Any, Any]]) -> bool:
    return len(lent) == len(arrays) and all(reference() is array for reference, array in zip(lent, arrays, strict=True))
