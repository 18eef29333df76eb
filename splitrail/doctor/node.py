"""All checks of a node by its agent.yaml: files, the broker and its access rules, tensors and the coordinator."""

from collections.abc import Iterator

from edge_agent.configuration import PlugSettings
from edge_agent.energy.plug_payloads import read_payload
from edge_agent.errors import MeterUnavailableError
from models.model_server import ServerAccess
from splitrail.doctor.broker_access import broker_findings
from splitrail.doctor.broker_probe import BrokerLook, look_at_broker, trial_for
from splitrail.doctor.coordinator_http import coordinator_findings
from splitrail.doctor.files import Place, room_findings, secret_findings, secrets_in
from splitrail.doctor.finding import Finding, checked, looked
from splitrail.doctor.subject import AgentSubject
from splitrail.doctor.tensors import listening_ports, tensor_findings


def plug_finding(plug: PlugSettings, payload: bytes | None) -> Finding:
    """What a smart plug has said on its topic, in the moment that we listened."""
    if payload is None:
        says = f"nothing came on {plug.topic} while we listened; a Tasmota speaks every 300 s by default"
        fix = "listen there with mosquitto_sub; at a secured site, `splitrail site add-node --plug-topic` admits us"
        return Finding("plug", "note", says, fix)
    try:
        reading = read_payload(plug.kind, payload)
    except MeterUnavailableError as error:
        return Finding("plug", "problem", error.reason, error.fix)
    power = f", {reading.power.value:g} W" if reading.power is not None else ""
    return Finding("plug", "ok", f"speaks on {plug.topic}{power}")


def node_findings(subject: AgentSubject) -> Iterator[Finding]:
    """The findings, as they come."""
    settings = subject.settings
    cache = Place("cache", settings.cache, settings.cache_mb)
    spool = Place("spool", settings.spool.file or settings.cache / "spool", settings.spool.max_mb)
    yield from checked("secrets", lambda: secret_findings(tuple(secrets_in(settings))))
    yield from checked("disk: cache", lambda: room_findings(cache))
    yield from checked("disk: spool", lambda: room_findings(spool))
    plug = (settings.energy.plug.topic,) if settings.energy.plug is not None else ()
    trial = trial_for(settings.site, "node", settings.node, *plug)
    look = looked("broker", lambda: look_at_broker(settings.broker, trial))
    if not isinstance(look, BrokerLook):
        yield from look
        return
    yield from checked("broker", lambda: broker_findings(look, settings.broker))
    if settings.energy.plug is not None and not look.failure:
        yield plug_finding(settings.energy.plug, dict(look.words).get(settings.energy.plug.topic))
    status = look.status(settings.site, settings.node)
    was_asked = not look.failure
    yield from checked("tensors", lambda: tensor_findings(settings, status, listening_ports(), was_asked=was_asked))
    if look.failure:
        return
    leader = look.leader(settings.site)
    if leader is None or leader.state != "leading":
        yield Finding("coordinator", "note", f"none leads the site {settings.site}", "start one: splitrail coordinator")
        return
    access = ServerAccess(settings.models.token_file, settings.models.ca_file)
    where = "http.advertise in coordinator.yaml"
    yield from checked(
        "coordinator", lambda: coordinator_findings(leader.url, access, option=where, node=settings.node)
    )
