"""The INA3221 of Jetson boards, in the forms of JetPack 4 and of the kernel's own driver."""

from pathlib import Path

import pytest
from meter_trees import Clock, Files, host, i2c_hwmon, in_class, remove, write

from edge_agent.energy.jetson import find_jetson
from edge_agent.errors import MeterUnavailableError


def ina3221(rails: dict[str, tuple[int, int]]) -> Files:
    """A chip whose channels have these names, mV and mA: the kernel's Documentation/hwmon/ina3221.rst."""
    files: Files = {"name": "ina3221", "in7_label": "sum of shunt voltages", "in7_input": 12, "update_interval": 100}
    for channel, (name, (millivolt, milliampere)) in enumerate(rails.items(), start=1):
        files |= {
            f"in{channel}_label": name,
            f"in{channel}_input": millivolt,
            f"curr{channel}_input": milliampere,
            f"shunt{channel}_resistor": 5_000,
        }
    return files


ORIN_NANO = {"VDD_IN": (5_064, 1_000), "VDD_CPU_GPU_CV": (5_056, 200), "VDD_SOC": (5_056, 300)}
AGX_ORIN = {"VDD_GPU_SOC": (19_000, 200), "VDD_CPU_CV": (19_000, 100), "VIN_SYS_5V0": (5_000, 700)}


def test_only_the_input_rail_counts(tmp_path: Path) -> None:
    """The others lie behind it: 5.064 V at 1 A for 2 s, and nothing on top."""
    clock = Clock()
    i2c_hwmon(tmp_path, 4, "1-0040", ina3221(ORIN_NANO))
    finding = find_jetson(host(tmp_path, clock))
    assert finding.meter is not None
    assert (finding.name, finding.scope, finding.source) == ("jetson", "board", "measured")
    assert finding.covers.endswith("rail VDD_IN")
    clock.now_s += 2
    assert finding.meter.read_energy_j() == pytest.approx(2 * 5.064)
    assert finding.meter.period_s == pytest.approx(0.1)
    # A step of 40 µV over 5 mΩ is 8 mA: INA3221 datasheet.
    assert finding.meter.resolution_j == pytest.approx(0.008 * 5.064 * 0.1)


def test_a_jetson_nano_of_jetpack_4(tmp_path: Path) -> None:
    """NVIDIA's older driver shows mW below iio, with the rails' names beside."""
    clock = Clock()
    device = in_class(tmp_path, "bus/i2c/devices/6-0040", "i2c-6/6-0040", {}) / "iio:device0"
    rails = {"rail_name_0": "POM_5V_IN", "rail_name_1": "POM_5V_GPU", "rail_name_2": "POM_5V_CPU"}
    write(device, rails | {"in_power0_input": 2_434, "in_power1_input": 41, "in_power2_input": 528})
    finding = find_jetson(host(tmp_path, clock))
    assert finding.meter is not None
    assert finding.covers.endswith("rail POM_5V_IN")
    clock.now_s += 1
    assert finding.meter.read_energy_j() == pytest.approx(2.434)


def test_a_board_of_parts_is_not_summed(tmp_path: Path) -> None:
    """An AGX Orin has no rail at its input; the sum of its rails is not the board, and is not given out as such."""
    i2c_hwmon(tmp_path, 4, "1-0040", ina3221(AGX_ORIN))
    finding = find_jetson(host(tmp_path, Clock()))
    assert (finding.meter, finding.presence) == (None, "blocked")
    assert "(VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0)" in finding.reason
    assert "smart plug" in finding.fix


def test_other_boards_have_none(tmp_path: Path) -> None:
    """Nothing to read, and nothing to mend."""
    i2c_hwmon(tmp_path, 4, "1-0040", {"name": "ina219", "power1_input": 1})
    finding = find_jetson(host(tmp_path, Clock()))
    assert (finding.meter, finding.presence, finding.fix) == (None, "absent", "")


def test_it_goes_away_and_comes_back(tmp_path: Path) -> None:
    """The rail is found by its name, wherever the driver puts it."""
    clock = Clock()
    first = i2c_hwmon(tmp_path, 4, "1-0040", ina3221(ORIN_NANO))
    meter = find_jetson(host(tmp_path, clock)).meter
    assert meter is not None
    remove(first)
    with pytest.raises(MeterUnavailableError, match="shows no INA3221"):
        meter.read_energy_j()
    swapped = dict(reversed(ORIN_NANO.items()))
    i2c_hwmon(tmp_path, 1, "1-0040", ina3221(swapped))
    clock.now_s += 1
    assert meter.read_energy_j() == pytest.approx(5.064)


@pytest.mark.parametrize("content", ["", "fast", "-300"])
def test_garbage_blocks_it(tmp_path: Path, content: str) -> None:
    """No number, or a current that runs backwards."""
    i2c_hwmon(tmp_path, 4, "1-0040", ina3221(ORIN_NANO) | {"curr1_input": content})
    assert find_jetson(host(tmp_path, Clock())).presence == "blocked"
