"""The three machines that demo and experiment emulate, with the published figures that they are emulated after.

How much this machine has to be slowed to play them is computed here; measuring this machine is the caller's.
"""

from dataclasses import dataclass
from typing import Literal

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
# The same sums for VGG16 (224 x 224, fp32, Keras), from Scission's published measurements; taken as they are.
SCISSION_PI_4_VGG16_MS = 2_110.9
SCISSION_I5_2500_VGG16_MS = 388.0
SCISSION_I7_6700K_VGG16_MS = 113.5

# The emulated links are our choice: Pi and laptop share a WiFi, the PC is a provider's machine behind the uplink.
WIFI_DELAY_MS = 2.0
UPLINK_DELAY_MS = 8.0
UPLINK_SHARE = 0.5
WIRED_DELAY_MS = 6.0
WIRED_MBPS = 200.0

WIFI_J_PER_MB = 0.14  # WiFi of a Pi, per MB sent; a weak source, so a setting of every agent

Yardstick = Literal["mobilenetv2", "vgg16"]
_TITLES: dict[Yardstick, str] = {"mobilenetv2": "MobileNetV2", "vgg16": "VGG16"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine to emulate, with its times for the unsplit models; watts and joules are modelled."""

    node: str
    tier: Tier
    product: str
    mobilenetv2_ms: float
    vgg16_ms: float
    power: PowerSettings

    def unsplit_ms(self, model: Yardstick) -> float:
        """The published time of a model that it is emulated after."""
        return self.vgg16_ms if model == "vgg16" else self.mobilenetv2_ms


PI = Machine(
    "pi",
    "edge",
    "Raspberry Pi 4",
    PI_4_TFLITE_MS,
    SCISSION_PI_4_VGG16_MS,
    # idle and busy board power of a Pi 4 as commonly published; receiving is reckoned as dear as sending
    PowerSettings(idle_w=2.7, busy_w=6.4, tx_j_per_mb=WIFI_J_PER_MB, rx_j_per_mb=WIFI_J_PER_MB),
)
LAPTOP = Machine(
    "laptop",
    "fog",
    "laptop (i5-2500 class)",
    PI_4_TFLITE_MS * SCISSION_I5_2500_MS / SCISSION_PI_4_MS,
    SCISSION_I5_2500_VGG16_MS,
    PowerSettings(idle_w=5.0, busy_w=20.0),  # assumed for a laptop
)
PC = Machine(
    "pc",
    "cloud",
    "PC (i7-6700K class)",
    PI_4_TFLITE_MS * SCISSION_I7_6700K_MS / SCISSION_PI_4_MS,
    SCISSION_I7_6700K_VGG16_MS,
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


def yardstick(model: str) -> Yardstick:
    """The zoo model by whose published times the machines are emulated when they run `model`.

    VGG16 has its own, and AlexNet, of which none is published, is nearest to it; all others go by MobileNetV2's.
    """
    return "vgg16" if model in ("vgg16", "alexnet") else "mobilenetv2"


def emulated(machine: Machine, model: str, host_ms: float) -> EmulatedNode:
    """The node that plays `machine` for `model` on a host that runs the unsplit `yardstick(model)` in `host_ms`.

    A host that is slower than the machine plays it as fast as it can, and the words say so.
    """
    after = yardstick(model)
    machine_ms = machine.unsplit_ms(after)
    factor = machine_ms / host_ms
    if factor >= 1.0:
        words = f"emulated {machine.product}: {_TITLES[after]} in {machine_ms:.1f} ms (this host x{factor:.1f})"
    else:
        words = (
            f"emulated {machine.product}, but too slow: it takes {machine_ms:.1f} ms for {_TITLES[after]}, "
            f"this machine {host_ms:.1f} ms"
        )
    if model == "alexnet":
        words += "; AlexNet by the same factor, since no time of it is published"
    return EmulatedNode(machine.node, machine.tier, max(1.0, factor), machine.power, words)
