"""The power model of a machine that nobody has measured: published figures by board, assumed ones for PCs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.messages import PowerModel
from edge_agent.hardware import board_model

_WIFI_J_PER_MB: Final = 0.14  # WiFi on a Pi, one weak source; up to 7 J/MB on an old laptop, so it is a setting


@dataclass(frozen=True, slots=True)
class DefaultPower:
    """A power model and the machine that it was taken for."""

    power: PowerModel
    machine: str


_BOARDS: Final = (
    ("Raspberry Pi 5", 3.0, 8.0),  # idle and busy W as published for the board, low confidence
    ("Raspberry Pi 4", 2.7, 6.4),  # idle and busy W as published; PowerJoular's fit is 2.29 + 4.53 u
    ("Raspberry Pi 3", 1.9, 5.1),  # idle and busy W as published for the 3B+; PowerJoular's fit is 2.00 + 3.30 u
)
_OTHER_BOARD: Final = (3.0, 10.0)  # assumed: between a Raspberry Pi 5 and a Jetson's mode of 10 W
_LAPTOP: Final = (5.0, 20.0)  # assumed
_DESKTOP: Final = (40.0, 95.0)  # assumed


def default_power(root: Path = Path("/")) -> DefaultPower:
    """The power model for the machine under `root`, guessed from its board's name or from whether it has a battery."""
    board = board_model(root)
    for name, idle_w, busy_w in _BOARDS:
        if board is not None and board.startswith(name):
            return DefaultPower(_with_wifi(idle_w, busy_w), name)
    if _has_battery(root):
        return DefaultPower(_with_wifi(*_LAPTOP), "laptop")
    if board is not None:
        return DefaultPower(_with_wifi(*_OTHER_BOARD), "single-board computer")
    return DefaultPower(PowerModel(idle_w=_DESKTOP[0], busy_w=_DESKTOP[1]), "desktop")


def _with_wifi(idle_w: float, busy_w: float) -> PowerModel:
    return PowerModel(idle_w=idle_w, busy_w=busy_w, tx_j_per_mb=_WIFI_J_PER_MB, rx_j_per_mb=_WIFI_J_PER_MB)


def _has_battery(root: Path) -> bool:
    for supply in (root / "sys/class/power_supply").glob("BAT*/type"):
        try:
            if supply.read_text().strip() == "Battery":
                return True
        except OSError:
            continue
    return False
