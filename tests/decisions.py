"""Decisions carried out on the made-up site, as the service does it."""

import made_site
from made_site import declared, folded, received

from broker.messages import Plan
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.evaluation import Evaluation
from coordinator.site import DeploymentState, State
from coordinator.state import Event, Received, apply

SETTINGS = PlanningSettings(interval_s=5.0, hysteresis=0.03, link_change=0.2, settle_s=5.0, join_s=2.0, refusal_s=60.0)


def carry_out(state: State, now: float, settings: PlanningSettings = SETTINGS) -> tuple[State, list[Plan]]:
    """Do what is decided, as the service does: the state after it and the plans that were published."""
    plans: list[Plan] = []
    for instruction in decide(state, now, settings):
        event: Event
        if isinstance(instruction, PublishPlan):
            plans.append(instruction.plan)
            event = Received(instruction.plan, now)
        else:
            event = instruction
        state = apply(event, state)
    return state, plans


def after(state: State, *messages: made_site.SiteMessage, at: float) -> State:
    return folded(received(*messages, at=at), state)


def stages(plan: Plan) -> list[tuple[str, int, int]]:
    return [(stage.node, stage.start, stage.stop) for stage in plan.stages]


def photos(state: State) -> DeploymentState:
    return state.deployments["photos"]


SETTLED = 10.0  # when a site of which everything came at 0 has been quiet for longer than settle_s


def weighed(state: State) -> Evaluation:
    evaluation = photos(state).evaluation
    assert evaluation is not None
    return evaluation


def settled(mbps: float = 100.0) -> State:
    """The whole site with its first plan, made at time 0."""
    state, plans = carry_out(folded([declared(), *made_site.whole_site(mbps=mbps)]), 0.0)
    assert len(plans) == 1
    return state
