"""LiteRT's C API through ctypes: the few functions that are called, with their arguments, and what refuses them.

ctypes lets go of Python's lock for each call, loading included. What is done with them is models.compiled's business.
"""

import ctypes
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable
from ctypes import CDLL, byref, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from models.errors import SegmentRunError

# Arguments differ between versions of LiteRT (2.3 takes the environment first where 2.2 took none): these were read
# in litert/c/*.h and tried with 2.3.0, and no other minor version is called so.
KNOWN_VERSIONS = ("2.3.",)
HARDWARE_CPU = 1  # kLiteRtHwAcceleratorCpu, litert/c/litert_common.h
# kLiteRtEnvOptionTagAutoRegisterAccelerators and ...MinLoggerSeverity, litert/c/litert_environment_options.h
_ACCELERATORS, _LEAST_SEVERITY = 24, 25
_INTEGER, _ERROR = 2, 3  # kLiteRtAnyTypeInt, litert/c/litert_any.h; LITERT_ERROR, litert/c/internal/litert_logging.h
_CPU_OPTIONS = b"xnnpack"  # LrtGetCpuOptionsIdentifier(), litert/c/options/litert_cpu_options.cc; the options are TOML

_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "LiteRtCreateEnvironment": (c_int, c_void_p, c_void_p),
    "LiteRtCreateModelFromFile": (c_void_p, c_char_p, c_void_p),
    "LiteRtCreateOptions": (c_void_p,),
    "LiteRtSetOptionsHardwareAccelerators": (c_void_p, c_int),
    "LiteRtCreateOpaqueOptions": (c_char_p, c_void_p, c_void_p, c_void_p),
    "LiteRtAddOpaqueOptions": (c_void_p, c_void_p),
    "LiteRtCreateCompiledModel": (c_void_p, c_void_p, c_void_p, c_void_p),
    "LiteRtCompiledModelResizeInputTensorNonStrict": (c_void_p, c_size_t, c_size_t, c_void_p, c_size_t),
    "LiteRtGetModelSubgraph": (c_void_p, c_size_t, c_void_p),
    "LiteRtGetSubgraphInput": (c_void_p, c_size_t, c_void_p),
    "LiteRtGetSubgraphOutput": (c_void_p, c_size_t, c_void_p),
    "LiteRtGetRankedTensorType": (c_void_p, c_void_p),
    "LiteRtCreateTensorBufferFromHostMemory": (c_void_p, c_void_p, c_size_t, c_void_p, c_void_p),
    "LiteRtRunCompiledModel": (c_void_p, c_size_t, c_size_t, c_void_p, c_size_t, c_void_p),
}
_DESTROYERS = ("LiteRtDestroyTensorBuffer", "LiteRtDestroyCompiledModel", "LiteRtDestroyOptions", "LiteRtDestroyModel")


class _EnvironmentOption(ctypes.Structure):
    """A LiteRtEnvOption that holds an integer, litert/c/litert_environment_options.h."""

    _fields_ = (("tag", c_int), ("kind", ctypes.c_int64), ("value", ctypes.c_int64))


class LiteRtCalls:
    """The library, and the environment that all models of this process share; may be used by several threads."""

    def __init__(self, library: CDLL) -> None:
        self._functions: dict[str, Callable[..., int]] = {}
        for name, arguments in _ARGUMENTS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_int
            self._functions[name] = function
        self._destroyers: dict[str, Callable[[c_void_p], None]] = {}
        for name in _DESTROYERS:
            destroyer = getattr(library, name)
            destroyer.argtypes, destroyer.restype = (c_void_p,), None
            self._destroyers[name] = destroyer
        c_library = CDLL(None)
        self._copy_of = c_library.strdup
        self._copy_of.argtypes, self._copy_of.restype = (c_char_p,), c_void_p
        self._free = ctypes.cast(c_library.free, c_void_p)
        # It would look for the libraries of graphics and neural processors, and tell of each.
        chosen = (
            _EnvironmentOption(_ACCELERATORS, _INTEGER, HARDWARE_CPU),
            _EnvironmentOption(_LEAST_SEVERITY, _INTEGER, _ERROR),
        )
        options = (_EnvironmentOption * len(chosen))(*chosen)
        self.environment = self.make(Path(library._name), "LiteRtCreateEnvironment", len(chosen), options)

    def do(self, path: Path, name: str, *arguments: Any) -> None:
        """Call a function for the file at `path`. SegmentRunError where LiteRT refuses."""
        status = self._functions[name](*arguments)
        if status:
            raise SegmentRunError(f"{path}: LiteRT refuses {name.removeprefix('LiteRt')} with status {status}")

    def make(self, path: Path, name: str, *arguments: Any) -> c_void_p:
        """What a function gives through its last argument. SegmentRunError as `do`."""
        made = c_void_p()
        self.do(path, name, *arguments, byref(made))
        return made

    def add_cpu_options(self, path: Path, options: c_void_p, toml: str) -> None:
        """Put the options of the CPU's kernels, as TOML, among a model's options, which then own them."""
        text = c_void_p(self._copy_of(toml.encode()))
        self.do(path, "LiteRtAddOpaqueOptions", options, self._opaque(path, text))

    def destroy(self, name: str, made: c_void_p) -> None:
        """Free what was made."""
        self._destroyers[name](made)

    def _opaque(self, path: Path, text: c_void_p) -> c_void_p:
        return self.make(path, "LiteRtCreateOpaqueOptions", _CPU_OPTIONS, text, self._free)


@cache
def litert_calls() -> LiteRtCalls | None:
    """The C API of the installed LiteRT; None where there is none, or a version whose arguments are not known."""
    try:
        version = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError:
        return None
    found = importlib.util.find_spec("ai_edge_litert")
    if not version.startswith(KNOWN_VERSIONS) or found is None or not found.submodule_search_locations:
        return None
    library = Path(found.submodule_search_locations[0]) / "libLiteRt.so"
    try:
        return LiteRtCalls(CDLL(os.fspath(library)))
    except (OSError, AttributeError, SegmentRunError):
        return None
