"""What a node says of itself at its birth: hardware, power model, memory bound and where its tensors come in."""

import socket

from broker.messages import PROTOCOL_VERSION, NodeAnnouncement, PowerModel
from broker.sign_in import BrokerSettings
from edge_agent.configuration import AgentSettings, EmulationSettings
from edge_agent.endpoints import WILDCARD_HOSTS
from edge_agent.energy.default_power import default_power
from edge_agent.fallback import takes_fallback
from edge_agent.hardware import detect_hardware
from edge_agent.room import memory_bound_mb
from models.runtime import runtime_identity
from splitrail import __version__


def announcement(settings: AgentSettings, listening: str, tensor_key: str | None) -> NodeAnnouncement:
    """The announcement of a node with these settings whose transport listens on `listening` with this public key."""
    runtime = runtime_identity()
    hardware = detect_hardware(runtime.name, runtime.version)
    return NodeAnnouncement(
        tier=settings.tier,
        version=__version__,
        protocol=PROTOCOL_VERSION,
        hardware=hardware,
        power=power_model(settings),
        memory_mb=memory_bound_mb(settings, hardware.memory_mb),
        tensor_key=tensor_key,
        fallback="mqtt" if takes_fallback(settings) else None,
        endpoint=settings.tensors.advertise or _reachable(listening, settings.broker),
        emulated=_emulated(settings.emulation) if settings.emulation else None,
    )


def power_model(settings: AgentSettings) -> PowerModel:
    """The settings' figures, and the machine's usual ones for those left out."""
    usual = default_power().power
    chosen = settings.power
    return PowerModel(
        idle_w=usual.idle_w if chosen.idle_w is None else chosen.idle_w,
        busy_w=usual.busy_w if chosen.busy_w is None else chosen.busy_w,
        tx_j_per_mb=usual.tx_j_per_mb if chosen.tx_j_per_mb is None else chosen.tx_j_per_mb,
        rx_j_per_mb=usual.rx_j_per_mb if chosen.rx_j_per_mb is None else chosen.rx_j_per_mb,
    )


def _emulated(emulation: EmulationSettings) -> str:
    """What is emulated, in words; of a clock that a testbed sets too."""
    wrong = "; a testbed sets its clock" if emulation.clock_file else ""
    return f"{emulation.description}{wrong}"


def _reachable(listening: str, broker: BrokerSettings) -> str:
    """The listening address, with this machine's own in place of "any"."""
    host, _, port = listening.removeprefix("tcp://").rpartition(":")
    if host not in WILDCARD_HOSTS:
        return listening
    try:
        # Connecting a datagram socket sends nothing; it only chooses the route that leads to the site.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((broker.host, broker.port))
            return f"tcp://{probe.getsockname()[0]}:{port}"
    except OSError:
        return f"tcp://{socket.gethostname()}:{port}"
