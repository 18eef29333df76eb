"""What smart plugs say, in their true forms and in hostile ones."""

import contextlib
import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edge_agent.energy.plug_payloads import MAX_PAYLOAD_BYTES, MOST_J, MOST_W, PlugKind, read_payload
from edge_agent.errors import MeterUnavailableError

# As the devices send them; the layouts are those of the makers' documentation.
TASMOTA = (
    b'{"Time":"2024-05-19T20:52:56","ENERGY":{"TotalStartTime":"2023-03-20T15:20:48","Total":14.153,"Yesterday":0.095,'
    b'"Today":0.037,"Period":0,"Power":6,"ApparentPower":12,"ReactivePower":10,"Factor":0.51,"Voltage":234,'
    b'"Current":0.052}}'
)
SHELLY = (
    b'{"id":0,"source":"init","output":true,"apower":8.9,"voltage":237.5,"freq":50.0,"current":0.067,'
    b'"aenergy":{"total":6.532,"by_minute":[45.199,47.141,88.397],"minute_ts":1626935779},'
    b'"temperature":{"tC":23.5,"tF":74.4}}'
)
ZIGBEE = (
    b'{"current":0.05,"energy":1.23,"linkquality":134,"power":5,"power_outage_memory":"restore","state":"ON",'
    b'"update":{"state":"idle"},"voltage":231}'
)


@pytest.mark.parametrize(
    ("kind", "payload", "power", "energy"),
    [
        ("tasmota", TASMOTA, (6.0, 1.0), (14_153 * 3_600.0, 3_600.0)),
        ("shelly", SHELLY, (8.9, 0.1), (6.532 * 3_600.0, 3.6)),
        ("zigbee2mqtt", ZIGBEE, (5.0, 1.0), (1_230 * 3_600.0, 36_000.0)),
        ("tasmota", b'{"ENERGY":{"Power":5.25,"Total":14.68792}}', (5.25, 0.01), (14_687.92 * 3_600, 36.0)),
        ("tasmota", b'{"ENERGY":{"Total":"0.006","Power":"5"}}', (5.0, 1.0), (6 * 3_600.0, 3_600.0)),
        ("zigbee2mqtt", b'{"power":"5.2 W","energy":"1230 Wh"}', (5.2, 0.1), (1_230 * 3_600.0, 3_600.0)),
        ("zigbee2mqtt", b'{"power":"5200 mW","energy":"1.5 kWh"}', (5.2, 0.001), (1_500 * 3_600.0, 360_000.0)),
        ("shelly", b'{"apower":"0.0052 kW"}', (5.2, 0.1), None),
    ],
)
def test_watts_and_joules_with_the_step_of_their_last_digit(
    kind: PlugKind, payload: bytes, power: tuple[float, float] | None, energy: tuple[float, float] | None
) -> None:
    """Each maker has its own names and units; a text may bring its unit."""
    reading = read_payload(kind, payload)
    told = [(figure.value, figure.step) if figure else None for figure in (reading.power, reading.energy)]
    for figure, expected in zip(told, (power, energy), strict=True):
        assert figure == (pytest.approx(expected) if expected else None)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("zigbee2mqtt", b'{"power":5,"energy":null}'),
        ("zigbee2mqtt", b'{"power":5}'),
        ("zigbee2mqtt", b'{"power":5,"energy":"unknown"}'),
        ("zigbee2mqtt", b'{"power":5,"energy":-1}'),
        ("shelly", b'{"apower":5,"aenergy":null}'),
        ("shelly", b'{"apower":5,"aenergy":{"total":"1 kW"}}'),
        ("tasmota", b'{"ENERGY":{"Power":5,"Total":true}}'),
        ("tasmota", b'{"ENERGY":{"Power":5,"Total":1e400}}'),
    ],
)
def test_one_figure_is_enough(kind: PlugKind, payload: bytes) -> None:
    """What is absent, null, or no number leaves the other."""
    reading = read_payload(kind, payload)
    assert reading.power is not None
    assert reading.energy is None


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("tasmota", b"", "no JSON"),
        ("tasmota", b"\xff\xfe", "no JSON"),
        ("tasmota", b"[" * 60_000, "no JSON"),
        ("tasmota", b"9" * 10_000, "no JSON"),
        ("tasmota", b'{"ENERGY":{"Power":NaN}}', "no JSON"),
        ("tasmota", b"[1]", "no JSON object"),
        ("tasmota", b" " * (MAX_PAYLOAD_BYTES + 1), "64001 bytes"),
        ("tasmota", b'{"Time":"2024-05-19T20:52:56","Switch1":"ON"}', "neither ENERGY.Power nor ENERGY.Total"),
        ("tasmota", b'{"ENERGY":{"Power":[52,5],"Total":[2.813,0.254]}}', "neither ENERGY.Power nor ENERGY.Total"),
        ("tasmota", SHELLY, "neither ENERGY.Power nor ENERGY.Total"),
        ("shelly", TASMOTA, "neither apower nor aenergy.total"),
        ("shelly", b'{"apower":-2.0}', "neither apower nor aenergy.total"),
        ("zigbee2mqtt", b'{"power":1e9,"energy":{"a":1}}', "neither power nor energy"),
        ("zigbee2mqtt", b'{"power":"5 kWh","energy":"7 k"}', "neither power nor energy"),
    ],
)
def test_a_message_without_a_reading_says_what_it_lacks(kind: PlugKind, payload: bytes, said: str) -> None:
    """Perhaps the topic, or the kind, is another; several channels are nobody's own."""
    with pytest.raises(MeterUnavailableError, match=f"{said}.*energy.plug"):
        read_payload(kind, payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = st.sampled_from(["tasmota", "shelly", "zigbee2mqtt"])


@given(KINDS, JSON, JSON, JSON)
def test_whatever_is_said_is_bounded_or_refused(kind: PlugKind, one: Any, other: Any, beside: Any) -> None:
    """Never another error, never a figure that no socket gives."""
    said = {
        "ENERGY": {"Power": one, "Total": other},
        "apower": one,
        "aenergy": {"total": other},
        "power": one,
        "energy": other,
        "beside": beside,
    }
    with contextlib.suppress(MeterUnavailableError):
        reading = read_payload(kind, json.dumps(said).encode())
        for figure, most in ((reading.power, MOST_W), (reading.energy, MOST_J)):
            assert figure is None or (0.0 <= figure.value <= most and figure.step >= 0.0)


@given(KINDS, st.binary(max_size=200))
def test_noise_is_refused(kind: PlugKind, payload: bytes) -> None:
    """Anybody on the broker may write there."""
    with contextlib.suppress(MeterUnavailableError):
        read_payload(kind, payload)
