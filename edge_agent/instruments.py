"""What a node measures of itself while it works: energy and load, by the means that suit it.

Which meter is best is `edge_agent.energy.best_meter`'s to say; publishing is the agent's.
"""

import logging
from collections.abc import Callable, Iterator

from broker.messages import EnergyReading, NodeLoad, PowerModel
from edge_agent.clock import WallClock
from edge_agent.configuration import AgentSettings
from edge_agent.emulated_load import EmulatedLoad
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.discovery import discover
from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.modelled import ModelledMeter, Traffic, machine_busy_s, machine_traffic
from edge_agent.energy.readings import Readings
from edge_agent.errors import MeterUnavailableError
from edge_agent.executor import Executor
from edge_agent.load_readings import LoadReadings
from edge_agent.processor_load import ProcessorWatch

log = logging.getLogger("splitrail.agent")


class Instruments:
    """Energy meter and load of one session; `traffic` gives the bytes of tensors, which are an emulated node's radio.

    MeterUnavailableError if the settings name a meter that is not there.
    """

    def __init__(
        self,
        settings: AgentSettings,
        session: str,
        *,
        power: PowerModel,
        executor: Executor,
        emulated_load: EmulatedLoad,
        clock: WallClock,
        traffic: Callable[[], Traffic],
    ) -> None:
        emulated = settings.emulation is not None
        if emulated:
            modelled = ModelledMeter(power, lambda: executor.busy_s, traffic)
        else:
            modelled = ModelledMeter(power, machine_busy_s, machine_traffic)
        self._readings = Readings(
            _chosen_meter(settings, modelled),
            node=settings.node,
            session=session,
            interval_s=settings.energy.interval_s,
            clock=clock.now,
        )
        # The agents of a testbed share a machine: what else it does is the other nodes' work, and no load of this one.
        look = emulated_load.load if emulated else ProcessorWatch(settings.threads, lambda: executor.busy_s).load
        self._loads = LoadReadings(look, node=settings.node, session=session, emulated=emulated, clock=clock.now)

    def due(self) -> Iterator[EnergyReading | NodeLoad]:
        """What should be published now."""
        load = self._loads.due()
        if load is not None:
            yield load
        try:
            reading = self._readings.due()
        except MeterUnavailableError as error:
            log.warning("no energy reading: %s", error)
            return
        if reading is not None:
            yield reading


def _chosen_meter(settings: AgentSettings, modelled: ModelledMeter) -> EnergyMeter:
    findings = discover(modelled=modelled)
    choice = best_meter(settings.energy.meter, findings, emulated=settings.emulation is not None)
    log.info("energy: %s (%s, %s): %s", choice.meter.name, choice.meter.source, choice.meter.scope, choice.reason)
    return choice.meter
