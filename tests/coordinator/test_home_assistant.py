"""What a Home Assistant is told: its entities, and what their templates make of messages that agents really send."""

import json
import re
from typing import Any

import jinja2.sandbox
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_site import announcement, declared, folded, inference_message, offline, received
from messages_to_count import plan, reading

from broker.discovery import identifier
from broker.messages import EnergyReading, Message, NodeStatus
from broker.topics import ENERGY, INFERENCE, PLAN, STATUS
from coordinator.home_assistant import Site, discovery, obsolete, unheard
from coordinator.site import State

SITE = Site("home", "homeassistant")
# Those of a sensor or a binary sensor: https://www.home-assistant.io/integrations/sensor.mqtt/
KNOWN_KEYS = {
    "availability",
    "device",
    "device_class",
    "entity_category",
    "expire_after",
    "icon",
    "json_attributes_template",
    "json_attributes_topic",
    "name",
    "origin",
    "state_class",
    "state_topic",
    "unique_id",
    "unit_of_measurement",
    "value_template",
}
TOPIC = r"homeassistant/(binary_)?sensor/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config"


def birth(node: str, *, emulated: str | None = None) -> NodeStatus:
    announced = msgspec.structs.replace(announcement(node), emulated=emulated)
    return NodeStatus(node=node, session="s1", state="online", announcement=announced)


def site_state(*more: Message, emulated: str | None = None) -> State:
    births = (birth("pi", emulated=emulated), birth("pc"))
    return folded([declared(), *received(*births, plan(3), *more)])


def entities(state: State, *readings: EnergyReading, site: Site = SITE) -> dict[str, dict[str, Any]]:
    """What is announced, by the name of the device and that of the entity."""
    told = (json.loads(payload) for payload in discovery(site, state, readings).values())
    return {f"{entity['device']['name']}: {entity['name']}": entity for entity in told}


def shown(template: str, message: bytes) -> str:
    """What Home Assistant makes of a message: Jinja in a sandbox, with the message's JSON."""
    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(value_json=json.loads(message))


def test_every_node_its_meters_and_every_deployment_are_entities() -> None:
    """Power and energy for each meter, with where it comes from in the name."""
    modelled = reading("pi", "model", source="modelled")
    assert set(entities(site_state(), reading("pi", "rapl"), modelled, reading("unknown", "rapl"))) == {
        "pi: Agent",
        "pi: Power, measured (rapl, board)",
        "pi: Energy, measured (rapl, board)",
        "pi: Power, modelled (model, board)",
        "pi: Energy, modelled (model, board)",
        "pc: Agent",
        "photos: Latency",
        "photos: Split",
    }


def test_what_is_announced_is_in_home_assistants_form() -> None:
    """Known keys, its topics' form, ids that are unique, and a device and an origin for each."""
    told = discovery(SITE, site_state(), [reading("pi", "rapl"), reading("pi", "INA219 at 0x40 (5 V) · ü")])
    assert len({json.loads(payload)["unique_id"] for payload in told.values()}) == len(told)
    for topic, payload in told.items():
        assert re.fullmatch(TOPIC, topic)
        entity = json.loads(payload)
        assert entity.keys() <= KNOWN_KEYS
        assert entity["device"]["identifiers"]
        assert entity["origin"]["name"] == "Splitrail"
        assert ("binary_sensor" in topic) == (entity.get("device_class") == "connectivity")
        assert len(payload) < 2_000


def test_units_fit_their_classes() -> None:
    """As Home Assistant declares them; what it sums up is an energy that only rises."""
    told = entities(site_state(), reading("pi", "rapl"))
    classes = {
        name: (entity.get("device_class"), entity.get("state_class"), entity.get("unit_of_measurement"))
        for name, entity in told.items()
    }
    assert classes["pi: Power, measured (rapl, board)"] == ("power", "measurement", "W")
    assert classes["pi: Energy, measured (rapl, board)"] == ("energy", "total_increasing", "Wh")
    assert classes["photos: Latency"] == (None, "measurement", "ms")
    assert classes["photos: Split"] == (None, None, None)
    assert classes["pi: Agent"] == ("connectivity", None, None)


def test_power_and_energy_are_read_from_a_meters_own_messages() -> None:
    """Those of another meter on the same topic leave them as they are: nothing, which a number ignores."""
    told = entities(site_state(), reading("pi", "rapl"))
    power, energy = told["pi: Power, measured (rapl, board)"], told["pi: Energy, measured (rapl, board)"]
    assert power["state_topic"] == energy["state_topic"] == ENERGY.address("home", "pi")
    message = ENERGY.encode(reading("pi", "rapl", power_w=2.345))
    assert shown(power["value_template"], message) == "2.35"
    assert shown(energy["value_template"], message) == "0.0284"  # 102.345 J
    assert shown(power["value_template"], ENERGY.encode(reading("pi", "model"))) == ""


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_meters_name_cannot_end_its_template(meter: str, other: str) -> None:
    """Whatever an agent calls it: its own messages are shown, those of others are not, and nothing of it runs."""
    told = [json.loads(payload) for payload in discovery(SITE, site_state(), [reading("pi", meter)]).values()]
    (power,) = (entity for entity in told if entity.get("device_class") == "power")
    assert shown(power["value_template"], ENERGY.encode(reading("pi", meter))) == "2.5"
    if other != meter:
        assert shown(power["value_template"], ENERGY.encode(reading("pi", other))) == ""


@pytest.mark.parametrize("meter", ['" %}{{ 7 * 6 }}{% if "', "%} {{ 42 }} {%", "\\", '\\"', "{{ value_json }}", "\n'"])
def test_a_hostile_meter_name_is_only_a_name(meter: str) -> None:
    """It is compared with, and never a template."""
    told = [json.loads(payload) for payload in discovery(SITE, site_state(), [reading("pi", meter)]).values()]
    (power,) = (entity for entity in told if entity.get("device_class") == "power")
    assert shown(power["value_template"], ENERGY.encode(reading("pi", "rapl"))) == ""
    assert shown(power["value_template"], ENERGY.encode(reading("pi", meter))) == "2.5"


@pytest.mark.parametrize(("interval_s", "expiry_s"), [(1.0, 60), (20.0, 60), (21.0, 120), (300.0, 900)])
def test_a_value_that_comes_no_more_expires(interval_s: float, expiry_s: int) -> None:
    """After a minute, or three intervals of a slow meter."""
    told = entities(site_state(), reading("pi", "plug", interval_s=interval_s))
    assert told["pi: Power, measured (plug, board)"]["expire_after"] == expiry_s


def test_a_node_and_its_meters_are_available_while_its_agent_is_there() -> None:
    """By its birth and its last will, as they are."""
    told = entities(site_state(), reading("pi", "rapl"))
    agent, power = told["pi: Agent"], told["pi: Power, measured (rapl, board)"]
    (available,) = power["availability"]
    alive, dead = STATUS.encode(birth("pi")), STATUS.encode(NodeStatus(node="pi", session="s1", state="offline"))
    assert agent["state_topic"] == available["topic"] == STATUS.address("home", "pi")
    assert [shown(agent["value_template"], each) for each in (alive, dead)] == ["ON", "OFF"]
    assert [shown(available["value_template"], each) for each in (alive, dead)] == ["online", "offline"]


def test_the_latency_is_that_of_inferences_that_gave_a_result() -> None:
    """A failure leaves it as it is."""
    latency = entities(site_state())["photos: Latency"]
    assert latency["state_topic"] == INFERENCE.address("home", "photos", "pi")
    assert shown(latency["value_template"], INFERENCE.encode(inference_message(latency_ms=81.26))) == "81.3"
    assert shown(latency["value_template"], INFERENCE.encode(inference_message(error="late"))) == ""


def test_the_split_is_told_in_words() -> None:
    """With what the plan says of itself, its figures marked as modelled; a relay is told as one."""
    split = entities(site_state())["photos: Split"]
    assert split["state_topic"] == split["json_attributes_topic"] == PLAN.address("home", "photos")
    made = plan(3)
    assert shown(split["value_template"], PLAN.encode(made)) == "pi 0..0 → pc 1..3"
    relayed = msgspec.structs.replace(made, stages=(msgspec.structs.replace(made.stages[0], stop=0), *made.stages[1:]))
    assert shown(split["value_template"], PLAN.encode(relayed)) == "pi relays → pc 1..3"
    assert json.loads(shown(split["json_attributes_template"], PLAN.encode(made))) == {
        "epoch": 3,
        "strategy": "exact",
        "reason": "for a test",
        "modelled_latency_ms": 80.0,
        "modelled_total_energy_j": 2.0,
    }


def test_a_long_split_is_cut_to_what_a_state_may_be() -> None:
    """Home Assistant takes 255 characters."""
    made = plan(3)
    long = msgspec.structs.replace(made, stages=made.stages * 100)
    assert len(shown(entities(site_state())["photos: Split"]["value_template"], PLAN.encode(long))) == 255


def test_what_is_emulated_says_so() -> None:
    """A node in its model, a meter in its name, a latency in its name and the deployment in its model."""
    told = entities(site_state(emulated="a Pi 4, by slowing a PC"), reading("pi", "model", emulated=True))
    assert told["pi: Agent"]["device"]["model"] == "edge node on made up, emulated: a Pi 4, by slowing a PC"
    assert "pi: Power, measured (model, board, emulated)" in told
    assert "photos: Latency, emulated" in told
    assert told["photos: Split"]["device"]["model"] == "deployment of net, emulated nodes"


def test_an_offline_node_stays_and_one_that_was_shut_out_does_not() -> None:
    """It may come back; the other is announced no more, and what was is obsolete."""
    state = site_state(offline("pi"))
    members = Site("home", "homeassistant", frozenset({"pc"}))
    assert "pi: Agent" in entities(state, site=SITE)
    there = discovery(SITE, state, [reading("pi", "rapl")])
    wanted = discovery(members, state, [reading("pi", "rapl")])
    assert not any("pi:" in name for name in entities(state, site=members))
    assert obsolete(there, members, state, settled=False) == there.keys() - wanted.keys()
    assert not obsolete(there, SITE, state, settled=True)


def test_a_forgotten_node_of_an_open_site_is_obsolete_once_everybody_was_heard() -> None:
    """Not before: a coordinator that has just started knows nobody yet."""
    there = discovery(SITE, site_state(), [])
    fresh = folded([declared()])
    assert not obsolete(there, SITE, fresh, settled=False)
    gone = obsolete(there, SITE, fresh, settled=True)
    assert {json.loads(there[topic])["device"]["name"] for topic in gone} == {"pi", "pc"}


def test_a_meter_that_was_not_heard_yet_is_not_taken_away() -> None:
    """After a restart the readings come later than the announcements that the broker kept."""
    state = site_state()
    assert not obsolete(discovery(SITE, state, [reading("pi", "rapl")]), SITE, state, settled=True)


def test_a_meter_that_falls_silent_beside_another_gets_no_more_messages() -> None:
    """Each message on its topic would put off its expiry, also those of the node's other meters."""
    state, rapl = site_state(), reading("pi", "rapl")
    model = reading("pi", "model", source="modelled")
    heard = discovery(SITE, state, [model])
    there = discovery(SITE, state, [rapl, model])
    rest = {topic: there[topic] for topic in there.keys() - heard.keys()}
    silent = unheard(rest, SITE, state)
    assert silent.keys() == rest.keys()
    for topic, payload in silent.items():
        told, before = json.loads(payload), json.loads(there[topic])
        assert told.pop("state_topic") != before.pop("state_topic")
        assert told == before
    assert unheard(silent, SITE, state) == silent
    assert unheard(rest, SITE, site_state(offline("pi"))) == rest
    assert unheard({"a": b"{", "b": b"\xff", "c": b"[" * 100_000}, SITE, state) == {}


def test_a_deployment_that_went_and_what_makes_no_sense_are_obsolete() -> None:
    """Nobody else announces under our own level."""
    state = site_state()
    there = discovery(SITE, state, [])
    assert {topic for topic in there if "photos" in topic} == obsolete(there, SITE, folded([]), settled=False)
    nonsense = {"a": b"", "b": b"{", "c": b"{}", "d": b'{"device":{}}', "e": b"\xff", "f": b"[" * 100_000}
    assert obsolete(nonsense, SITE, state, settled=False) == nonsense.keys()


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_ids_tell_apart_what_is_apart(one: str, other: str) -> None:
    """In the letters that Home Assistant takes; an ordinary name is its own id."""
    for made in (identifier(one), identifier(one, other), identifier("power", one, other)):
        assert made
        assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert (identifier(one) == identifier(other)) == (one == other)
    assert (identifier("power", one, "x") == identifier("power", other, "x")) == (one == other)
    assert identifier("power", "a_b", "c") != identifier("power", "a", "b_c")
    assert identifier("home-1") == "home-1"
