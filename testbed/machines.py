"""The three machines that the demo emulates, with the published figures that they are emulated after.

How much this machine has to be slowed to play them is computed here; measuring this machine is the caller's.
"""

from dataclasses import dataclass

from broker.messages import Tier
from edge_agent.configuration import PowerSettings
from testbed.continuum import EmulatedNode
from testbed.shaping import LinkShape
from testbed.traces import Trace, constant

# MobileNetV2 (224 x 224, fp32) with TensorFlow Lite on a Raspberry Pi 4: the published figure that we scale to.
PI_4_TFLITE_MS = 193.0
# Sums over the blocks of MobileNetV2 as Scission measured them in Keras (Lockhart et al., "Scission", UCC 2020).
SCISSION_PI_4_MS = 443.5
SCISSION_I5_2500_MS = 109.2
SCISSION_I7_6700K_MS = 54.5

# The emulated links are our choice: Pi and laptop share a WiFi, the PC is a provider's machine behind the uplink.
WIFI_DELAY_MS = 2.0
UPLINK_DELAY_MS = 8.0
UPLINK_SHARE = 0.5
WIRED_DELAY_MS = 6.0
WIRED_MBPS = 200.0

WIFI_J_PER_MB = 0.14  # WiFi of a Pi, per MB sent; a weak source, so a setting of every agent


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to emulate. `mobilenetv2_ms` is its time for the unsplit MobileNetV2; watts and joules are modelled."""

    node: str
    tier: Tier
    product: str
    mobilenetv2_ms: float
    power: PowerSettings


PI = Machine(
    "pi",
    "edge",
    "Raspberry Pi 4",
    PI_4_TFLITE_MS,
    # idle and busy board power of a Pi 4 as commonly published; receiving is reckoned as dear as sending
    PowerSettings(idle_w=2.7, busy_w=6.4, tx_j_per_mb=WIFI_J_PER_MB, rx_j_per_mb=WIFI_J_PER_MB),
)
LAPTOP = Machine(
    "laptop",
    "fog",
    "laptop (i5-2500 class)",
    PI_4_TFLITE_MS * SCISSION_I5_2500_MS / SCISSION_PI_4_MS,
    PowerSettings(idle_w=5.0, busy_w=20.0),  # assumed for a laptop
)
PC = Machine(
    "pc",
    "cloud",
    "PC (i7-6700K class)",
    PI_4_TFLITE_MS * SCISSION_I7_6700K_MS / SCISSION_PI_4_MS,
    PowerSettings(idle_w=40.0, busy_w=95.0),  # assumed for a desktop
)
MACHINES = (PI, LAPTOP, PC)


def link_shapes(wifi: Trace) -> tuple[LinkShape, ...]:
    """Both directions of each link: `wifi` between Pi and laptop, a share of it to the PC, a wire between those two."""
    joined = (
        (PI, LAPTOP, wifi, WIFI_DELAY_MS),
        (PI, PC, wifi.scaled(UPLINK_SHARE), UPLINK_DELAY_MS),
        (LAPTOP, PC, constant(WIRED_MBPS), WIRED_DELAY_MS),
    )
    return tuple(
        LinkShape(src.node, dst.node, trace, delay_ms)
        for one, other, trace, delay_ms in joined
        for src, dst in ((one, other), (other, one))
    )


def emulated(machine: Machine, host_mobilenetv2_ms: float) -> EmulatedNode:
    """The node that plays `machine` on a host that runs the unsplit MobileNetV2 in `host_mobilenetv2_ms`.

    A host that is slower than the machine plays it as fast as it can, and the words say so.
    """
    factor = machine.mobilenetv2_ms / host_mobilenetv2_ms
    if factor >= 1.0:
        words = f"emulated {machine.product}: MobileNetV2 in {machine.mobilenetv2_ms:.1f} ms (this host x{factor:.1f})"
    else:
        words = (
            f"emulated {machine.product}, but too slow: it takes {machine.mobilenetv2_ms:.1f} ms for MobileNetV2, "
            f"this machine {host_mobilenetv2_ms:.1f} ms"
        )
    return EmulatedNode(machine.node, machine.tier, max(1.0, factor), machine.power, words)
