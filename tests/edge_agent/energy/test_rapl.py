"""RAPL on recorded trees of powercap: what is summed, what is left out, and what is said when it cannot be read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from meter_trees import Clock, forbidden, host

from edge_agent.energy.rapl import RaplMeter, find_rapl
from edge_agent.energy.sysfs import Host, KeptNumber
from edge_agent.errors import MeterUnavailableError

RANGE_UJ = 262_143_328_850


def domain(powercap: Path, directory: str, name: str, energy_uj: int, range_uj: int | None = RANGE_UJ) -> Path:
    """A powercap domain in the kernel's own form."""
    path = powercap / "sys/class/powercap" / directory
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    if range_uj is not None:
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path


def advance(path: Path, energy_uj: int) -> None:
    """The domain's counter now stands at `energy_uj`."""
    (path / "energy_uj").write_text(f"{energy_uj}\n")


def test_packages_are_summed_and_nothing_else(tmp_path: Path) -> None:
    """Two packages count; their sub-domains, the mmio double, psys and the control type do not."""
    counted = [
        domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000),
        domain(tmp_path, "intel-rapl:1", "package-1", 2_000_000),
    ]
    others = [
        domain(tmp_path, "intel-rapl:0:0", "core", 0),
        domain(tmp_path, "intel-rapl:0:1", "dram", 0),
        domain(tmp_path, "intel-rapl:2", "psys", 0),
        domain(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    (tmp_path / "sys/class/powercap/intel-rapl").mkdir()
    meter = RaplMeter(Host(tmp_path))
    assert (meter.name, meter.source, meter.scope) == ("rapl", "measured", "package")
    assert meter.read_energy_j() == 0.0
    advance(counted[0], 4_000_000)
    advance(counted[1], 2_500_000)
    for other in others:
        advance(other, 90_000_000)
    assert meter.read_energy_j() == pytest.approx(3.5)


def test_the_dies_of_a_package_are_summed(tmp_path: Path) -> None:
    """Processors of several dies show one domain for each."""
    dies = [domain(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 0) for die in (0, 1)]
    meter = RaplMeter(Host(tmp_path))
    for die in dies:
        advance(die, 1_000_000)
    assert meter.read_energy_j() == pytest.approx(2.0)


def test_a_wrap_adds_the_range(tmp_path: Path) -> None:
    """A counter that starts over loses nothing."""
    package = domain(tmp_path, "intel-rapl:0", "package-0", RANGE_UJ - 1_000_000)
    meter = RaplMeter(Host(tmp_path))
    advance(package, 500_000)
    assert meter.read_energy_j() == pytest.approx(1.5)
    advance(package, 1_500_000)
    assert meter.read_energy_j() == pytest.approx(2.5)


@pytest.mark.parametrize("range_text", [None, "", "unknown"])
def test_a_wrap_of_unknown_range_is_dropped(tmp_path: Path, range_text: str | None) -> None:
    """Without a readable range the interval of the wrap counts nothing, and the next one counts again."""
    package = domain(tmp_path, "intel-rapl:0", "package-0", 5_000_000, range_uj=None)
    if range_text is not None:
        (package / "max_energy_range_uj").write_text(range_text)
    meter = RaplMeter(Host(tmp_path))
    advance(package, 1_000_000)
    assert meter.read_energy_j() == 0.0
    advance(package, 1_250_000)
    assert meter.read_energy_j() == pytest.approx(0.25)


@pytest.mark.parametrize("prepare", [lambda path: None, lambda path: path.mkdir()], ids=["no powercap", "empty"])
def test_a_machine_without_rapl_says_so(tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    """Virtual machines and Arm boards have no package."""
    (tmp_path / "sys/class").mkdir(parents=True)
    prepare(tmp_path / "sys/class/powercap")
    with pytest.raises(MeterUnavailableError, match="shows no processor package"):
        RaplMeter(Host(tmp_path))


def test_a_forbidden_counter_names_the_way_out(tmp_path: Path) -> None:
    """Where only root may read, the message names the file and the fix."""
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    with pytest.raises(MeterUnavailableError, match=r"intel-rapl:0/energy_uj may not be read: .* udev rule"):
        RaplMeter(Host(tmp_path, read_text=forbidden("energy_uj")))


def test_a_counter_that_goes_away_is_named(tmp_path: Path) -> None:
    """A domain that vanishes or shows no number while it is read is an error of ours."""
    package = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(Host(tmp_path))
    (package / "energy_uj").write_text("")
    with pytest.raises(MeterUnavailableError, match="shows no number"):
        meter.read_energy_j()
    (package / "energy_uj").unlink()
    with pytest.raises(MeterUnavailableError, match="cannot be read"):
        meter.read_energy_j()


def test_a_counter_that_comes_back_counts_on(tmp_path: Path) -> None:
    """What the package used while its file could not be read is in the counter, and so is not lost."""
    package = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    meter = RaplMeter(Host(tmp_path))
    (package / "energy_uj").unlink()
    with pytest.raises(MeterUnavailableError):
        meter.read_energy_j()
    advance(package, 3_000_000)
    assert meter.read_energy_j() == pytest.approx(2.0)


def test_a_pause_in_which_it_may_wrap_twice_is_not_counted(tmp_path: Path) -> None:
    """262 kJ at 500 W take 524 s: after more than that the difference may be anything."""
    clock = Clock()
    package = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = RaplMeter(host(tmp_path, clock))
    advance(package, 50_000_000)
    clock.now_s += 520
    assert meter.read_energy_j() == pytest.approx(50.0)
    advance(package, 90_000_000)
    clock.now_s += 530
    assert meter.read_energy_j() == pytest.approx(50.0)
    assert meter.uncounted_s == pytest.approx(530.0)


def test_an_amd_package_reads_alike(tmp_path: Path) -> None:
    """The same driver shows AMD's processors under the same names, with their cores as a part of the package."""
    package = domain(tmp_path, "intel-rapl:0", "package-0", 0, range_uj=65_532_610_987)
    domain(tmp_path, "intel-rapl:0:0", "core", 0)
    finding = find_rapl(Host(tmp_path))
    assert finding.meter is not None
    advance(package, 2_000_000)
    assert finding.meter.read_energy_j() == pytest.approx(2.0)


def test_a_finding_tells_the_blocked_from_the_absent(tmp_path: Path) -> None:
    """A file that only root may read is there; a virtual machine has none."""
    absent = find_rapl(Host(tmp_path))
    assert (absent.meter, absent.presence) == (None, "absent")
    assert "modprobe" in absent.fix
    domain(tmp_path, "intel-rapl:0", "package-0", 0)
    blocked = find_rapl(Host(tmp_path, read_text=forbidden("energy_uj")))
    assert (blocked.meter, blocked.presence) == (None, "blocked")
    assert "udev rule" in blocked.fix


def test_a_counter_whose_file_is_another_now_is_read_there(tmp_path: Path) -> None:
    """The file is kept open between readings; a driver that is loaded again shows its counter in a new one."""
    package = tmp_path / "energy_uj"
    package.write_text("5\n")
    counter = KeptNumber(Host(tmp_path), package, permission_fix="ask root")
    assert [counter.read(), counter.read()] == [5, 5]
    package.write_text("7\n")
    assert counter.read() == 7
    (tmp_path / "new").write_text("11\n")
    (tmp_path / "new").replace(package)
    assert [counter.read(), counter.read()] == [11, 11]
    package.write_text("1" * 40)
    with pytest.raises(MeterUnavailableError, match="40 digits"):
        counter.read()
    package.unlink()
    with pytest.raises(MeterUnavailableError, match="cannot be read"):
        counter.read()
