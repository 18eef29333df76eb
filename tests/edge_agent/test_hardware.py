"""What is found out about a machine, on trees of /proc as different machines have them."""

import os
import platform
from pathlib import Path

import pytest

from edge_agent.hardware import board_model, cpu_model, detect_hardware, machine_identity

DESKTOP = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz
stepping\t: 3

processor\t: 1
model name\t: Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz
"""
PI_4 = """processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU part\t: 0xd08

Revision\t: c03114
Serial\t\t: 100000001234abcd
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
ARM_SERVER = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"


def machine(root: Path, cpuinfo: str, model: bytes | None = None) -> Path:
    """A tree that looks like this machine's."""
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (root / "proc/meminfo").write_text("MemTotal:        3884360 kB\nMemFree:         1000000 kB\n")
    if model is not None:
        (root / "proc/device-tree/model").write_bytes(model)
    return root


@pytest.mark.parametrize(
    ("cpuinfo", "model", "expected"),
    [
        (DESKTOP, None, "Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz"),
        (PI_4, b"Raspberry Pi 4 Model B Rev 1.4\0", "Raspberry Pi 4 Model B Rev 1.4"),
        (PI_4, None, "Raspberry Pi 4 Model B Rev 1.4"),
        (ARM_SERVER, None, "Arm implementer 0x41 part 0xd0c"),
    ],
    ids=["desktop", "pi", "pi without device tree", "arm server"],
)
def test_the_cpu_is_named(tmp_path: Path, cpuinfo: str, model: bytes | None, expected: str) -> None:
    """The CPU's or the board's own name is used, on x86 and Arm."""
    assert cpu_model(machine(tmp_path, cpuinfo, model)) == expected


def test_hardware_is_announced_in_full(tmp_path: Path) -> None:
    """Every field that a node announces is filled in, and the memory is in MB of 10^6 bytes."""
    hardware = detect_hardware("ai-edge-litert", "1.4.0", machine(tmp_path, DESKTOP))
    assert hardware.cpu_model.startswith("Intel")
    assert hardware.memory_mb == pytest.approx(3884360 * 1024 / 1e6)
    assert hardware.cores == len(os.sched_getaffinity(0))
    assert hardware.architecture == platform.machine()
    assert (hardware.runtime, hardware.runtime_version, hardware.accelerators) == ("ai-edge-litert", "1.4.0", ())


def test_this_machine_is_known() -> None:
    """On the machine of the test nothing is missing either."""
    hardware = detect_hardware("tflite-runtime", "2.14.0")
    assert hardware.cpu_model
    assert hardware.memory_mb > 100


def test_a_bare_machine_is_known_by_its_architecture(tmp_path: Path) -> None:
    """Without /proc the architecture stands for the CPU and the kernel tells the memory."""
    hardware = detect_hardware("ai-edge-litert", "1.4.0", tmp_path)
    assert hardware.cpu_model == platform.machine()
    assert hardware.memory_mb > 0
    assert board_model(tmp_path) is None


def test_the_identity_tells_machines_apart(tmp_path: Path) -> None:
    """Another CPU is another identity; the same one is the same again."""
    desktop, pi = machine(tmp_path / "a", DESKTOP), machine(tmp_path / "b", PI_4)
    assert machine_identity(desktop) == machine_identity(desktop)
    assert machine_identity(desktop) != machine_identity(pi)
