"""What this machine is made of, as /proc and the device tree tell it, on x86 and Arm alike."""

import os
import platform
import re
import struct
from pathlib import Path

from broker.messages import Hardware

_ROOT = Path("/")


def detect_hardware(runtime: str, runtime_version: str, root: Path = _ROOT) -> Hardware:
    """The machine under `root` and the runtime that this agent uses; cores are those this process may use."""
    return Hardware(
        architecture=architecture(),
        cpu_model=cpu_model(root),
        cores=usable_cores(),
        memory_mb=total_memory_mb(root),
        runtime=runtime,
        runtime_version=runtime_version,
    )


def machine_identity(root: Path = _ROOT) -> str:
    """What a profile holds for: another architecture, CPU or number of usable cores makes it void."""
    return f"{architecture()}, {cpu_model(root)}, {usable_cores()} cores"


def architecture() -> str:
    """The machine's name for its instruction set; a 32-bit userland on 64-bit Arm is `armv8l`, as Linux calls it."""
    machine = platform.machine() or "unknown"
    return "armv8l" if machine == "aarch64" and struct.calcsize("P") == 4 else machine


def usable_cores() -> int:
    """The cores that this process may run on, at least 1."""
    return len(os.sched_getaffinity(0))


def board_model(root: Path = _ROOT) -> str | None:
    """The board's name in the device tree, such as `Raspberry Pi 4 Model B Rev 1.4`; None on a PC."""
    return _read(root / "proc/device-tree/model")


def cpu_model(root: Path = _ROOT) -> str:
    """The CPU's name, or the board's, which says more, where there is one."""
    cpuinfo = _read(root / "proc/cpuinfo") or ""
    fields = dict(re.findall(r"^([^\n:]*?)\s*:\s*(.*?)\s*$", cpuinfo, flags=re.MULTILINE))
    # x86 has "model name", a Pi's kernel "Model", some Arm kernels "Hardware"; 64-bit Arm may have none of them.
    named = (board_model(root), fields.get("Model"), fields.get("model name"), fields.get("Hardware"))
    return next((name for name in named if name), None) or _arm_part(fields) or architecture()


def _arm_part(fields: dict[str, str]) -> str | None:
    part = fields.get("CPU part")
    return f"Arm implementer {fields.get('CPU implementer', 'unknown')} part {part}" if part else None


def total_memory_mb(root: Path = _ROOT) -> float:
    """The machine's memory in MB of 10^6 bytes."""
    meminfo = _read(root / "proc/meminfo") or ""
    total = re.search(r"^MemTotal:\s*(\d+) kB$", meminfo, flags=re.MULTILINE)
    if total:
        return int(total[1]) * 1_024 / 1e6
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0\n ") or None
    except OSError:
        return None
