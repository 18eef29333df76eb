"""A smart plug as a meter: by hand, and over a real broker."""

import contextlib
import json
from collections.abc import Callable

import hypothesis.strategies as st
import paho.mqtt.client as mqtt
import pytest
from eventually import eventually
from hypothesis import given
from paho.mqtt import publish

from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.sign_in import BrokerSettings
from edge_agent.configuration import PlugSettings
from edge_agent.energy.plug import STALE_PERIODS, PlugMeter
from edge_agent.energy.plug_payloads import PlugKind
from edge_agent.errors import MeterUnavailableError


class Plug:
    """A plug and the meter that hears it, with a clock that a test turns."""

    def __init__(self, kind: PlugKind = "tasmota") -> None:
        self.now_s = 1_000.0
        self.meter = PlugMeter(PlugSettings(kind=kind, topic="tele/p/SENSOR"), clock_s=lambda: self.now_s)

    def say(self, after_s: float, **figures: object) -> None:
        """A message `after_s` after the last, of a Tasmota or a Zigbee plug."""
        self.now_s += after_s
        said = {"ENERGY": figures, **{name.lower(): figure for name, figure in figures.items()}}
        self.meter.hear("tele/p/SENSOR", json.dumps(said).encode())

    def energy_j(self, after_s: float = 0.0) -> float:
        """The meter's counter so much later."""
        self.now_s += after_s
        return self.meter.read_energy_j()


def test_watts_are_held_until_the_next_message() -> None:
    """Its counter of whole watt-hours tells less: 6 W for 10 s, then 4 W for 10 s, then 4 W go on."""
    plug = Plug()
    plug.say(0.0, Power=9, Total=14.153)
    plug.say(10.0, Power=6, Total=14.153)
    assert plug.energy_j() == 0.0
    plug.say(10.0, Power=4, Total=14.153)
    assert plug.energy_j() == pytest.approx(60.0)
    plug.say(10.0, Power=4, Total=14.154)
    assert plug.energy_j() == pytest.approx(100.0)
    assert plug.energy_j(5.0) == pytest.approx(120.0)
    assert plug.meter.resolution_j == pytest.approx(10.0)


def test_a_fine_counter_is_preferred_and_corrects_what_was_held() -> None:
    """Five decimals of a kilowatt-hour are 36 J; the counter never falls, and is right in the end."""
    plug = Plug()
    plug.say(0.0, Power=5, Total=1.00000)
    plug.say(10.0, Power=5, Total=1.00002)
    assert plug.energy_j(10.0) == pytest.approx(50.0)
    plug.say(0.0, Power=3, Total=1.00003)
    assert plug.energy_j() == pytest.approx(50.0)
    plug.say(10.0, Power=3, Total=1.00004)
    assert plug.energy_j() == pytest.approx(72.0)
    assert plug.meter.resolution_j == pytest.approx(36.0)


def test_the_first_message_may_be_an_old_one() -> None:
    """One that the broker kept says nothing of now; from the second on there is a meter."""
    plug = Plug()
    with pytest.raises(MeterUnavailableError, match=r"nothing has come on tele/p/SENSOR in 0 s.*this broker"):
        plug.energy_j()
    plug.say(5.0, Power=900, Total=1.0)
    with pytest.raises(MeterUnavailableError, match="perhaps an old one"):
        plug.energy_j()
    plug.say(5.0, Power=5, Total=2.0)
    assert plug.energy_j() == 0.0
    assert plug.meter.uncounted_s == 10.0


def test_a_plug_that_falls_silent_is_no_meter() -> None:
    """After three of its own periods; what it took meanwhile is not made up."""
    plug = Plug()
    for _ in range(5):
        plug.say(10.0, Power=5)
    before_j = plug.energy_j(STALE_PERIODS * 10.0)
    with pytest.raises(MeterUnavailableError, match="nothing has come on tele/p/SENSOR for 31 s"):
        plug.energy_j(1.0)
    counted_s = plug.meter.uncounted_s
    plug.say(69.0, Power=5)
    assert plug.energy_j() == pytest.approx(before_j)
    assert plug.meter.uncounted_s == pytest.approx(counted_s + 70.0)


def test_a_silence_that_a_counter_tells_of_is_counted() -> None:
    """The plug went on counting while the network was away."""
    plug = Plug()
    for _ in range(5):
        plug.say(10.0, Power=36, Total=1.00001)
    uncounted_s = plug.meter.uncounted_s
    plug.say(1_000.0, Power=36, Total=1.01001)
    assert plug.energy_j() == pytest.approx(36_000.0)
    assert plug.meter.uncounted_s == uncounted_s


def test_a_counter_that_is_set_back_is_bridged_by_the_watts() -> None:
    """Its owner may set it to zero at any time."""
    plug = Plug()
    plug.say(10.0, Power=5, Total=7.00000)
    plug.say(10.0, Power=5, Total=7.00001)
    plug.say(10.0, Power=5, Total=0.00000)
    assert plug.energy_j() == pytest.approx(50.0)


def test_a_plug_that_speaks_at_changes_may_be_quiet_for_long() -> None:
    """After a lively minute too, for then its power is steady."""
    plug = Plug("zigbee2mqtt")
    for _ in range(9):
        plug.say(2.0, Power=5)
    assert plug.meter.period_s == 2.0
    assert plug.energy_j(800.0) > 0.0
    with pytest.raises(MeterUnavailableError):
        plug.energy_j(200.0)


def test_one_message_without_a_reading_does_not_end_the_others() -> None:
    """A switch that is thrown says so on the same topic; nothing else ever is the wrong topic."""
    plug = Plug()
    plug.say(10.0, Voltage=230)
    with pytest.raises(MeterUnavailableError, match=r"neither ENERGY.Power nor ENERGY.Total"):
        plug.energy_j()
    plug.say(10.0, Power=5)
    plug.say(10.0, Power=5)
    plug.say(1.0, Voltage=230)
    assert plug.energy_j(9.0) == pytest.approx(50.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 400.0), st.floats(0.0, 3_000.0), st.floats(0.0, 1e4), st.booleans()), max_size=20)
)
def test_the_counter_never_falls(messages: list[tuple[float, float, float, bool]]) -> None:
    """Whatever a plug says, and whenever it is read; what is not counted is no more than the time that passed."""
    plug, last_j = Plug(), 0.0
    for after_s, power_w, total_kwh, has_total in messages:
        figures = {"Power": power_w} | ({"Total": round(total_kwh, 5)} if has_total else {})
        plug.say(after_s, **figures)
        for later_s in (0.0, after_s / 2):
            with contextlib.suppress(MeterUnavailableError):
                energy_j = plug.energy_j(later_s)
                assert energy_j >= last_j
                last_j = energy_j
    assert 0.0 <= plug.meter.uncounted_s <= plug.now_s - 1_000.0


def test_a_plug_is_heard_over_a_broker(mosquitto: PrivateMosquitto, site: str) -> None:
    """A retained reading, live ones, and a flood of nonsense on its topic."""
    topic = f"shelly-{site}/status/switch:0"
    send: Callable[[bytes, bool], None] = lambda payload, retain: publish.single(  # noqa: E731  # a partial, typed
        topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=mosquitto.port, protocol=mqtt.MQTTv5
    )
    send(b'{"apower":900.0,"aenergy":{"total":1.000}}', True)
    meter = PlugMeter(PlugSettings(kind="shelly", topic=topic))
    heard: list[bytes] = []

    def hear(address: str, payload: bytes) -> None:
        meter.hear(address, payload)
        heard.append(payload)

    session = Session(
        BrokerSettings(host="127.0.0.1", port=mosquitto.port), site=site, client_id=f"plug-{site}", last_will=None
    )
    session.on_foreign(topic, hear)
    with session:
        assert eventually(lambda: len(heard) == 1)
        with pytest.raises(MeterUnavailableError, match="perhaps an old one"):
            meter.read_energy_j()
        send(b'{"apower":5.1,"aenergy":{"total":7.000}}', False)
        send(b"nonsense", False)
        send(b'{"apower":5.1,"aenergy":{"total":7.010}}', False)
        assert eventually(lambda: len(heard) == 4)
        assert meter.read_energy_j() == pytest.approx(36.0, abs=5.1 * 20)
        assert meter.read_energy_j() >= 36.0
