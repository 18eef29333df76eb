"""The coordinator's service in virtual time: the real state and decisions, fed in batches as the live ones are."""

from collections.abc import Callable
from typing import Final

from broker.messages import InferenceReport, LinkReading, NodeLoad, NodeProfile, NodeStatus, Plan, PlanReady
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.deployment import Deployment
from coordinator.reception import BURST_S, TICK_S
from coordinator.site import EMPTY
from coordinator.state import Connected, DeploymentDeclared, Received, apply
from testbed.simulation.network import WALL_CLOCK_S
from testbed.simulation.timeline import Timeline

CONTROL_S: Final = 0.001  # a message over MQTT at QoS 1 through Mosquitto: 0.4 ms p50, 1.2 ms p99, measured on loopback

Heard = NodeStatus | NodeProfile | LinkReading | NodeLoad | InferenceReport | PlanReady


class Coordination:
    """Hears what nodes publish and publishes plans; `publish` gets each at the moment at which nodes have it.

    `at_once` lets nothing take time; then somebody must call `act`.
    """

    def __init__(
        self,
        timeline: Timeline,
        deployment: Deployment,
        planning: PlanningSettings,
        publish: Callable[[Plan], None],
        *,
        at_once: bool,
    ) -> None:
        self._timeline, self._planning, self._publish, self._at_once = timeline, planning, publish, at_once
        self._state = apply(DeploymentDeclared(deployment), EMPTY)
        self._state = apply(Connected(WALL_CLOCK_S), self._state)
        self._inbox: list[Received] = []
        self._wakes = 0
        if not at_once:
            self._sleep(TICK_S)

    @property
    def obstacle(self) -> str:
        """Why there is no plan, or no better one, in words."""
        (deployment,) = self._state.deployments.values()
        return (deployment.evaluation and deployment.evaluation.obstacle) or "none is known"

    def hear(self, message: Heard) -> None:
        """A node publishes now."""
        if self._at_once:
            self._state = apply(Received(message, WALL_CLOCK_S + self._timeline.now_s), self._state)
        else:
            self._timeline.at(self._timeline.now_s + CONTROL_S, self._arrive, message)

    def act(self) -> None:
        """Fold in what has come, decide, and publish."""
        now = WALL_CLOCK_S + self._timeline.now_s
        state = self._state
        for event in self._inbox:
            state = apply(event, state)
        self._inbox.clear()
        for instruction in decide(state, now, self._planning):
            if isinstance(instruction, PublishPlan):
                plan = instruction.plan
                state = apply(Received(plan, now), state)
                if self._at_once:
                    self._publish(plan)
                else:
                    self._timeline.at(self._timeline.now_s + CONTROL_S, self._publish, plan)
            else:
                state = apply(instruction, state)
        self._state = state

    def _arrive(self, message: Heard) -> None:
        # The first message of a burst wakes the service, which then waits for the rest of it.
        if not self._inbox:
            self._sleep(BURST_S)
        self._inbox.append(Received(message, WALL_CLOCK_S + self._timeline.now_s))

    def _sleep(self, seconds: float) -> None:
        self._wakes += 1
        self._timeline.at(self._timeline.now_s + seconds, self._wake, self._wakes)

    def _wake(self, number: int) -> None:
        if number == self._wakes:
            self.act()
            self._sleep(TICK_S)
