"""What only who knows the whole run can say: the true problem at a moment, its best plan, and the best fixed plan.

Pure. A fixed plan's mean objective is a sum over its parts, so one exact plan on time-averaged costs finds the best.
"""

import itertools
import math
from dataclasses import dataclass

import msgspec

from broker.messages import PowerModel
from coordinator import exact
from coordinator.cost import PartitionPlan
from coordinator.permitted_codecs import permitted, plan_within_loss
from coordinator.problem import MIN_MBPS, RAW, Codec, Link, Model, Node, Objective, Problem
from models.codec_figures import NAMES
from testbed.contention import Contention
from testbed.machines import LAPTOP, MACHINES, PI, Machine, link_shapes
from testbed.paper.model_profile import ModelProfile
from testbed.paper.scenario import Scenario
from testbed.shaping import LinkShape
from testbed.traces import Trace


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a link or a node's load comes to: at a moment, or on average over a run."""

    links: tuple[Link, ...]
    fog_load: float


def power_of(machine: Machine) -> PowerModel:
    """The machine's modelled watts and joules; a radio of which nothing is said costs nothing."""
    power = machine.power
    return PowerModel(
        idle_w=power.idle_w or 0.0,
        busy_w=power.busy_w or 0.0,
        tx_j_per_mb=power.tx_j_per_mb or 0.0,
        rx_j_per_mb=power.rx_j_per_mb or 0.0,
    )


def problem_at(scenario: Scenario, profile: ModelProfile, objective: Objective, time_s: float) -> Problem:
    """The true problem `time_s` seconds after the trace began; links that carry nothing at that moment are not there.

    Round trips are twice the links' delays. The fog node alone has a load.
    """
    links = []
    for shape in link_shapes(scenario.wifi):
        mbps = shape.trace.mbps_at(time_s)
        if mbps >= MIN_MBPS:
            links.append(Link(src=shape.src, dst=shape.dst, rtt_ms=2 * shape.delay_ms, mbps=mbps))
    return _problem(profile, objective, _Figures(tuple(links), scenario.fog_contention.load_at(time_s)))


def mean_problem(scenario: Scenario, profile: ModelProfile, objective: Objective) -> Problem:
    """The problem whose figures for any plan are the means of that plan's figures over all moments of the run.

    Every moment counts alike, and a transfer ends at the rate it began at; on a link that carries nothing it waits
    until it does. A client that asks again once it is answered samples good moments more often than this.
    """
    duration_s = scenario.duration_s
    links = []
    for shape in link_shapes(scenario.wifi):
        link = _mean_link(shape, duration_s)
        if link is not None:
            links.append(link)
    return _problem(profile, objective, _Figures(tuple(links), _mean_load(scenario.fog_contention, duration_s)))


def best_fixed_plan(scenario: Scenario, profile: ModelProfile, objective: Objective) -> PartitionPlan:
    """The plan that, never changed, has the least mean objective over the run; its score is that mean. Exact."""
    return _best(mean_problem(scenario, profile, objective), profile)


def clairvoyant_plan(scenario: Scenario, profile: ModelProfile, objective: Objective, time_s: float) -> PartitionPlan:
    """The best plan for the true links and load at a moment, as if they stayed."""
    return _best(problem_at(scenario, profile, objective, time_s), profile)


def _best(problem: Problem, profile: ModelProfile) -> PartitionPlan:
    return plan_within_loss(problem, profile.codecs, profile.accuracy_loss, exact.plan)


class Clairvoyant:
    """The clairvoyant plan at each moment of one run; a moment like one before is not planned anew."""

    def __init__(self, scenario: Scenario, profile: ModelProfile, objective: Objective) -> None:
        self.profile = profile
        self._scenario, self._objective = scenario, objective
        self._known: dict[tuple[float, float], PartitionPlan] = {}

    def plan_at(self, time_s: float) -> PartitionPlan:
        """As `clairvoyant_plan`."""
        # All links but the constant wire follow the WiFi's trace.
        moment = (self._scenario.wifi.mbps_at(time_s), self._scenario.fog_contention.load_at(time_s))
        plan = self._known.get(moment)
        if plan is None:
            plan = clairvoyant_plan(self._scenario, self.profile, self._objective, time_s)
            self._known[moment] = plan
        return plan


def _problem(profile: ModelProfile, objective: Objective, figures: _Figures) -> Problem:
    times = {node.node: node for node in profile.nodes}
    return Problem(
        model=Model(
            name=profile.model,
            cut_bytes=profile.cut_bytes,
            weight_mb=profile.weight_mb,
            forbidden_cuts=profile.forbidden_cuts,
        ),
        origin=PI.node,
        nodes=tuple(
            Node(
                name=machine.node,
                tier=machine.tier,
                op_ms=times[machine.node].op_ms,
                op_ms_std=times[machine.node].op_ms_std,
                load=figures.fog_load if machine is LAPTOP else 0.0,
                codec_factor=times[machine.node].codec_factor,
                **msgspec.structs.asdict(power_of(machine)),
            )
            for machine in MACHINES
        ),
        links=figures.links,
        codecs=_codecs(profile),
        objective=objective,
    )


def _codecs(profile: ModelProfile) -> tuple[Codec, ...]:
    if profile.codecs is None:
        return (Codec(name=RAW),)
    return permitted(profile.codecs, len(profile.cut_bytes) - 1, profile.accuracy_loss, frozenset(NAMES))


def _mean_link(shape: LinkShape, duration_s: float) -> Link | None:
    """The link whose transfer times are the means over the run: of the time per byte, and of the wait for a dead one.

    None where it never carries anything.
    """
    rates = [(length_s, shape.trace.mbps_at(middle_s)) for middle_s, length_s in _steps(shape.trace, duration_s)]
    carrying = [mbps for _, mbps in rates if mbps >= MIN_MBPS]
    if not carrying:
        return None
    # Backwards, so that a dead step knows when and how the link comes back; after the run, as it began.
    upcoming, wait_s, waited_s, per_mbps = carrying[0], 0.0, 0.0, 0.0
    for length_s, mbps in reversed(rates):
        if mbps >= MIN_MBPS:
            upcoming, wait_s = mbps, 0.0
        else:
            waited_s += length_s * (wait_s + length_s / 2)
            wait_s += length_s
        per_mbps += length_s / upcoming
    return Link(
        src=shape.src,
        dst=shape.dst,
        rtt_ms=2 * (shape.delay_ms + 1_000 * waited_s / duration_s),
        mbps=duration_s / per_mbps,
    )


def _steps(trace: Trace, duration_s: float) -> list[tuple[float, float]]:
    """Middle and length in seconds of each step of a trace within the first `duration_s` seconds."""
    starts = [0.0]
    while (following := trace.next_step_s(starts[-1])) < duration_s:
        starts.append(following)
    return _spans((*starts, duration_s))


def _mean_load(contention: Contention, duration_s: float) -> float:
    """The load whose stretch 1/(1-load) is the mean of the stretches over the run."""
    rounds = 1 if math.isinf(contention.period_s) else math.ceil(duration_s / contention.period_s)
    starts = [
        (contention.period_s * each if each else 0.0) + start
        for each in range(rounds)
        for start in (0.0, *contention.seconds)
        if start < contention.period_s
    ]
    within_s = sorted({start for start in starts if 0.0 <= start < duration_s})
    stretched_s = sum(
        length_s / (1.0 - contention.load_at(middle_s)) for middle_s, length_s in _spans((*within_s, duration_s))
    )
    return 1.0 - duration_s / stretched_s


def _spans(moments_s: tuple[float, ...]) -> list[tuple[float, float]]:
    """Middle and length of each span between two moments: a step's middle is surely within it, its start is not."""
    return [((start + stop) / 2, stop - start) for start, stop in itertools.pairwise(moments_s)]
