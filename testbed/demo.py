"""The demo: an emulated continuum under a link that drops and recovers, and each strategy's figures in one run.

Machines come from `testbed.machines`, the picture from `testbed.screen`; this module is the sequence of events.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from broker.messages import StrategyName
from coordinator.configuration import DeploymentSettings
from edge_agent.probes import LinkSettings
from models.graph import read_graph
from testbed.comparison import Comparison, compare, verdict
from testbed.continuum import Continuum
from testbed.host_timing import unsplit_cpu_ms
from testbed.machines import LAPTOP, MACHINES, PI, emulated, link_shapes
from testbed.performance import Performance, PlanChange
from testbed.scene import Scene
from testbed.scratch import scratch_directory
from testbed.screen import Cast, Screen, comparison_table
from testbed.traces import Trace, constant
from testbed.workload import photograph_crops, try_out
from testbed.zoo_models import Weights, default_cache, prepare

ADAPTIVE = "adaptive"
YARDSTICK = "mobilenetv2"
"""The model by which this machine is measured, and the one that is shown unless the user brings another."""
# What each of the five deployments of the one model is called, and how it is planned.
STRATEGIES: dict[str, StrategyName] = {
    ADAPTIVE: "exact",
    "static": "static",
    "origin-only": "origin-only",
    "fog-only": "fog-only",
    "cloud-only": "cloud-only",
}

LONGEST_RUN_S = 80.0
# More often than by default (5 s): the demo's link is bad for half a minute only.
PROBING = LinkSettings(probe_interval_s=2.0, max_probe_bytes_per_minute=3_000_000)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a user may choose. `seconds` None runs the trace once, `LONGEST_RUN_S` at the most."""

    trace: Trace
    seconds: float | None
    model: Path | None
    weights: Weights | None
    photographs: tuple[Path, ...]


class MachineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """An emulated machine: the words that say so, and its modelled watts."""

    node: str
    emulated: str
    idle_w: float | None
    busy_w: float | None


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's figures, as `--json` writes them; machines and links are emulated, every energy figure modelled.

    Tensors and broker run open, on loopback only.
    """

    emulated: bool = True
    energy: str = "modelled, whole boards"
    model: str
    weights: str
    trace: str
    seconds: float
    machines: tuple[MachineFigures, ...]
    plans: tuple[PlanChange, ...]
    comparison: Comparison


def run_demo(options: DemoOptions, screen: Screen) -> DemoResult:
    """Run it all and return its figures; SplitrailError says what is lacking. Leaves no process behind."""
    images = photograph_crops(options.photographs)
    if options.model is not None:
        read_graph(options.model)  # a wrong file is found here, before anything is started, and a wrong model below
        with screen.step("trying the model out on one photograph"):
            try_out(options.model, images[0])
    yardstick = prepare(default_cache(), YARDSTICK, options.weights, screen.step)
    weights = "the file's own" if options.model else yardstick.weights
    if options.model is None and yardstick.weights == "random":
        excuse = f" ({yardstick.excuse})" if yardstick.excuse else ""
        screen.say(f"MobileNetV2 has random weights{excuse}: the classes mean nothing, times and bytes are as ever")
    model = (options.model or yardstick.path).resolve()
    kinds = tuple(op.kind for op in read_graph(model).ops)
    with screen.step("measuring this machine with the unsplit MobileNetV2, one thread"):
        host_ms = unsplit_cpu_ms(yardstick.path)
    nodes = tuple(emulated(machine, YARDSTICK, host_ms) for machine in MACHINES)
    for node in nodes:
        screen.say(f"{node.name}: {node.words}; {node.power.idle_w:g} to {node.power.busy_w:g} W (modelled)")
    deployments = tuple(
        DeploymentSettings(name=name, model=model, origin=PI.node, strategy=strategy)
        for name, strategy in STRATEGIES.items()
    )
    duration_s = options.seconds or min(LONGEST_RUN_S, options.trace.duration_s)
    cast = Cast(
        strategies=tuple(STRATEGIES),
        adaptive=ADAPTIVE,
        nodes=tuple(node.name for node in nodes),
        ops=len(kinds),
        link=(PI.node, LAPTOP.node),
        trace=options.trace,
        duration_s=duration_s,
    )
    first_mbps = next(filter(None, options.trace.mbps)) * options.trace.scale
    with scratch_directory("splitrail-demo-") as directory:
        before = link_shapes(constant(first_mbps))
        # Without failover each strategy is seen as it is, and not as an origin that finishes what others do not.
        with Continuum(
            nodes, before, deployments, directory, probing=PROBING, failover=False, step=screen.step
        ) as continuum:
            performance = Performance(continuum, screen, cast, kinds)
            with continuum.session("demo") as session:
                performance.watch(session)
                performance.wait_until_ready()
                performance.run(session, images)
    comparison = _conclude(performance.scene, screen)
    return DemoResult(
        model=model.name,
        weights=weights,
        trace=options.trace.label,
        seconds=duration_s,
        machines=tuple(
            MachineFigures(node=node.name, emulated=node.words, idle_w=node.power.idle_w, busy_w=node.power.busy_w)
            for node in nodes
        ),
        plans=performance.plan_changes,
        comparison=comparison,
    )


def _conclude(scene: Scene, screen: Screen) -> Comparison:
    """Show the final table, and in words what adapting was worth."""
    comparison = compare(scene.samples, tuple(STRATEGIES))
    screen.show(comparison_table(comparison, ADAPTIVE))
    for line in verdict(comparison, ADAPTIVE):
        screen.say(line)
    return comparison
