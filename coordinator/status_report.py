"""What `GET /v1/status` answers: the site at one moment, typed; made from the state and the telemetry store.

Needs nothing but msgspec, so that `splitrail status` can read it on any machine.
"""

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from broker.messages import (
    Hardware,
    Plan,
    PlanStage,
    PowerModel,
    Prediction,
    SpoolReport,
    StrategyName,
    TensorWay,
    Throttling,
    Tier,
)
from coordinator.leadership import Leadership
from coordinator.site import DeploymentState, NodeState, Pair, State, load_of
from coordinator.telemetry.store import InferenceSummary, PowerSummary, StoreReport
from splitrail import __version__

RECENT_S = 60.0


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the report; a newer coordinator may say more."""


class NodeReport(_Report, frozen=True, kw_only=True):
    """A node and the mean power of its meters over the last minute."""

    name: str
    tier: Tier
    online: bool
    since: float
    """When it came or went, s since 1970."""
    version: str
    hardware: Hardware
    power_model: PowerModel
    memory_mb: float
    endpoint: str
    emulated: str | None
    refused: str | None
    load: float
    """What others are believed to take of its processor, 0 to below 1; from its own word and its stages' times."""
    load_std: float
    load_age_s: float | None
    """How long ago it was last heard of; None if never."""
    load_emulated: bool
    """Whether a testbed sets the load."""
    power: tuple[PowerSummary, ...]
    spool: SpoolReport | None = None
    """How its telemetry's spool stands; None where it has not said."""
    clock_skew_s: float | None = None
    """How far its clock is ahead of the coordinator's, behind where negative; None where it has not said."""
    temperature_c: float | None = None
    """Of its processor; None where nothing shows it. Of an emulated node it is the host's."""
    throttled: tuple[Throttling, ...] | None = None
    """What holds its processor back now; None where nothing shows it."""


class LinkReport(_Report, frozen=True, kw_only=True):
    """What is believed of a link, with the spread of a single transfer that planning reckons with."""

    src: str
    dst: str
    rtt_ms: float
    rtt_ms_std: float
    mbps: float
    mbps_std: float
    method: Literal["probe", "transfer"]
    """Of the newest reading."""
    way: TensorWay
    """Of the newest reading: how tensors go there now."""
    age_s: float
    """Of the newest reading."""


class PlanReport(_Report, frozen=True, kw_only=True):
    """The plan in force: what was predicted when it was made, and who said that it is ready."""

    epoch: int
    stages: tuple[PlanStage, ...]
    way_back: tuple[str, ...]
    reason: str
    prediction: Prediction
    created_at: float
    ready: tuple[str, ...]
    term: int = 0
    """The leadership under which it was published last."""


class DeploymentReport(_Report, frozen=True, kw_only=True):
    """A deployment, its plan and its last minute; every predicted figure is modelled."""

    name: str
    model: str
    ops: int
    origin: str
    strategy: StrategyName
    plan: PlanReport | None
    prediction: Prediction | None
    """The plan in force under the newest evaluation's estimates."""
    obstacle: str | None
    """Why there is no plan, or none that keeps the bounds."""
    left_out: dict[str, str]
    """Online nodes that the last evaluation left out, each with the reason."""
    suspect_links: dict[str, str] = {}
    """Links, as `src → dst`, that the last evaluation left out because they did not deliver, and why."""
    last_minute: InferenceSummary
    last_failure: str | None
    """Why the last inference failed, if one failed in the last minute."""


class LeadershipReport(_Report, frozen=True, kw_only=True):
    """Whether the coordinator that reports leads its site, and who does."""

    coordinator: str
    state: Literal["leads", "stands by", "waits"]
    """`waits` while nobody is known to lead: the broker is away, or the lease of the last leader runs out."""
    term: int
    """The highest that was heard of."""
    leader: str | None
    """Who led under that term last."""
    leader_url: str | None
    heard_s: float | None
    """How long ago the leader was heard; None if never."""


class StatusReport(_Report, frozen=True, kw_only=True):
    """The site at one moment."""

    site: str
    version: str
    at: float
    nodes: tuple[NodeReport, ...]
    links: tuple[LinkReport, ...]
    deployments: tuple[DeploymentReport, ...]
    lost_telemetry: int
    leadership: LeadershipReport | None = None
    """None of a coordinator that does not say."""
    store: StoreReport | None = None
    """How the telemetry's store fares; None of a coordinator that does not say."""


def status_report(
    site: str,
    state: State,
    *,
    now: float,
    power: tuple[PowerSummary, ...],
    inferences: dict[str, InferenceSummary],
    lost_telemetry: int,
    leadership: LeadershipReport | None = None,
    store: StoreReport | None = None,
) -> StatusReport:
    """The report on `state`; `power` and `inferences` (by deployment) are the store's, of the last minute."""
    return StatusReport(
        site=site,
        version=__version__,
        at=now,
        nodes=tuple(_node_report(node, state, power, now) for _, node in sorted(state.nodes.items())),
        links=tuple(
            LinkReport(
                src=link.reading.src,
                dst=link.reading.dst,
                rtt_ms=link.belief.rtt_ms,
                rtt_ms_std=link.belief.rtt_ms_std(now),
                mbps=link.belief.mbps,
                mbps_std=link.belief.mbps_std(now),
                method=link.reading.method,
                way=link.reading.way,
                age_s=max(0.0, now - link.arrived_at),
            )
            for _, link in sorted(state.links.items())
        ),
        deployments=tuple(
            _deployment_report(state.deployments[name], inferences[name], now) for name in sorted(state.deployments)
        ),
        lost_telemetry=lost_telemetry,
        leadership=leadership,
        store=store,
    )


def leadership_report(known: Leadership, now: float, *, leads: bool) -> LeadershipReport:
    """What is known of the leadership; `now` in s of the monotonic clock, `leads` whether we may publish."""
    leader = known.leader if known.leader is not None and known.leader.state == "leading" else None
    return LeadershipReport(
        coordinator=known.own.coordinator,
        state="leads" if leads else "stands by" if known.stands_by_at(now) else "waits",
        term=known.term,
        leader=leader.coordinator if leader is not None else None,
        leader_url=leader.url if leader is not None else None,
        heard_s=max(0.0, now - known.heard_at) if leader is not None else None,
    )


def _node_report(node: NodeState, state: State, power: tuple[PowerSummary, ...], now: float) -> NodeReport:
    announced, load, known = node.announcement, load_of(node, state), state.loads.get(node.name)
    is_heard = math.isfinite(load.stretch.at)
    machine = node.machine if node.online else None
    return NodeReport(
        name=node.name,
        tier=announced.tier,
        online=node.online,
        since=node.since,
        version=announced.version,
        hardware=announced.hardware,
        power_model=announced.power,
        memory_mb=announced.memory_mb,
        endpoint=announced.endpoint,
        emulated=announced.emulated,
        refused=node.refused,
        load=load.load(now),
        load_std=load.load_std(now),
        load_age_s=max(0.0, now - load.stretch.at) if is_heard else None,
        load_emulated=is_heard and known is not None and known.emulated,
        power=tuple(summary for summary in power if summary.node == node.name) if node.online else (),
        spool=state.spools.get(node.name),
        clock_skew_s=node.clock.skew_s if node.clock is not None else None,
        temperature_c=machine.temperature_c if machine is not None else None,
        throttled=machine.throttled if machine is not None else None,
    )


def _deployment_report(deployment: DeploymentState, last_minute: InferenceSummary, now: float) -> DeploymentReport:
    declared, plan, evaluation, failure = (
        deployment.declared,
        deployment.plan,
        deployment.evaluation,
        deployment.last_failure,
    )
    return DeploymentReport(
        name=declared.name,
        model=declared.model.reference.name,
        ops=declared.model.reference.ops,
        origin=declared.origin,
        strategy=declared.strategy,
        plan=_plan_report(plan, deployment.ready) if plan else None,
        prediction=evaluation.prediction if evaluation else None,
        obstacle=evaluation.obstacle if evaluation else None,
        left_out=dict(evaluation.left_out) if evaluation else {},
        suspect_links=_named(evaluation.circumstances.suspect_links) if evaluation else {},
        last_minute=last_minute,
        last_failure=failure.reason if failure and now - failure.at < RECENT_S else None,
    )


def _plan_report(plan: Plan, ready: frozenset[str]) -> PlanReport:
    return PlanReport(
        epoch=plan.epoch,
        stages=plan.stages,
        way_back=plan.way_back,
        reason=plan.reason,
        prediction=plan.prediction,
        created_at=plan.created_at,
        ready=tuple(sorted(ready)),
        term=plan.term,
    )


def _named(links: Mapping[Pair, str]) -> dict[str, str]:
    return {f"{src} → {dst}": reason for (src, dst), reason in sorted(links.items())}
