"""Whether a site is as it should be: all there, all ready, nobody suspected, and the plan the one that it should want.

Pure: from a status report, the nodes' profiles and the links as they truly are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.messages import NodeProfile
from coordinator import exact
from coordinator.cost import Stage, evaluate
from coordinator.deployment import ModelFacts
from coordinator.errors import CoordinatorError
from coordinator.problem import RAW, Link, Model, Node, Objective, Problem
from coordinator.status_report import DeploymentReport, PlanReport, StatusReport
from testbed.shaping import LinkShape

LARGEST_LOSS = 0.15
"""A plan may be so much worse than the best one by the true links: the coordinator knows them by measurement."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the testbed knows of a site: its nodes, its model, what a plan is judged by, and the links as shaped."""

    nodes: tuple[str, ...]
    model: ModelFacts
    origin: str
    objective: Objective
    shapes: tuple[LinkShape, ...]


def unsettled(status: StatusReport, profiles: Mapping[str, NodeProfile], truth: Truth) -> str | None:
    """What is not yet as it should be with the site's one deployment, in words; None where all is."""
    online = {node.name for node in status.nodes if node.online}
    missing = [name for name in truth.nodes if name not in online]
    if missing:
        return f"{', '.join(missing)} offline"
    [deployment] = status.deployments
    return _without_plan(deployment) or _suspected(deployment) or _misplanned(deployment.plan, profiles, truth)


def _without_plan(deployment: DeploymentReport) -> str | None:
    plan = deployment.plan
    if plan is None:
        return f"no plan: {deployment.obstacle}"
    waiting = {stage.node for stage in plan.stages} - set(plan.ready)
    return f"plan {plan.epoch} waits for {', '.join(sorted(waiting))}" if waiting else None


def _suspected(deployment: DeploymentReport) -> str | None:
    suspects = {**deployment.left_out, **deployment.suspect_links}
    if suspects:
        return "; ".join(f"{suspect} left out: {reason}" for suspect, reason in suspects.items())
    return f"obstacle: {deployment.obstacle}" if deployment.obstacle is not None else None


def _misplanned(plan: PlanReport | None, profiles: Mapping[str, NodeProfile], truth: Truth) -> str | None:
    """By how much the plan in force is worse than the best one, if by too much."""
    if plan is None or any(name not in profiles for name in truth.nodes):
        return "a node's profile is not known"
    problem = true_problem(profiles, truth)
    best = exact.plan(problem).score.objective
    stages = tuple(Stage(stage.node, stage.start, stage.stop, RAW) for stage in plan.stages)
    try:
        own = evaluate(problem, stages).objective
    except CoordinatorError as error:
        return f"plan {plan.epoch}: {error}"
    loss = own / best - 1.0
    return f"plan {plan.epoch} is {loss:.0%} worse than the best by the true links" if loss > LARGEST_LOSS else None


def true_problem(profiles: Mapping[str, NodeProfile], truth: Truth) -> Problem:
    """The planning problem of the nodes as they were profiled, over the links as they are shaped now, unloaded."""
    facts = truth.model
    return Problem(
        model=Model(
            name=facts.reference.name,
            cut_bytes=facts.cut_bytes,
            weight_mb=facts.weight_mb,
            forbidden_cuts=facts.forbidden_cuts,
        ),
        origin=truth.origin,
        nodes=tuple(Node(name=name, op_ms=profiles[name].op_ms) for name in truth.nodes),
        links=tuple(_links(truth.shapes)),
        objective=truth.objective,
    )


def _links(shapes: Iterable[LinkShape]) -> Iterable[Link]:
    return (
        Link(src=shape.src, dst=shape.dst, rtt_ms=2 * shape.delay_ms, mbps=shape.trace.mbps_at(0.0)) for shape in shapes
    )
