"""Trees of /sys in the kernel's own forms, made in a directory that stands for the root."""

from collections.abc import Callable
from pathlib import Path

from edge_agent.energy.sysfs import Host

Files = dict[str, str | int]


class Clock:
    """A clock that the test sets, in seconds."""

    now_s = 1_000.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now_s


def host(root: Path, clock: Clock, read_text: Callable[[Path], str] = Path.read_text) -> Host:
    """The machine under `root`, with the bound of 10 s on gaps."""
    return Host(root, longest_gap_s=10.0, read_text=read_text, clock_s=clock)


def write(directory: Path, files: Files) -> Path:
    """Files of one line each, ended as the kernel ends them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(f"{content}\n")
    return directory


def in_class(root: Path, name: str, device: str, files: Files) -> Path:
    """A device's directory, and the link that leads there from a class or bus, such as `class/hwmon/hwmon2`."""
    directory = write(root / "sys/devices/platform/soc" / device, files)
    link = root / "sys" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(directory)
    return link


def remove(link: Path) -> None:
    """The driver was unloaded, or the device taken out."""
    directory = link.resolve()
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    link.unlink()


def i2c_hwmon(root: Path, number: int, device: str, files: Files) -> Path:
    """A hwmon directory below a chip on an I2C bus, such as `1-0040`, with the links that the kernel makes."""
    chip = f"i2c-{device[0]}/{device}"
    if not (root / "sys/bus/i2c/devices" / device).exists():
        in_class(root, f"bus/i2c/devices/{device}", chip, {})
    link = in_class(root, f"class/hwmon/hwmon{number}", f"{chip}/hwmon/hwmon{number}", files)
    (link / "device").symlink_to("../../../" + device)
    return link


def forbidden(*names: str) -> Callable[[Path], str]:
    """Reads files, but none of these names, as for a user who may not."""

    def read_text(path: Path) -> str:
        if path.name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return path.read_text()

    return read_text
