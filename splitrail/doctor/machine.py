"""All checks of a machine that runs, or is to run, an agent: the runtime, the processor's state, the energy meters."""

from collections.abc import Iterator

from edge_agent.announcing import power_model
from edge_agent.configuration import AgentSettings
from edge_agent.energy.default_power import default_power
from edge_agent.energy.discovery import discover
from edge_agent.energy.finding import found
from edge_agent.energy.modelled import ModelledMeter, machine_busy_s, machine_traffic
from edge_agent.energy.plug import COVERS, PlugMeter
from edge_agent.energy.sysfs import Host
from edge_agent.hardware import usable_cores
from edge_agent.machine_temperature import processor_temperature_c
from edge_agent.machine_throttling import ThrottlingWatch
from splitrail.doctor.finding import Finding, checked
from splitrail.doctor.installation import runtime_findings
from splitrail.doctor.meters import meter_findings
from splitrail.doctor.processor import temperature_findings, throttling_findings


def machine_findings(settings: AgentSettings | None) -> Iterator[Finding]:
    """The findings, as they come; without settings, of a machine that may become a node."""
    threads = settings.threads if settings is not None and settings.threads != "auto" else None
    yield from checked(
        "runtime",
        lambda: runtime_findings(is_needed=settings is not None, threads=threads, cores=usable_cores()),
    )
    host = Host()
    yield from checked("temperature", lambda: temperature_findings(processor_temperature_c(host)))
    yield from checked("throttling", lambda: throttling_findings(ThrottlingWatch(host).now()))
    yield from checked("meters", lambda: _meter_findings(settings))


def _meter_findings(settings: AgentSettings | None) -> Iterator[Finding]:
    power = default_power().power if settings is None else power_model(settings)
    modelled = ModelledMeter(power, machine_busy_s, machine_traffic)
    plug = settings.energy.plug if settings is not None else None
    yield from meter_findings(
        discover(modelled=modelled)
        if plug is None
        else discover(modelled=modelled, plug=found(PlugMeter(plug), COVERS)),
        settings.energy.meter if settings is not None else "auto",
        emulated=settings is not None and settings.emulation is not None,
    )
