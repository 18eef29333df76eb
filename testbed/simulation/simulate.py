"""One run of the experiment in virtual time: one contender, alone, on three machines, as the emulated run does it.

Simulated: compute, links, MQTT's delay and the loading of segments. Real: estimators, probes, state, decisions, energy.
"""

import random
import time
from typing import Final

import msgspec

from broker.messages import PlanStage
from coordinator.configuration import PlanningSettings
from coordinator.cost import PartitionPlan, Stage, evaluate
from coordinator.problem import RAW
from edge_agent.load_readings import SAMPLE_INTERVAL_S, LoadReadings
from edge_agent.prober import TICK_S
from testbed.machines import LAPTOP, MACHINES, PI, link_shapes
from testbed.paper.contenders import Contender
from testbed.paper.hindsight import Clairvoyant, best_fixed_plan, mean_problem, power_of
from testbed.paper.model_profile import ModelProfile
from testbed.paper.packing import seen_by
from testbed.paper.records import RunKey, RunRecord
from testbed.paper.scenario import LEAST_REQUESTS, Scenario
from testbed.simulation.coordination import Coordination, Heard
from testbed.simulation.deciders import ClairvoyantDecider, CoordinatedDecider, Decider, FixedDecider
from testbed.simulation.errors import SimulationError
from testbed.simulation.network import WALL_CLOCK_S, Lateness, Network
from testbed.simulation.preparing import Preparing
from testbed.simulation.requests import ClosedLoop
from testbed.simulation.settings import AS_IT_IS, Ablation, SimulationSettings
from testbed.simulation.site import DEPLOYMENT, SESSION, births, deployment_of
from testbed.simulation.timeline import Timeline

LONGEST_LAUNCH_S: Final = 600.0
LAUNCH_POLL_S: Final = 0.1
ALWAYS_DUE_S: Final = 1e-6


def simulate(
    scenario: Scenario,
    contender: Contender,
    profile: ModelProfile,
    *,
    seed: int,
    published_split: tuple[PlanStage, ...] = (),
    ablation: Ablation = AS_IT_IS,
    settings: SimulationSettings | None = None,
) -> RunRecord:
    """The record of the contender's run; the same arguments give the same record, but for `took_s`.

    `published_split` is what a contender with that decider runs. SimulationError says what is missing.
    """
    began_s = time.perf_counter()
    run = _Run(
        scenario,
        contender,
        profile,
        seed=seed,
        published_split=published_split,
        ablation=ablation,
        settings=settings or SimulationSettings(),
    )
    run.timeline.run()
    return RunRecord(
        key=RunKey(
            mode="simulated",
            model=scenario.model,
            trace=scenario.wifi.label,
            repetition=scenario.repetition,
            contender=contender.name,
        ),
        duration_s=scenario.duration_s,
        requests=tuple(run.loop.records),
        plans=tuple(run.decider.plans),
        took_s=time.perf_counter() - began_s,
    )


class _Run:
    """The parts of one run, joined. Agents start at virtual time 0; trace and contention begin with the requests."""

    def __init__(
        self,
        scenario: Scenario,
        contender: Contender,
        profile: ModelProfile,
        *,
        seed: int,
        published_split: tuple[PlanStage, ...],
        ablation: Ablation,
        settings: SimulationSettings,
    ) -> None:
        generator = random.Random(f"{seed} {scenario.model} {scenario.wifi.label} {scenario.repetition}")
        self._scenario, self._contender, self._profile = scenario, contender, seen_by(contender, profile)
        self._settings, self._ablation = settings, ablation
        self._begins_s = settings.warm_up_s
        self._is_asking = False
        self._coordination: Coordination | None = None
        self._preparing: Preparing | None = None
        self.timeline = Timeline()
        self.decider = self._decider(published_split)
        self._network = Network(
            self.timeline,
            link_shapes(scenario.wifi),
            settings=settings,
            ablation=ablation,
            lateness=Lateness(generator, settings.lateness_ms if settings.is_noisy else 0.0),
            publish=self._publish,
            standstill=self._preparing,
        )
        self.loop = ClosedLoop(
            self.timeline,
            self._network,
            {machine.node: power_of(machine) for machine in MACHINES},
            deployment=DEPLOYMENT,
            origin=PI.node,
            way_now=lambda: self.decider.way_at(self._time_s),
            load_of=self._load_of,
            report=self._publish,
            generator=generator if settings.is_noisy else None,
            pause_s=settings.pause_s,
            duration_s=scenario.duration_s,
            least=LEAST_REQUESTS,
            done=self.timeline.end,
        )
        for machine in MACHINES:
            self._watch_load(machine.node)
        for message in births(profile):
            self._publish(message)
        self.timeline.at(self._begins_s, self._begin)

    @property
    def _time_s(self) -> float:
        """Seconds since the trace began."""
        return self.timeline.now_s - self._begins_s

    def _decider(self, published_split: tuple[PlanStage, ...]) -> Decider:
        scenario, contender, profile = self._scenario, self._contender, self._profile
        match contender.decider:
            case "published-split":
                if not published_split:
                    raise SimulationError(
                        f"{contender.name} runs a published split, but none was given for {profile.model}"
                    )
                return FixedDecider(
                    _scored(scenario, contender, profile, published_split), contender, profile, "published"
                )
            case "hindsight":
                found = best_fixed_plan(scenario, profile, contender.objective)
                return FixedDecider(found, contender, profile, "best fixed plan in hindsight")
            case "clairvoyant":
                return ClairvoyantDecider(Clairvoyant(scenario, profile, contender.objective), contender, profile)
            case "coordinator":
                return self._coordinated()

    def _coordinated(self) -> CoordinatedDecider:
        profile, at_once = self._profile, self._ablation.no_reaction_time
        preparing = Preparing(self.timeline, profile, at_once=at_once)
        self._coordination = Coordination(
            self.timeline,
            deployment_of(self._contender, profile),
            planning_of(self._settings.planning, self._ablation),
            publish=preparing.take,
            at_once=at_once,
        )
        decider = CoordinatedDecider(self._coordination, profile, lambda: self._time_s, weigh_first=at_once)
        self._preparing = preparing
        preparing.start(self._coordination.hear, decider.in_force)
        return decider

    def _begin(self) -> None:
        """Begin with the requests once there is a plan; until then the link stays as it is at the trace's start."""
        now_s = self.timeline.now_s
        if self.decider.way_at(0.0) is not None:
            self.loop.begin()
        elif now_s < LONGEST_LAUNCH_S:
            self._begins_s = now_s + LAUNCH_POLL_S
            self._network.begin_at(self._begins_s)
            self.timeline.at(self._begins_s, self._begin)
        else:
            raise SimulationError(
                f"{self._contender.name} has no plan of {self._profile.model} after {LONGEST_LAUNCH_S:g} s: "
                f"{self._coordination.obstacle if self._coordination else 'none was made'}"
            )

    def _publish(self, message: Heard) -> None:
        if self._coordination is not None:
            self._coordination.hear(message)

    def _load_of(self, node: str) -> float:
        """The true load of a node now."""
        return self._scenario.fog_contention.load_at(self._time_s) if node == LAPTOP.node else 0.0

    def _watch_load(self, node: str) -> None:
        """Publish the node's load as its agent does."""
        # The emulated load is exact, so that looking at it more often is all that a perfect estimate can add.
        readings = LoadReadings(
            lambda: self._load_of(node),
            node=node,
            session=SESSION,
            emulated=True,
            clock=lambda: WALL_CLOCK_S + self.timeline.now_s,
            clock_s=lambda: self.timeline.now_s,
        )

        interval_s = TICK_S if self._ablation.perfect_estimates else SAMPLE_INTERVAL_S

        def look() -> None:
            load = readings.due()
            if load is not None:
                self._publish(load)
            self.timeline.at(self.timeline.now_s + interval_s, look)

        look()


def planning_of(settings: PlanningSettings, ablation: Ablation) -> PlanningSettings:
    """The settings under which the ablated coordinator decides."""
    if ablation.no_reaction_time:
        settings = msgspec.structs.replace(settings, interval_s=ALWAYS_DUE_S)
    if ablation.no_hysteresis:
        settings = msgspec.structs.replace(settings, hysteresis=0.0, confidence=0.0, switch_cost=0.0, least_dwell_s=0.0)
    return settings


def _scored(
    scenario: Scenario, contender: Contender, profile: ModelProfile, split: tuple[PlanStage, ...]
) -> PartitionPlan:
    """A given split as a plan; PlanError if it is none for the profile."""
    problem = mean_problem(scenario, profile, contender.objective)
    stages = tuple(Stage(stage.node, stage.start, stage.stop, RAW) for stage in split)
    return PartitionPlan(stages, evaluate(problem, stages))
