"""The site that faults strike: three nodes of which each does a third, so that there is an origin, a middle and a last.

Times are shorter than the defaults, so that a trial takes seconds; the report says so.
"""

from pathlib import Path

from coordinator.configuration import DeploymentSettings, LeadershipSettings, ObjectiveSettings, PlanningSettings
from edge_agent.configuration import PowerSettings
from edge_agent.probes import LinkSettings
from testbed.continuum_settings import EmulatedNode
from testbed.shaping import LinkShape
from testbed.traces import constant

ORIGIN, MIDDLE, LAST = "pi", "laptop", "pc"
DEPLOYMENT = "photos"
SLOWER = 48.0
"""So much that a node's compute outweighs every transfer, and no two plans are nearly alike."""
_WORDS = f"emulated: {SLOWER:g} times slower"

NODES = (
    EmulatedNode(ORIGIN, "edge", SLOWER, PowerSettings(idle_w=2.7, busy_w=6.4), _WORDS),
    EmulatedNode(MIDDLE, "fog", SLOWER, PowerSettings(idle_w=5.0, busy_w=20.0), _WORDS),
    EmulatedNode(LAST, "cloud", SLOWER, PowerSettings(idle_w=40.0, busy_w=95.0), _WORDS),
)
# The way through the middle is the quick one, so that the plan goes origin, middle, last.
_LINKS = ((ORIGIN, MIDDLE, 200.0, 1.0), (MIDDLE, LAST, 200.0, 1.0), (ORIGIN, LAST, 40.0, 3.0))
SHAPES = tuple(
    LinkShape(src, dst, constant(mbps), delay_ms)
    for one, other, mbps, delay_ms in _LINKS
    for src, dst in ((one, other), (other, one))
)

# What a switch costs is left out: a better plan is taken as soon as it is known.
PLANNING = PlanningSettings(interval_s=1.0, join_s=0.5, hysteresis=0.05, switch_cost=0.0)
PROBING = LinkSettings(ping_interval_s=0.5, probe_interval_s=1.0, max_probe_bytes_per_minute=20_000_000)
LEADERSHIP = LeadershipSettings(heartbeat_s=0.5, lease_s=2.0)


def deployment(model: Path) -> DeploymentSettings:
    """A stream is planned for, whose period counts as much as the latency: every node takes its share, once."""
    return DeploymentSettings(
        name=DEPLOYMENT, model=model, origin=ORIGIN, objective=ObjectiveSettings(latency=1.0, throughput=1.0)
    )
