"""Python, the packages of the extras and the runtime that segments run on; which commands lack what."""

import importlib.metadata
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from splitrail import __version__
from splitrail.cli import COMMANDS
from splitrail.doctor.finding import Finding, Verdict
from splitrail.doctor.subject import Kind

EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "agent": (
        "cryptography",
        "lz4",
        "numpy",
        "paho-mqtt",
        "pillow",
        "prometheus-client",
        "psutil",
        "pyyaml",
        "zstandard",
    ),
    "coordinator": (
        "cryptography",
        "influxdb-client",
        "numpy",
        "paho-mqtt",
        "prometheus-client",
        "pyyaml",
        "starlette",
        "urllib3",
        "uvicorn",
    ),
    "convert": ("pillow", "scikit-learn"),
    "experiments": ("grpcio", "matplotlib", "pyarrow", "pyzmq", "scikit-learn", "scipy", "uvloop"),
    "nvidia": ("nvidia-ml-py",),
}
"""The distributions that each extra brings on every machine; the runtime and TensorFlow are looked at apart."""
_NEEDED: Final[dict[Kind, str]] = {"agent": "agent", "coordinator": "coordinator", "client": "agent"}
_TENSORFLOW: Final = ("tensorflow-cpu", "tensorflow")
_IMPORT_TIMEOUT_S: Final = 5.0
# -P keeps a directory `models` of the user's out of the way.
_IMPORT: Final = (
    "-P",
    "-c",
    "import importlib; from models.runtime import runtime_identity; runtime = runtime_identity(); "
    "importlib.import_module(runtime.name.replace('-', '_') + '.interpreter'); print(runtime.name, runtime.version)",
)


def python_findings() -> Iterator[Finding]:
    """The Python that runs this, and this version of Splitrail."""
    yield Finding(
        "python",
        "ok",
        f"splitrail {__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}, "
        f"{platform.machine()}",
    )


def package_findings(kind: Kind | None) -> Iterator[Finding]:
    """A line for each extra: all there, or what is missing and which commands do not run without it."""
    for extra, distributions in EXTRAS.items():
        missing = [name for name in distributions if not _is_installed(name)]
        if extra == "convert" and not any(map(_is_installed, _TENSORFLOW)):
            missing.append("tensorflow")
        yield extra_finding(extra, tuple(missing), is_needed=kind is not None and _NEEDED[kind] == extra)


def extra_finding(extra: str, missing: tuple[str, ...], *, is_needed: bool) -> Finding:
    """What it means that these packages of an extra are missing."""
    subject = f"packages: {extra}"
    commands = [name for name, command in COMMANDS.items() if command.extra == extra]
    if not missing:
        return Finding(subject, "ok", "all there")
    effect = (
        f"so `splitrail {'`, `'.join(commands)}` {'do' if len(commands) > 1 else 'does'} not run" if commands else ""
    )
    says = f"{', '.join(missing)} missing" + (f", {effect}" if effect else "")
    return Finding(subject, "problem" if is_needed else "note", says, f"pip install 'splitrail[{extra}]'")


def runtime_findings(*, is_needed: bool, threads: int | None, cores: int) -> Iterator[Finding]:
    """The runtime, imported in a process of its own: on a processor that it is not built for it dies."""
    verdict: Verdict = "problem" if is_needed else "note"
    try:
        done = subprocess.run(
            (sys.executable, *_IMPORT),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding("runtime", "note", f"it was not imported within {_IMPORT_TIMEOUT_S:g} s", "try again when idle")
        return
    if done.returncode == -signal.SIGILL:
        fix = "use a processor with AVX, or a build for this one"
        yield Finding("runtime", verdict, "it uses instructions that this processor lacks", fix)
    elif done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        yield runtime_failure(last, verdict)
    else:
        yield Finding("runtime", "ok", f"{done.stdout.strip()}, {cores} cores to use")
    if threads is not None and threads > cores:
        yield Finding("runtime", "note", f"threads is {threads}, of {cores} cores", f"set threads to {cores} or less")


def runtime_failure(last_line: str, verdict: Verdict) -> Finding:
    """What the last line of a failed import means; 32-bit Arm has a runtime for Python 3.11 alone."""
    error = last_line.partition(": ")[2] or last_line
    if platform.machine() in ("armv6l", "armv7l", "armv8l") and sys.version_info >= (3, 12):
        fix = "use Python 3.11 (Raspberry Pi OS Bookworm has it), or a 64-bit system"
        return Finding("runtime", verdict, "no runtime is built for this Python on 32-bit Arm", fix)
    says, _, fix = error.partition(": ")
    return Finding("runtime", verdict, says, fix or "pip install --force-reinstall 'splitrail[agent]'")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
