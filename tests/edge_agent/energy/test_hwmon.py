"""INA2xx monitors in hwmon's true form: the right chip, in watts, wherever its directory is."""

from pathlib import Path

import pytest
from meter_trees import Clock, Files, forbidden, host, i2c_hwmon, remove, write

from edge_agent.energy.finding import Finding
from edge_agent.energy.hwmon import find_hwmon
from edge_agent.errors import MeterUnavailableError

# Names and units: the kernel's Documentation/hwmon/ina2xx.rst.
INA219: Files = {
    "name": "ina219",
    "in0_input": 61,
    "in1_input": 5_144,
    "curr1_input": 610,
    "power1_input": 3_140_000,
    "shunt_resistor": 100_000,
}
INA226: Files = INA219 | {"name": "ina226", "shunt_resistor": 10_000, "update_interval": 140}


def readable(finding: Finding) -> Finding:
    """The finding, which has a meter."""
    assert finding.meter is not None, finding.reason
    return finding


def joules_after(finding: Finding, clock: Clock, seconds: float) -> float:
    """What the meter shows when so much time has passed."""
    assert finding.meter is not None
    clock.now_s += seconds
    return finding.meter.read_energy_j()


def test_an_ina219_counts_joules(tmp_path: Path) -> None:
    """3.14 W for 2 s are 6.28 J; what it covers names the chip, its place and its shunt."""
    clock = Clock()
    i2c_hwmon(tmp_path, 2, "1-0040", INA219)
    write(tmp_path / "sys/class/hwmon/hwmon0", {"name": "cpu_thermal", "temp1_input": 50_000})
    finding = readable(find_hwmon(host(tmp_path, clock)))
    assert (finding.name, finding.source, finding.scope, finding.presence) == ("hwmon", "measured", "board", "readable")
    assert finding.covers.endswith("ina219 at 1-0040, shunt 100 mΩ")
    assert joules_after(finding, clock, 2.0) == pytest.approx(6.28)
    assert finding.meter is not None
    assert finding.meter.is_sampled
    # 20 steps of current of 0.1 mA: drivers/hwmon/ina2xx.c reckons 10^9 / (100 * 100,000) µA.
    assert finding.meter.resolution_j == pytest.approx(0.002 * finding.meter.period_s)


@pytest.mark.parametrize(("interval_ms", "period_s"), [(140, 0.14), (2, 0.05)])
def test_an_ina226_tells_its_own_period(tmp_path: Path, interval_ms: int, period_s: float) -> None:
    """It is asked no oftener than it measures, nor than the slow bus bears."""
    i2c_hwmon(tmp_path, 3, "1-0041", INA226 | {"update_interval": interval_ms})
    meter = readable(find_hwmon(host(tmp_path, Clock()))).meter
    assert meter is not None
    assert meter.period_s == pytest.approx(period_s)
    assert meter.resolution_j == pytest.approx(25 * 250e-6 * period_s)


def test_the_drivers_own_shunt_is_doubted(tmp_path: Path) -> None:
    """10 mΩ is what the driver takes where nobody tells it, and ten times too many watts on most breakout boards."""
    i2c_hwmon(tmp_path, 3, "1-0041", INA226)
    assert "a wrong shunt scales every watt" in find_hwmon(host(tmp_path, Clock())).covers


def test_an_ina260_has_its_shunt_inside(tmp_path: Path) -> None:
    """It shows none, and its step of power is 10 mW: INA260 datasheet."""
    i2c_hwmon(tmp_path, 1, "1-0040", {"name": "ina260", "power1_input": 2_500_000, "update_interval": 35})
    finding = readable(find_hwmon(host(tmp_path, Clock())))
    assert finding.meter is not None
    assert finding.meter.resolution_j == pytest.approx(0.010 * 0.05)
    assert "shunt 2 mΩ" in finding.covers


def test_volts_and_amperes_will_do(tmp_path: Path) -> None:
    """Where the driver shows no power, it is mV times mA."""
    clock = Clock()
    i2c_hwmon(tmp_path, 1, "1-0040", {"name": "ina219", "in1_input": 5_000, "curr1_input": 800})
    assert joules_after(readable(find_hwmon(host(tmp_path, clock))), clock, 1.0) == pytest.approx(4.0)


def test_of_several_one_is_read_and_the_others_named(tmp_path: Path) -> None:
    """They may lie one behind the other: the first by bus and address, unless the device tree names the board's."""
    i2c_hwmon(tmp_path, 5, "1-0044", INA226 | {"power1_input": 9_000_000})
    i2c_hwmon(tmp_path, 9, "1-0040", INA219)
    assert "ina219 at 1-0040" in (covers := find_hwmon(host(tmp_path, Clock())).covers)
    assert covers.endswith("not counted: ina226 at 1-0044")
    write(tmp_path / "sys/class/hwmon/hwmon5", {"label": "board"})
    assert find_hwmon(host(tmp_path, Clock())).covers.endswith("not counted: ina219 at 1-0040")


def test_it_is_found_again_after_its_driver_was_loaded_anew(tmp_path: Path) -> None:
    """hwmonN is numbered anew; while the chip is away the meter says so, and counts on when it is back."""
    clock = Clock()
    first = i2c_hwmon(tmp_path, 2, "1-0040", INA219)
    meter = readable(find_hwmon(host(tmp_path, clock))).meter
    assert meter is not None
    remove(first)
    clock.now_s += 4
    with pytest.raises(MeterUnavailableError, match=r"shows no ina219 at 1-0040 any more: see whether its wires hold"):
        meter.read_energy_j()
    i2c_hwmon(tmp_path, 7, "1-0040", INA219)
    clock.now_s += 4
    assert meter.read_energy_j() == pytest.approx(8 * 3.14)
    assert meter.uncounted_s == 0.0
    clock.now_s += 30
    assert meter.read_energy_j() == pytest.approx(8 * 3.14)
    assert meter.uncounted_s == pytest.approx(30.0)


def test_another_chip_under_its_old_number_is_not_it(tmp_path: Path) -> None:
    """Numbers are given anew: what is hwmon2 now may measure something else."""
    first = i2c_hwmon(tmp_path, 2, "1-0040", INA219)
    meter = readable(find_hwmon(host(tmp_path, Clock()))).meter
    assert meter is not None
    remove(first)
    i2c_hwmon(tmp_path, 2, "1-0045", INA219 | {"power1_input": 90_000_000})
    with pytest.raises(MeterUnavailableError, match="shows no ina219 at 1-0040 any more"):
        meter.read_energy_j()


def test_a_board_without_one_says_what_to_wire(tmp_path: Path) -> None:
    """Other sensors in hwmon are none of it."""
    write(tmp_path / "sys/class/hwmon/hwmon0", {"name": "ina3221", "in1_input": 5_000})
    finding = find_hwmon(host(tmp_path, Clock()))
    assert (finding.meter, finding.presence) == (None, "absent")
    assert "no INA2xx" in finding.reason
    assert "INA219" in finding.fix


@pytest.mark.parametrize("power", ["", "n/a", "-2000000", "0", "99999999999999", "9" * 400])
def test_garbage_blocks_it(tmp_path: Path, power: str) -> None:
    """No number, a current that runs backwards, none at all, or more than any machine draws."""
    i2c_hwmon(tmp_path, 2, "1-0040", INA219 | {"power1_input": power})
    finding = find_hwmon(host(tmp_path, Clock()))
    assert (finding.meter, finding.presence) == (None, "blocked")
    assert finding.reason


def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    """Who may not read it learns which file, and what to do."""
    i2c_hwmon(tmp_path, 2, "1-0040", INA219)
    finding = find_hwmon(host(tmp_path, Clock(), forbidden("power1_input")))
    assert finding.presence == "blocked"
    assert finding.reason.endswith("hwmon2/power1_input may not be read")
    assert finding.fix == "give the agent's user leave to read it"
