"""Which power model a machine gets that nobody has measured."""

from pathlib import Path

import pytest

from edge_agent.energy.default_power import default_power


@pytest.mark.parametrize(
    ("board", "machine", "idle_w", "busy_w"),
    [
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "Raspberry Pi 3", 1.9, 5.1),
        ("Raspberry Pi 4 Model B Rev 1.4", "Raspberry Pi 4", 2.7, 6.4),
        ("Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 5", 3.0, 8.0),
        ("NVIDIA Jetson Nano Developer Kit", "single-board computer", 3.0, 10.0),
    ],
)
def test_a_board_is_known_by_its_device_tree(
    tmp_path: Path, board: str, machine: str, idle_w: float, busy_w: float
) -> None:
    """Raspberry Pis have published figures; a board that is not listed has assumed ones, of a board and not of a PC."""
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(board.encode() + b"\0")
    default = default_power(tmp_path)
    assert (default.machine, default.power.idle_w, default.power.busy_w) == (machine, idle_w, busy_w)


def test_a_battery_makes_a_laptop(tmp_path: Path) -> None:
    """A machine with a battery is taken for a laptop on WiFi, one without for a desktop on a cable."""
    assert default_power(tmp_path).machine == "desktop"
    assert default_power(tmp_path).power.tx_j_per_mb == 0.0
    (tmp_path / "sys/class/power_supply/BAT0").mkdir(parents=True)
    (tmp_path / "sys/class/power_supply/BAT0/type").write_text("Battery\n")
    laptop = default_power(tmp_path)
    assert (laptop.machine, laptop.power.busy_w) == ("laptop", 20.0)
    assert laptop.power.tx_j_per_mb > 0.0
