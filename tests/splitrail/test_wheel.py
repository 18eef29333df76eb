"""What is in the wheel, and which packages an extra brings to which machine."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from splitrail.shadowing import PACKAGES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def configuration() -> configparser.ConfigParser:
    """setup.cfg, where the packages and extras are declared."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(
    configuration: configparser.ConfigParser, extra: str, machine: str, python_version: str = "3.11"
) -> dict[str, Requirement]:
    """What an extra installs on Linux with this `platform_machine`, by name."""
    lines = configuration["options.extras_require"][extra].strip().splitlines()
    parsed = [Requirement(line) for line in lines if not line.startswith("#")]
    environment = {"platform_machine": machine, "platform_system": "Linux", "python_version": python_version}
    return {each.name: each for each in parsed if each.marker is None or each.marker.evaluate(environment)}


def test_the_wheel_holds_our_packages_and_nothing_else(tmp_path: Path) -> None:
    """The wheel's top-level names are exactly our six packages and the metadata, and the data files are in it."""
    copy = tmp_path / "source"
    copy.mkdir()
    names = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", *PACKAGES)
    present = [ROOT / name for name in names if (ROOT / name).exists()]
    subprocess.run(["cp", "-r", *present, copy], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path, copy],
        check=True,
        cwd=tmp_path,
    )
    (wheel,) = tmp_path.glob("splitrail-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    top_level = {name.partition("/")[0] for name in files}
    assert {name for name in top_level if not name.endswith(".dist-info")} == set(PACKAGES)
    assert "broker/mosquitto.conf" in files
    assert any(name.startswith("testbed/traces/") for name in files)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(files)


def test_every_package_in_the_tree_is_declared(configuration: configparser.ConfigParser) -> None:
    """A new sub-package that is not in setup.cfg would be missing from the wheel."""
    declared = set(configuration["options"]["packages"].split())
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for init in (ROOT / package).rglob("__init__.py")
    }
    assert found == declared


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_64_bit_machines_get_the_current_runtime(configuration: configparser.ConfigParser, machine: str) -> None:
    """ai-edge-litert where it is built, with any numpy."""
    agent = requirements(configuration, "agent", machine)
    assert "ai-edge-litert" in agent
    assert "tflite-runtime" not in agent
    assert agent["numpy"].specifier.contains("2.1.0")


@pytest.mark.parametrize("machine", ["armv7l", "armv8l", "armv6l"])
def test_32_bit_pis_get_the_runtime_that_exists_for_them(
    configuration: configparser.ConfigParser, machine: str
) -> None:
    """tflite-runtime, built for numpy 1, also where a 32-bit system runs under a 64-bit kernel (armv8l)."""
    agent = requirements(configuration, "agent", machine)
    assert "tflite-runtime" in agent
    assert "ai-edge-litert" not in agent
    assert not agent["numpy"].specifier.contains("2.0.0")
    assert agent["numpy"].specifier.contains("1.26.4")


def test_no_runtime_is_asked_for_where_none_is_built(configuration: configparser.ConfigParser) -> None:
    """tflite-runtime ends at Python 3.11: a later one on 32-bit Arm installs, and is told at the start."""
    assert "tflite-runtime" not in requirements(configuration, "agent", "armv7l", python_version="3.12")
