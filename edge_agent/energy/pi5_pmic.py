"""The power management chip of a Raspberry Pi 5, as the firmware tells it: volts and amperes of twelve rails."""

import re
import subprocess
from collections.abc import Callable
from typing import Final

from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.power_meter import PowerMeter
from edge_agent.energy.sysfs import Host
from edge_agent.errors import MeterUnavailableError
from edge_agent.hardware import board_model

# Not the board: what the 5 V line feeds directly (USB, HATs) and the regulators' losses are not in the sum. There is
# a fit that a community made for the whole board (1.1451 * sum + 0.5879 W), which is a model and so is not used here.
_COVERS: Final = "what the board's regulators give: chip, memory, WiFi, HDMI; not USB, HATs or the regulators' losses"
_BOARDS: Final = ("Raspberry Pi 5", "Raspberry Pi Compute Module 5")  # the 500's name begins so too
_COMMAND: Final = ("vcgencmd", "pmic_read_adc")
_TIMEOUT_S: Final = 2.0
_PERIOD_S: Final = 1.0  # each reading is a process; oftener it would heat what it measures
_GROUP_FIX: Final = "let the agent's user into the group video: `sudo usermod -aG video USER`, then start it anew"
_RAIL_FORM: Final = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=(-?\d+(?:\.\d+)?)[AV]")

Run = Callable[[], str]
"""Asks the firmware and returns what it says; MeterUnavailableError if it cannot be asked."""


def find_pi5_pmic(host: Host, run: Run) -> Finding:
    """The rails of a Raspberry Pi 5 or Compute Module 5; on other boards nothing is run."""
    try:
        _check_board(board_model(host.root))
        meter = PowerMeter(
            "pi5-pmic",
            "soc",
            lambda: rails_power_w(run()),
            period_s=_PERIOD_S,
            longest_gap_s=host.longest_gap_s,
            clock_s=host.clock_s,
        )
    except MeterUnavailableError as error:
        return lacking("pi5-pmic", "soc", _COVERS, error)
    return found(meter, _COVERS)


def _check_board(board: str | None) -> None:
    if board is None or not board.startswith(_BOARDS):
        what = f"a {board}" if board else "no Raspberry Pi"
        raise MeterUnavailableError(f"this is {what}; only a Raspberry Pi 5 tells the currents of its rails")


def rails_power_w(answer: str) -> float:
    """Watts of all rails: volts times amperes of each name, which are numbered apart in the answer.

    EXT5V and BATT have volts alone and are left out. MeterUnavailableError if a rail has amperes alone, or if the
    core's is missing, for then the answer is not whole.
    """
    figures: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in answer.splitlines():
        match = _RAIL_FORM.fullmatch(line.strip())
        if match:
            figures[match[2]][match[1]] = float(match[3])
    amperes, volts = figures["A"], figures["V"]
    if "VDD_CORE" not in amperes:
        first = answer.strip().splitlines()[:1]
        reason = f"`{' '.join(_COMMAND)}` tells no current of VDD_CORE but {first[0][:200] if first else 'nothing'!r}"
        raise MeterUnavailableError(reason, is_there=True)
    missing = amperes.keys() - volts.keys()
    if missing:
        raise MeterUnavailableError(
            f"`{' '.join(_COMMAND)}` tells no voltage of {', '.join(sorted(missing))}", is_there=True
        )
    return sum(ampere * volts[rail] for rail, ampere in amperes.items())


def ask_firmware() -> str:
    """What `vcgencmd pmic_read_adc` prints."""
    try:
        done = subprocess.run(
            _COMMAND, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise MeterUnavailableError(
            "vcgencmd is not installed", fix="sudo apt install raspi-utils", is_there=True
        ) from None
    except subprocess.TimeoutExpired:
        raise MeterUnavailableError(
            f"vcgencmd did not answer within {_TIMEOUT_S:g} s", fix="try it by hand", is_there=True
        ) from None
    except OSError as error:
        raise MeterUnavailableError(
            f"vcgencmd cannot be run ({error.strerror})", fix=_GROUP_FIX, is_there=True
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = f"vcgencmd failed: {said[0][:200] if said else f'status {done.returncode}'}"
        raise MeterUnavailableError(reason, fix=_GROUP_FIX, is_there=True)
    return done.stdout
