"""Which energy meters this machine has, and of the others why not and the fix. Which is primary is `best_meter`'s."""

from pathlib import Path

from edge_agent.energy import rapl
from edge_agent.energy.finding import Finding, found, look
from edge_agent.energy.meter import EnergyMeter

_MODEL_COVERS = "the whole machine, by a model of its idle and busy power and its radio; nothing is measured"
_PLUG = Finding(
    "plug",
    "measured",
    "wall",
    "all that the smart plug feeds, power supply included",
    None,
    "absent",
    "no smart plug is configured",
    "name it under energy.plug in agent.yaml",
)


def discover(root: Path = Path("/"), *, modelled: EnergyMeter, plug: Finding = _PLUG) -> tuple[Finding, ...]:
    """One finding for each kind of meter, the model last; the meters count from now.

    `root` is where /sys and /proc lie. `plug` is the finding of the smart plug where one is configured.
    """
    return (
        look("rapl", "package", rapl.COVERS, lambda: rapl.RaplMeter(root / "sys/class/powercap")),
        plug,
        found(modelled, _MODEL_COVERS),
    )
