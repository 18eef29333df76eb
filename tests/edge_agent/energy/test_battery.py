"""Batteries in the form of the kernel's power supplies: they tell the machine's power only while they feed it."""

from pathlib import Path

import pytest
from meter_trees import Clock, Files, forbidden, host, in_class, remove, write

from edge_agent.energy.battery import find_battery
from edge_agent.errors import MeterUnavailableError

# Names, units and states: the kernel's Documentation/ABI/testing/sysfs-class-power.
BATTERY: Files = {
    "type": "Battery",
    "present": 1,
    "status": "Discharging",
    "power_now": 8_400_000,
    "voltage_now": 11_400_000,
    "energy_now": 31_000_000,
}
BY_CURRENT: Files = {
    "type": "Battery",
    "present": 1,
    "status": "Discharging",
    "current_now": 700_000,
    "voltage_now": 12_000_000,
}


def supply(root: Path, name: str, files: Files) -> Path:
    """A power supply below `root`."""
    return in_class(root, f"class/power_supply/{name}", f"power_supply/{name}", files)


def joules_of_two_seconds(root: Path) -> float:
    """What the batteries below `root` give in 2 s."""
    clock = Clock()
    meter = find_battery(host(root, clock)).meter
    assert meter is not None
    clock.now_s += 2
    return meter.read_energy_j()


def test_a_battery_tells_its_power(tmp_path: Path) -> None:
    """8.4 W for 2 s; the charger and the battery of a mouse are none of it."""
    supply(tmp_path, "BAT0", BATTERY)
    supply(tmp_path, "AC", {"type": "Mains", "online": 0})
    supply(tmp_path, "hidpp_battery_0", BATTERY | {"scope": "Device"})
    supply(tmp_path, "BAT1", BATTERY | {"present": 0})
    assert joules_of_two_seconds(tmp_path) == pytest.approx(16.8)
    finding = find_battery(host(tmp_path, Clock()))
    assert (finding.name, finding.scope, finding.source) == ("battery", "board", "measured")
    assert finding.covers.endswith(": BAT0")


@pytest.mark.parametrize("sign", [1, -1])
def test_current_times_voltage_will_do(tmp_path: Path, sign: int) -> None:
    """0.7 A at 12 V; drivers differ in the sign of a current that leaves."""
    supply(tmp_path, "BAT0", BY_CURRENT | {"current_now": sign * 700_000})
    assert joules_of_two_seconds(tmp_path) == pytest.approx(16.8)


def test_two_batteries_feed_together(tmp_path: Path) -> None:
    """One discharges and one rests, as some laptops do it, or both discharge: what leaves them is summed."""
    supply(tmp_path, "BAT0", BATTERY)
    second = supply(tmp_path, "BAT1", BATTERY | {"status": "Not charging", "power_now": 0})
    assert joules_of_two_seconds(tmp_path) == pytest.approx(16.8)
    write(second, {"status": "Discharging", "power_now": 1_600_000})
    assert joules_of_two_seconds(tmp_path) == pytest.approx(20.0)


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Unknown", ""])
def test_on_mains_it_tells_nothing(tmp_path: Path, status: str) -> None:
    """Then the charger feeds the machine, and the battery does not see how much."""
    supply(tmp_path, "BAT0", BATTERY | {"status": status})
    finding = find_battery(host(tmp_path, Clock()))
    assert (finding.meter, finding.presence) == (None, "blocked")
    assert "BAT0 is " in finding.reason
    assert "unplug the charger" in finding.fix


def test_a_battery_that_another_feeds_tells_nothing(tmp_path: Path) -> None:
    """What leaves one may go into the other, and not into the machine."""
    supply(tmp_path, "BAT0", BATTERY)
    supply(tmp_path, "BAT1", BATTERY | {"status": "Charging"})
    finding = find_battery(host(tmp_path, Clock()))
    assert finding.presence == "blocked"
    assert finding.reason.startswith("BAT0 is discharging, BAT1 is charging")


def test_mains_come_and_go(tmp_path: Path) -> None:
    """While plugged in the meter is unavailable, and the time on mains is not counted."""
    clock = Clock()
    battery = supply(tmp_path, "BAT0", BATTERY)
    meter = find_battery(host(tmp_path, clock)).meter
    assert meter is not None
    write(battery, {"status": "Charging"})
    clock.now_s += 600
    with pytest.raises(MeterUnavailableError, match="BAT0 is charging, so the machine is fed from elsewhere"):
        meter.read_energy_j()
    write(battery, {"status": "Discharging"})
    clock.now_s += 1
    assert meter.read_energy_j() == 0.0
    assert meter.uncounted_s == pytest.approx(601.0)
    clock.now_s += 5
    assert meter.read_energy_j() == pytest.approx(42.0)


def test_a_battery_that_is_taken_out_and_put_back(tmp_path: Path) -> None:
    """Absence is said, and its return is seen."""
    clock = Clock()
    battery = supply(tmp_path, "BAT0", BATTERY)
    meter = find_battery(host(tmp_path, clock)).meter
    assert meter is not None
    remove(battery)
    with pytest.raises(MeterUnavailableError, match="shows no battery"):
        meter.read_energy_j()
    supply(tmp_path, "BAT1", BATTERY)
    clock.now_s += 5
    assert meter.read_energy_j() == pytest.approx(42.0)


@pytest.mark.parametrize("power", ["", "lots", "0"])
def test_a_gauge_without_a_figure_blocks_it(tmp_path: Path, power: str) -> None:
    """Just after unplugging, gauges show nothing yet."""
    supply(tmp_path, "BAT0", BATTERY | {"power_now": power})
    assert find_battery(host(tmp_path, Clock())).presence == "blocked"


def test_absence_and_permission(tmp_path: Path) -> None:
    """A desktop has none; a file that may not be read is named."""
    assert find_battery(host(tmp_path, Clock())).presence == "absent"
    supply(tmp_path, "BAT0", BATTERY)
    finding = find_battery(host(tmp_path, Clock(), forbidden("power_now")))
    assert finding.presence == "blocked"
    assert finding.reason.endswith("BAT0/power_now may not be read")
