"""Finds the plan that a deployment's strategy wants now, or says what it waits for; not whether it is worth a switch.

A site's strategies differ in when they look: some always, reap after a window of inferences, the others once.
"""

from dataclasses import dataclass

from coordinator import exact
from coordinator.cost import PartitionPlan, evaluate
from coordinator.errors import CoordinatorError
from coordinator.permitted_codecs import plan_within_loss, planned_stages
from coordinator.problem import Problem
from coordinator.reap import Units, reap_changes, units_of
from coordinator.situation import Situation
from coordinator.strategies import STRATEGIES

CONTINUAL = frozenset({"exact", "neurosurgeon", "dads"})
"""Strategies that are asked for a better plan at every evaluation."""

SETTLING = frozenset({"static", "fog-only", "cloud-only", "reap"})
"""Strategies whose first plan stays for long and hangs on links: a wild first estimate must not decide it."""

LONGEST_PROFILING = 10
"""A node that has announced itself is given so many times `settle_s` to profile the model."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a strategy wants: a plan, or nothing, for there is an obstacle or it is content."""

    plan: PartitionPlan | None = None
    obstacle: str | None = None
    units: Units | None = None
    """What reap divides its figures by, where this was its first look."""
    ends_window: bool = False


def search(situation: Situation, fault: str | None) -> Found:
    """The strategy's answer; `fault` says why the plan in force must be replaced, None where it need not be."""
    declared, plan, problem = situation.declared, situation.deployment.plan, situation.assembly.problem
    needed = plan is None or fault is not None
    if declared.strategy not in CONTINUAL and not needed:
        return _reap_window(situation) if declared.strategy == "reap" and problem is not None else Found()
    if problem is None:
        return Found(obstacle=situation.assembly.obstacle)
    if plan is None and declared.strategy in SETTLING and not declared.stages:
        wait = _launch_wait(situation)
        if wait is not None:
            return Found(obstacle=wait)
    try:
        return _solve(situation, problem)
    except CoordinatorError as error:
        return Found(obstacle=f"{fault}; {error}" if fault else str(error))


def _solve(situation: Situation, problem: Problem) -> Found:
    declared = situation.declared
    if declared.stages:
        stages = planned_stages(declared.stages)
        return Found(PartitionPlan(stages, evaluate(problem, stages)))
    if declared.strategy == "reap":
        return Found(STRATEGIES["reap"](problem), units=units_of(problem), ends_window=True)
    if declared.strategy in {"exact", "static"}:
        most_labels = situation.settings.most_labels
        return Found(
            plan_within_loss(
                problem,
                declared.codec_figures,
                declared.accuracy_loss,
                lambda strict: exact.plan(strict, most_labels=most_labels),
            )
        )
    return Found(STRATEGIES[declared.strategy](problem))


def _reap_window(situation: Situation) -> Found:
    """What reap wants at the end of a window; before it, nothing."""
    deployment, problem, last = situation.deployment, situation.assembly.problem, situation.deployment.evaluation
    plan, window = deployment.plan, deployment.traffic.window
    known = last.units if last is not None else None
    if plan is None or problem is None or window.inferences < situation.settings.reap_every:
        return Found()
    try:
        units = known or units_of(problem)
        changed = reap_changes(problem, planned_stages(plan.stages), window.mean_ms, units)
    except CoordinatorError as error:
        return Found(obstacle=str(error), ends_window=True)
    return Found(changed, units=units, ends_window=True)


def _launch_wait(situation: Situation) -> str | None:
    """What a plan that will stay still waits for: it is made of all there is once nothing new has come for a while."""
    state, around, settle_s = situation.state, situation.around, situation.settings.settle_s
    strategy = situation.declared.strategy
    sha256 = situation.declared.model.reference.sha256
    births = [state.nodes[name].since for name in around.sessions]
    profiles = [state.profiles[name, sha256].arrived_at for name in around.profiled]
    links = [state.links[pair].first_at for pair in around.links]
    quiet_s = situation.now - max((*births, *profiles, *links))
    missing = sorted(set(around.sessions) - around.profiled - set(around.refused))
    if missing and quiet_s < LONGEST_PROFILING * settle_s:
        return f"the {strategy} plan waits for the profile of {', '.join(missing)}"
    if quiet_s < settle_s:
        return f"the {strategy} plan waits until nothing new has come for {settle_s:g} s"
    return None
