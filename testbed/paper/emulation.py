"""One emulated run: one contender, alone, on a continuum of its own, over one trace from its start.

What the figures come to is `testbed.paper.statistics`' part.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.messages import InferReply, PlanStage
from broker.session import Session
from coordinator.configuration import DeploymentSettings, ObjectiveSettings, PlanningSettings, StageSettings
from testbed.contention import Contention
from testbed.continuum import Continuum, EmulatedNode
from testbed.machines import LAPTOP, PI, link_shapes
from testbed.paper.clairvoyance import ClairvoyantPlans, plan_stages
from testbed.paper.contenders import Contender
from testbed.paper.hindsight import Clairvoyant, best_fixed_plan, clairvoyant_plan
from testbed.paper.model_profile import ModelProfile
from testbed.paper.packing import seen_by
from testbed.paper.plan_watch import PlanWatch
from testbed.paper.records import NodeCompute, RequestRecord, RunKey, RunRecord
from testbed.paper.scenario import LEAST_REQUESTS, PROBING, Scenario
from testbed.scratch import scratch_directory
from testbed.traces import constant
from testbed.workload import BREATH_S, REPLY_TIMEOUT_S, ask

DEPLOYMENT = "experiment"
CONTENTION_TICK_S = 0.05
JOINED_S = 2.0
"""How long after all nodes may be planned with a run waits for plans that name them."""

Ahead = Callable[[float], None]
"""Called before each request with the seconds since the trace began."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all emulated runs of a model share; `caches` keeps the agents' models and profiles from run to run."""

    model: Path
    nodes: tuple[EmulatedNode, ...]
    profile: ModelProfile
    published_split: tuple[PlanStage, ...]
    images: tuple[bytes, ...]
    caches: Path


def emulate(scenario: Scenario, contender: Contender, bench: Bench, planning: PlanningSettings) -> RunRecord:
    """Run it and leave nothing running; TestbedError if the continuum fails."""
    began_s = time.monotonic()
    before = link_shapes(constant(next(filter(None, scenario.wifi.mbps)) * scenario.wifi.scale))
    with (
        scratch_directory("splitrail-experiment-") as directory,
        Continuum(
            bench.nodes,
            before,
            (_declared(scenario, contender, bench),),
            directory,
            planning=planning,
            probing=PROBING,
            failover=False,  # a split that was fixed is to be seen as it is
            agent_caches=bench.caches,
        ) as continuum,
    ):
        session = continuum.session("experiment")
        watch = PlanWatch(session, DEPLOYMENT, continuum.status)
        with session:
            watch.wait_until_settled(len(bench.nodes), len(before), planning.join_s + JOINED_S, continuum.check)
            ahead: Ahead = _nothing
            if contender.decider == "clairvoyant":
                clairvoyant = Clairvoyant(scenario, seen_by(contender, bench.profile), contender.objective)
                ahead = ClairvoyantPlans(clairvoyant, session, watch, DEPLOYMENT, continuum.check).ahead_of
            for shape in link_shapes(scenario.wifi):
                continuum.links.set_link(shape.src, shape.dst, trace=shape.trace)
            start_s = time.monotonic()
            with _contention(scenario.fog_contention, start_s, lambda load: continuum.set_load(LAPTOP.node, load)):
                requests = tuple(_closed_loop(session, bench.images, scenario.duration_s, start_s, ahead))
            continuum.check()
    return RunRecord(
        key=RunKey(
            mode="emulated",
            model=scenario.model,
            trace=scenario.wifi.label,
            repetition=scenario.repetition,
            contender=contender.name,
        ),
        duration_s=scenario.duration_s,
        requests=requests,
        plans=watch.records(start_s),
        took_s=time.monotonic() - began_s,
    )


def _declared(scenario: Scenario, contender: Contender, bench: Bench) -> DeploymentSettings:
    """The one deployment of the run, as a user would declare it."""
    profile = seen_by(contender, bench.profile)
    match contender.decider:
        case "published-split":
            stages = bench.published_split
        case "hindsight":
            stages = plan_stages(best_fixed_plan(scenario, profile, contender.objective), profile)
        case "clairvoyant":
            stages = plan_stages(clairvoyant_plan(scenario, profile, contender.objective, 0.0), profile)
        case "coordinator":
            stages = ()
    weights = contender.objective
    return DeploymentSettings(
        name=DEPLOYMENT,
        model=bench.model.absolute(),
        origin=PI.node,
        strategy=contender.strategy,
        objective=ObjectiveSettings(
            latency=weights.latency, origin_energy=weights.origin_energy, total_energy=weights.total_energy
        ),
        stages=tuple(
            StageSettings(node=stage.node, start=stage.start, stop=stage.stop, codec=stage.codec) for stage in stages
        ),
        codecs=contender.packs,
        accuracy_loss=profile.accuracy_loss if contender.packs else 0.0,
    )


def _nothing(_time_s: float) -> None:
    """Most contenders do nothing ahead of a request."""


@contextmanager
def _contention(schedule: Contention, start_s: float, set_load: Callable[[float], None]) -> Iterator[None]:
    """Let others use a node's processor as the schedule says, for as long as this lasts."""
    over = threading.Event()

    def follow() -> None:
        load = 0.0
        while not over.is_set():
            due = schedule.load_at(time.monotonic() - start_s)
            if due != load:
                set_load(due)
                load = due
            over.wait(CONTENTION_TICK_S)

    thread = threading.Thread(target=follow, name="contention", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _closed_loop(
    session: Session, images: tuple[bytes, ...], duration_s: float, start_s: float, ahead: Ahead
) -> Iterator[RequestRecord]:
    """Requests one after the other, until the time is over and there were a few at least."""
    for count, image in enumerate(itertools.cycle(images)):
        if time.monotonic() - start_s >= duration_s and count >= LEAST_REQUESTS:
            return
        ahead(time.monotonic() - start_s)
        sent_s = time.monotonic() - start_s
        yield _record(sent_s, ask(session, DEPLOYMENT, image))
        time.sleep(BREATH_S)


def _record(sent_s: float, reply: InferReply | None) -> RequestRecord:
    if reply is None:
        return RequestRecord(sent_s=sent_s, latency_ms=None, error=f"no answer within {REPLY_TIMEOUT_S:g} s")
    report = reply.report
    if reply.error is not None or report is None:
        epoch = report.epoch if report is not None else 0
        error = reply.error or "the answer came without its report"
        return RequestRecord(sent_s=sent_s, latency_ms=None, epoch=epoch, error=error)
    compute_ms: dict[str, float] = {}
    for stage in report.stages:
        compute_ms[stage.node] = compute_ms.get(stage.node, 0.0) + stage.compute_ms
    return RequestRecord(
        sent_s=sent_s,
        latency_ms=report.latency_ms,
        origin_energy_j=report.origin_energy_j,
        total_energy_j=report.total_energy_j,
        compute=tuple(NodeCompute(node, ms) for node, ms in compute_ms.items()),
        epoch=report.epoch,
    )
