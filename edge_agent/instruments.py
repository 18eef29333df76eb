"""What a node measures of itself while it works: energy and load, by the means that suit it.

Energy is `edge_agent.energy.metering`'s; publishing is the agent's.
"""

from collections.abc import Callable, Iterator

from broker.foreign import ForeignHandler
from broker.messages import EnergyReading, NodeLoad, PowerModel
from edge_agent.clock import WallClock
from edge_agent.configuration import AgentSettings
from edge_agent.emulated_load import EmulatedLoad
from edge_agent.energy.discovery import discover
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.metering import Metering
from edge_agent.energy.modelled import ModelledMeter, Traffic, machine_busy_s, machine_traffic
from edge_agent.energy.plug import COVERS, PlugMeter
from edge_agent.executor import Executor
from edge_agent.load_readings import LoadReadings
from edge_agent.processor_load import ProcessorWatch


class Instruments:
    """Energy and load of one session; `traffic` gives the bytes of tensors, which are an emulated node's radio.

    `listen(topic, handler)` subscribes to a smart plug's messages. From here on the executor tells what its runs take.
    MeterUnavailableError if the settings name a meter that is not there.
    """

    def __init__(
        self,
        settings: AgentSettings,
        session: str,
        *,
        power: PowerModel,
        executor: Executor,
        threads: Callable[[], int],
        emulated_load: EmulatedLoad,
        clock: WallClock,
        traffic: Callable[[], Traffic],
        listen: Callable[[str, ForeignHandler], None],
    ) -> None:
        emulated = settings.emulation is not None
        if emulated:
            modelled = ModelledMeter(power, lambda: executor.busy_s, traffic)
        else:
            modelled = ModelledMeter(power, machine_busy_s, machine_traffic)
        self._metering = Metering(settings, session, _findings(settings, modelled, listen), power=power, now=clock.now)
        executor.measure_energy_by(self._metering.stage_meter)
        # The agents of a testbed share a machine: what else it does is the other nodes' work, and no load of this one.
        look = emulated_load.load if emulated else ProcessorWatch(threads, lambda: executor.busy_s).load
        self._loads = LoadReadings(look, node=settings.node, session=session, emulated=emulated, clock=clock.now)

    def start(self) -> None:
        """Begin to read the meters, on a thread of their own: some take long."""
        self._metering.start()

    def close(self) -> None:
        """End that thread."""
        self._metering.close()

    def due(self) -> Iterator[EnergyReading | NodeLoad]:
        """What should be published now."""
        load = self._loads.due()
        if load is not None:
            yield load
        yield from self._metering.due()


def _findings(
    settings: AgentSettings, modelled: ModelledMeter, listen: Callable[[str, ForeignHandler], None]
) -> tuple[Finding, ...]:
    plug = settings.energy.plug
    if plug is None or settings.emulation is not None:
        return discover(modelled=modelled)
    meter = PlugMeter(plug)
    listen(plug.topic, meter.hear)
    return discover(modelled=modelled, plug=found(meter, COVERS))
