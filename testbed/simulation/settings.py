"""How a simulation runs: the settings of the coordinator and the agents that it plays, and what it idealises."""

from dataclasses import dataclass, field

from coordinator.configuration import PlanningSettings
from edge_agent.probes import LinkSettings
from testbed.workload import BREATH_S


@dataclass(frozen=True, slots=True)
class Ablation:
    """Which causes of regret are switched off, so that what remains explains itself."""

    perfect_estimates: bool = False
    """Readings of links and loads carry the truth, and come as soon as it changes."""
    no_reaction_time: bool = False
    """Messages take no time, plans are weighed before each request and are in force at once."""
    no_hysteresis: bool = False
    """Any better plan is taken, however little is gained."""


AS_IT_IS = Ablation()


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """The settings of a simulated continuum. Without noise every compute takes its mean and no message is late."""

    planning: PlanningSettings = field(default_factory=PlanningSettings)
    links: LinkSettings = field(default_factory=LinkSettings)
    pause_s: float = BREATH_S + 0.01
    """From an answer to the next request's start: the client's own pause, MQTT and the decoding of an image."""
    warm_up_s: float = 15.0
    """How long links are probed and plans made before trace, contention and requests begin."""
    is_noisy: bool = True
    lateness_ms: float = 0.3
    """The mean time by which a host notices a message late, where noisy; exponential."""
