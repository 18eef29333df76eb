"""Messages of smart plugs: the first byte chooses the kind, the rest is what it says."""

from collections.abc import Iterator

from edge_agent.energy.plug_payloads import MOST_J, MOST_W, PlugKind, read_payload
from edge_agent.errors import MeterUnavailableError

KINDS: tuple[PlugKind, ...] = ("tasmota", "shelly", "zigbee2mqtt")


def run(data: bytes) -> None:
    """A message gives figures that a socket can give, or is refused."""
    if not data:
        return
    try:
        reading = read_payload(KINDS[data[0] % len(KINDS)], data[1:])
    except MeterUnavailableError:
        return
    assert reading.power is not None or reading.energy is not None
    for figure, most in ((reading.power, MOST_W), (reading.energy, MOST_J)):
        assert figure is None or (0.0 <= figure.value <= most and figure.step >= 0.0)


def seeds() -> Iterator[bytes]:
    """What the makers' devices say."""
    yield b'\x00{"Time":"2024-05-19T20:52:56","ENERGY":{"Total":14.153,"Power":6,"Voltage":234,"Current":0.052}}'
    yield b'\x00{"ENERGY":{"Total":"0.006","Power":"5"}}'
    yield b'\x01{"id":0,"output":true,"apower":8.9,"aenergy":{"total":6.532,"by_minute":[45.199]}}'
    yield b'\x02{"current":0.05,"energy":1.23,"linkquality":134,"power":5,"state":"ON"}'
    yield b'\x02{"power":"5.2 W","energy":"1.5 kWh"}'
