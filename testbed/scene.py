"""What a viewer of the demo knows at a moment: a pure fold over what came by MQTT and over the answered requests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from broker.messages import LinkReading, NodeProfile, NodeStatus, Plan, PlanReady
from testbed.comparison import Sample

Pair = tuple[str, str]
Event = NodeStatus | NodeProfile | LinkReading | Plan | PlanReady | Sample


@dataclass(frozen=True, slots=True)
class Scene:
    """Profiles by node, links by (src, dst), the plan in force and its ready nodes by deployment, samples in order."""

    online: frozenset[str] = frozenset()
    profiles: Mapping[str, NodeProfile] = field(default_factory=dict)
    links: Mapping[Pair, LinkReading] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    ready: frozenset[tuple[str, int, str]] = frozenset()
    refusals: Mapping[str, str] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    def is_ready(self, deployment: str) -> bool:
        """Whether the deployment has a plan and every node of it has said that it holds its part."""
        plan = self.plans.get(deployment)
        return plan is not None and all((deployment, plan.epoch, stage.node) in self.ready for stage in plan.stages)

    def last_sample(self, deployment: str) -> Sample | None:
        """The newest request of a deployment."""
        return next((sample for sample in reversed(self.samples) if sample.strategy == deployment), None)

    def recent(self, deployment: str, since_s: float) -> Iterable[Sample]:
        """The requests of a deployment that were sent at `since_s` or later, newest first."""
        for sample in reversed(self.samples):
            if sample.sent_s < since_s:
                return
            if sample.strategy == deployment:
                yield sample


def apply(event: Event, scene: Scene) -> Scene:
    """The scene after `event`; what is older than what the scene knows already changes nothing."""
    match event:
        case NodeStatus(state="online"):
            scene = replace(scene, online=scene.online | {event.node})
        case NodeStatus():
            scene = replace(scene, online=scene.online - {event.node})
        case NodeProfile():
            scene = replace(scene, profiles={**scene.profiles, event.node: event})
        case LinkReading():
            scene = replace(scene, links={**scene.links, (event.src, event.dst): event})
        case Plan():
            known = scene.plans.get(event.deployment)
            if known is None or known.epoch < event.epoch:
                scene = replace(scene, plans={**scene.plans, event.deployment: event})
        case PlanReady(ready=True):
            scene = replace(scene, ready=scene.ready | {(event.deployment, event.epoch, event.node)})
        case PlanReady():
            scene = replace(scene, refusals={**scene.refusals, event.deployment: f"{event.node}: {event.reason}"})
        case Sample():
            scene = replace(scene, samples=(*scene.samples, event))
    return scene
