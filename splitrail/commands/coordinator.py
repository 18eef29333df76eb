"""`splitrail coordinator`: runs the coordinator of a site and prints a line for each important event."""

import argparse
import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from broker.messages import Plan
from coordinator.configuration import CoordinatorSettings
from coordinator.service import Coordinator
from coordinator.site import DeploymentState, NodeState, State
from splitrail.log_lines import log_to_stderr
from splitrail.settings import load_settings
from splitrail.strip import plan_strip
from splitrail.terminal import printable

EXAMPLE = "splitrail coordinator --config coordinator.yaml"
STRIP_WIDTH = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the coordinator's settings (YAML)")


def run(arguments: argparse.Namespace) -> int:
    """Coordinate until SIGINT or SIGTERM; 0 after a clean stop."""
    settings = load_settings(arguments.config, CoordinatorSettings)
    log_to_stderr(logging.WARNING, "splitrail: %(message)s")
    stop = threading.Event()

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def finish(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, interrupt), signal.getsignal(signal.SIGINT)
    mask = os.umask(0o077)  # models and telemetry are nobody else's to read
    try:
        with Coordinator(settings, _print_changes) as coordinator:
            signal.signal(signal.SIGTERM, finish)
            signal.signal(signal.SIGINT, finish)
            names = ", ".join(deployment.name for deployment in settings.deployments)
            _print(f"coordinating {names} at site {settings.site} over {settings.broker.endpoint}")
            _print(f"serving models and the status at {coordinator.url}")
            coordinator.run(stop)
        _print("stopped")
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
        os.umask(mask)
    return 0


def _print_changes(before: State, after: State) -> None:
    for line in announcements(before, after):
        _print(line)


def _print(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {printable(line)}", flush=True)


def announcements(before: State, after: State) -> list[str]:
    """What an operator wants to know of the change from one state to a later one, a line each."""
    lines: list[str] = []
    for name, node in after.nodes.items():
        lines += _node_lines(before.nodes.get(name), node)
    for key, known in after.profiles.items():
        profile = known.profile
        if key not in before.profiles or before.profiles[key].profile != profile:
            words = f" ({profile.emulated})" if profile.emulated else ""
            lines.append(
                f"{profile.node} has profiled {_model_name(after, profile.model)}: "
                f"{profile.unsplit_ms:.1f} ms unsplit{words}"
            )
    for (node_name, sha256), failure in after.unprofiled.items():
        if before.unprofiled.get((node_name, sha256)) != failure:
            lines.append(f"{node_name} cannot profile {_model_name(after, sha256)}: {failure.reason}")
    for name, deployment in after.deployments.items():
        lines += _deployment_lines(before.deployments.get(name), deployment)
    return lines


def _node_lines(before: NodeState | None, node: NodeState) -> list[str]:
    announced = node.announcement
    if before is not None and (before.session, before.online, before.refused) == (
        node.session,
        node.online,
        node.refused,
    ):
        return []
    if not node.online:
        return [f"{node.name} is down"]
    if node.refused:
        return [f"{node.name} is refused: it {node.refused}"]
    hardware = announced.hardware
    words = f"; emulated: {announced.emulated}" if announced.emulated else ""
    return [
        f"{node.name} is up: {announced.tier}, {hardware.cpu_model} ({hardware.architecture}, {hardware.cores} cores), "
        f"{hardware.runtime} {hardware.runtime_version}{words}"
    ]


def _deployment_lines(before: DeploymentState | None, deployment: DeploymentState) -> list[str]:
    name = deployment.declared.name
    lines: list[str] = []
    for node, refusal in deployment.refusals.items():
        if before is None or before.refusals.get(node) != refusal:
            lines.append(f"{name}: {node} could not take its part: {refusal.reason}")
    plan, former = deployment.plan, before.plan if before is not None else None
    # A plan that is said again under another term is no news.
    if plan is not None and (former is None or (former.epoch, former.stages) != (plan.epoch, plan.stages)):
        lines += _plan_lines(plan)
    obstacle = deployment.evaluation and deployment.evaluation.obstacle
    if obstacle and obstacle != (before and before.evaluation and before.evaluation.obstacle):
        lines.append(f"{name}: no new plan: {obstacle}")
    return lines


def _plan_lines(plan: Plan) -> list[str]:
    prediction = plan.prediction
    strip = plan_strip(plan.stages, plan.model.ops, STRIP_WIDTH).plain
    return [
        f"{plan.deployment}: plan {plan.epoch} ({plan.strategy}): {plan.reason}",
        f"    {strip}",
        f"    modelled: {prediction.latency_ms:.1f} ms, {prediction.origin_energy_j:.2f} J at {plan.origin}, "
        f"{prediction.total_energy_j:.2f} J in all",
    ]


def _model_name(state: State, sha256: str) -> str:
    for deployment in state.deployments.values():
        reference = deployment.declared.model.reference
        if reference.sha256 == sha256:
            return reference.name
    return sha256[:12]
