"""Which energy meters this machine has, and of the others why not and the fix. Which is primary is `best_meter`'s."""

from pathlib import Path
from typing import Final

from edge_agent.energy.battery import find_battery
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.hwmon import find_hwmon
from edge_agent.energy.jetson import find_jetson
from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.nvml import Load, find_nvml, load_nvml
from edge_agent.energy.pi5_pmic import Run, ask_firmware, find_pi5_pmic
from edge_agent.energy.rapl import find_rapl
from edge_agent.energy.sysfs import Host

_MODEL_COVERS: Final = "the whole machine, by a model of its idle and busy power and its radio; nothing is measured"
_PLUG: Final = Finding(
    "plug",
    "measured",
    "wall",
    "all that the smart plug feeds, power supply included",
    None,
    "absent",
    "no smart plug is configured",
    "name it under energy.plug in agent.yaml",
)


def discover(
    root: Path = Path("/"),
    *,
    modelled: EnergyMeter,
    plug: Finding = _PLUG,
    run: Run = ask_firmware,
    load: Load = load_nvml,
) -> tuple[Finding, ...]:
    """One finding for each kind of meter, the model last; the meters count from now.

    `root` is where /sys and /proc lie. `plug` is the finding of the smart plug where one is configured. `run` asks a
    Raspberry Pi's firmware and `load` gets NVIDIA's library.
    """
    host = Host(root)
    return (
        find_jetson(host),
        find_hwmon(host),
        plug,
        find_rapl(host),
        find_pi5_pmic(host, run),
        find_battery(host),
        find_nvml(host, load),
        found(modelled, _MODEL_COVERS),
    )
