"""What a Home Assistant on the same broker is told of a site: entities that read our own topics, as pure values.

One message for each entity, as every version since 2023 takes it; publishing is `coordinator.home_assistant_hub`'s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.discovery import Component, configuration_topic, identifier
from broker.messages import EnergyReading
from broker.topics import ENERGY, INFERENCE, PLAN, STATUS
from coordinator.site import DeploymentState, NodeState, State
from splitrail import __version__

LEAST_EXPIRY_S: Final = 60
_SILENT: Final = "silent"
LONGEST_STATE: Final = 255  # https://www.home-assistant.io/docs/configuration/state_object/
MAX_NAME: Final = 100


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a discovery message; what is not said is left out."""


class Device(_Part, frozen=True, kw_only=True):
    """What entities are shown together under."""

    identifiers: tuple[str, ...]
    name: str
    manufacturer: str
    model: str
    sw_version: str = ""


class Origin(_Part, frozen=True, kw_only=True):
    """Who announces."""

    name: str
    sw_version: str


class Availability(_Part, frozen=True, kw_only=True):
    """Where it is said whether an entity's values come: `online` or `offline`."""

    topic: str
    value_template: str


class Entity(_Part, frozen=True, kw_only=True):
    """A sensor or a binary sensor; the keys are Home Assistant's (https://www.home-assistant.io/integrations/mqtt/)."""

    name: str
    unique_id: str
    device: Device
    origin: Origin
    state_topic: str
    value_template: str
    availability: tuple[Availability, ...] = ()
    unit_of_measurement: str = ""
    device_class: str = ""
    state_class: str = ""
    entity_category: str = ""
    icon: str = ""
    expire_after: int = 0
    json_attributes_topic: str = ""
    json_attributes_template: str = ""


class _Announced(msgspec.Struct, frozen=True):
    """What is read of a message that somebody published before."""

    device: Device


@dataclass(frozen=True, slots=True)
class Site:
    """The site as it is announced: its name, Home Assistant's prefix, and who is a member, where a list is kept."""

    name: str
    prefix: str
    members: frozenset[str] | None = None
    """None at an open site, where everybody is."""

    def admits(self, node: str) -> bool:
        """Whether a node was not shut out."""
        return self.members is None or node in self.members


def discovery(site: Site, state: State, readings: Iterable[EnergyReading]) -> dict[str, bytes]:
    """The retained messages, by topic, that announce every node, the meters that were heard, and every deployment."""
    announced: list[tuple[str, Entity]] = []
    nodes = {name: node for name, node in sorted(state.nodes.items()) if site.admits(name)}
    for node in nodes.values():
        announced.append(_of_node(site, node))
    for reading in readings:
        if reading.node in nodes:
            announced += _of_meter(site, nodes[reading.node], reading)
    for _, deployment in sorted(state.deployments.items()):
        announced += _of_deployment(site, state, deployment)
    return {topic: msgspec.json.encode(entity) for topic, entity in announced}


def obsolete(there: Mapping[str, bytes], site: Site, state: State, *, settled: bool) -> frozenset[str]:
    """The topics of what is announced and is no more: nodes that were shut out or are forgotten, deployments that went.

    At an open site a node that nobody remembers is forgotten once the site has `settled` after a start.
    """
    return frozenset(topic for topic, payload in there.items() if _is_obsolete(payload, site, state, settled=settled))


def unheard(there: Mapping[str, bytes], site: Site, state: State) -> dict[str, bytes]:
    """Messages for meters that were announced and are not heard: kept, without values while their agent is there.

    Any message on a topic puts off `expire_after`, whatever its template makes of it, and the meters of a node share
    theirs: a meter that falls silent beside another would show its last value for ever. So it is given a topic on which
    nothing comes. Those of an offline node stay as they are, unavailable by their node.
    """
    spoken = {ENERGY.address(site.name, name): node.online for name, node in state.nodes.items()}
    kept = {}
    for topic, payload in there.items():
        try:
            entity = msgspec.json.decode(payload, type=Entity)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if spoken.get(entity.state_topic, False):
            silent = msgspec.structs.replace(entity, state_topic=f"{entity.state_topic}/{_SILENT}")
            kept[topic] = msgspec.json.encode(silent)
        elif entity.expire_after:
            kept[topic] = payload
    return kept


def _is_obsolete(payload: bytes, site: Site, state: State, *, settled: bool) -> bool:
    try:
        owner = msgspec.json.decode(payload, type=_Announced).device.identifiers[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return True
    node = owner.removeprefix(_owner(site, "node", ""))
    if node != owner:
        return not site.admits(node) or (site.members is None and settled and node not in state.nodes)
    return owner.removeprefix(_owner(site, "deployment", "")) not in state.deployments


def _of_node(site: Site, node: NodeState) -> tuple[str, Entity]:
    return _entity(
        site,
        "binary_sensor",
        ("status", node.name),
        device=_node_device(site, node),
        name="Agent",
        state_topic=STATUS.address(site.name, node.name),
        value_template="{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
        device_class="connectivity",
        entity_category="diagnostic",
    )


def _of_meter(site: Site, node: NodeState, reading: EnergyReading) -> list[tuple[str, Entity]]:
    """Power and energy of one meter; all meters of a node speak on one topic, so the template picks its own."""
    emulated = ", emulated" if reading.emulated else ""
    told = f"{reading.source} ({reading.meter[:MAX_NAME]}, {reading.scope}{emulated})"
    device, topic = _node_device(site, node), ENERGY.address(site.name, node.name)
    is_it = f"{{% if value_json.meter == {_quoted(reading.meter)} %}}"
    expiry_s = max(LEAST_EXPIRY_S, LEAST_EXPIRY_S * -(-3 * round(reading.interval_s) // LEAST_EXPIRY_S))
    return [
        _entity(
            site,
            "sensor",
            ("power", node.name, reading.meter),
            device=device,
            name=f"Power, {told}",
            state_topic=topic,
            value_template=is_it + "{{ value_json.power_w | round(2) }}{% endif %}",
            availability=_while_online(site, node.name),
            unit_of_measurement="W",
            device_class="power",
            state_class="measurement",
            expire_after=expiry_s,
        ),
        _entity(
            site,
            "sensor",
            ("energy", node.name, reading.meter),
            device=device,
            name=f"Energy, {told}",
            state_topic=topic,
            # Cumulative from each start of the agent, which is what `total_increasing` reckons with.
            value_template=is_it + "{{ (value_json.energy_j / 3600) | round(4) }}{% endif %}",
            availability=_while_online(site, node.name),
            unit_of_measurement="Wh",
            device_class="energy",
            state_class="total_increasing",
            expire_after=expiry_s,
        ),
    ]


def _of_deployment(site: Site, state: State, deployment: DeploymentState) -> list[tuple[str, Entity]]:
    declared, plan = deployment.declared, deployment.plan
    named = {declared.origin} | ({stage.node for stage in plan.stages} | {*plan.way_back} if plan else set())
    is_emulated = any(node in state.nodes and state.nodes[node].announcement.emulated is not None for node in named)
    device = Device(
        identifiers=(_owner(site, "deployment", declared.name),),
        name=declared.name,
        manufacturer="Splitrail",
        model=f"deployment of {declared.model.reference.name}{', emulated nodes' if is_emulated else ''}",
    )
    return [
        _entity(
            site,
            "sensor",
            ("latency", declared.name),
            device=device,
            name="Latency, emulated" if is_emulated else "Latency",
            state_topic=INFERENCE.address(site.name, declared.name, declared.origin),
            value_template="{% if not value_json.error %}{{ value_json.latency_ms | round(1) }}{% endif %}",
            availability=_while_online(site, declared.origin),
            unit_of_measurement="ms",  # without the device class `duration`, which older versions do not know in ms
            state_class="measurement",
            icon="mdi:timer-outline",
        ),
        _entity(
            site,
            "sensor",
            ("split", declared.name),
            device=device,
            name="Split",
            state_topic=PLAN.address(site.name, declared.name),
            value_template=_SPLIT,
            json_attributes_topic=PLAN.address(site.name, declared.name),
            json_attributes_template=_SPLIT_ATTRIBUTES,
            icon="mdi:source-branch",
        ),
    ]


_SPLIT: Final = (
    "{% set split %}{% for stage in value_json.stages %}{{ ' → ' if not loop.first }}{{ stage.node }} "
    "{{ 'relays' if stage.start == stage.stop else stage.start ~ '..' ~ (stage.stop - 1) }}{% endfor %}{% endset %}"
    f"{{{{ (split | string)[:{LONGEST_STATE}] }}}}"
)
_SPLIT_ATTRIBUTES: Final = (
    "{{ {'epoch': value_json.epoch, 'strategy': value_json.strategy, 'reason': value_json.reason, "
    "'modelled_latency_ms': value_json.prediction.latency_ms | round(1), "
    "'modelled_total_energy_j': value_json.prediction.total_energy_j | round(3)} | tojson }}"
)


def _entity(
    site: Site, component: Component, parts: tuple[str, ...], *, device: Device, name: str, **keys: object
) -> tuple[str, Entity]:
    entity = identifier(*parts)
    made = Entity(
        name=name,
        unique_id=f"splitrail_{identifier(site.name)}_{entity}",
        device=device,
        origin=Origin(name="Splitrail", sw_version=__version__),
        **keys,  # type: ignore[arg-type]  # the keys of Entity, written out above
    )
    return configuration_topic(site.prefix, component, site.name, entity), made


def _node_device(site: Site, node: NodeState) -> Device:
    announced = node.announcement
    emulated = "" if announced.emulated is None else f", emulated: {announced.emulated}"
    return Device(
        identifiers=(_owner(site, "node", node.name),),
        name=node.name,
        manufacturer="Splitrail",
        model=f"{announced.tier} node on {announced.hardware.cpu_model}{emulated}"[:LONGEST_STATE],
        sw_version=announced.version,
    )


def _owner(site: Site, kind: str, name: str) -> str:
    return f"splitrail_{site.name}_{kind}_{name}"


def _while_online(site: Site, node: str) -> tuple[Availability, ...]:
    return (Availability(topic=STATUS.address(site.name, node), value_template="{{ value_json.state }}"),)


def _quoted(text: str) -> str:
    """As a string of Jinja's, whose escapes are Python's; no sign in it ends the string or the template."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return '"' + escaped.replace('"', "\\x22").replace("{", "\\x7b").replace("}", "\\x7d").replace("%", "\\x25") + '"'
