"""The state of a node's machine: temperature and throttling from the kernel's files, and when the site hears of it."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import MachineReading
from broker.topics import MACHINE
from edge_agent.energy.sysfs import Host
from edge_agent.machine_state import MachineReadings, MachineWatch, MemoryUse, ProcessorTimes, ThisMachine
from edge_agent.machine_temperature import processor_temperature_c
from edge_agent.machine_throttling import Throttled, ThrottlingWatch, throttled_by

FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI4 = {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0"}


def tree(root: Path, files: dict[str, str]) -> Host:
    """A machine that shows these files."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return Host(root)


def zones(*kinds: tuple[str, str]) -> dict[str, str]:
    """Thermal zones by type and what their `temp` says."""
    files = {}
    for number, (kind, figure) in enumerate(kinds):
        files[f"sys/class/thermal/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{figure}\n"
    return files


def chip(number: int, name: str, *sensors: tuple[str, str]) -> dict[str, str]:
    """A chip of hwmon by name, with its sensors by label and figure; "" for a sensor without a label."""
    files = {f"sys/class/hwmon/hwmon{number}/name": f"{name}\n"}
    for index, (label, figure) in enumerate(sensors, start=1):
        files[f"sys/class/hwmon/hwmon{number}/temp{index}_input"] = f"{figure}\n"
        if label:
            files[f"sys/class/hwmon/hwmon{number}/temp{index}_label"] = f"{label}\n"
    return files


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (zones(("cpu-thermal", "48312")), 48.312),  # Raspberry Pi 3 to 5
        (zones(("bcm2835_thermal", "51540")), 51.54),  # older kernels there
        (  # Jetson Orin: the processor's, not that of the GPU or of what is off
            zones(
                ("cpu-thermal", "47406"), ("gpu-thermal", "44250"), ("cv0-thermal", "-256000"), ("tj-thermal", "49187")
            ),
            47.406,
        ),
        (zones(("AO-therm", "36000"), ("CPU-therm", "34500"), ("PMIC-Die", "100000")), 34.5),  # Jetson Xavier
        (zones(("BCPU-therm", "41000"), ("MCPU-therm", "42500"), ("Tboard_tegra", "38000")), 42.5),  # Jetson TX2
        (zones(("acpitz", "27800"), ("x86_pkg_temp", "61000"), ("iwlwifi_1", "44000")), 61.0),  # a laptop
        (  # a laptop without the zone of its package
            zones(("acpitz", "27800")) | chip(0, "coretemp", ("Package id 0", "62000"), ("Core 0", "64000")),
            62.0,
        ),
        (  # two sockets: the hotter
            chip(0, "coretemp", ("Package id 0", "62000")) | chip(1, "coretemp", ("Package id 1", "70000")),
            70.0,
        ),
        (chip(2, "k10temp", ("Tctl", "70125"), ("Tdie", "60125")), 60.125),  # Tctl has an offset on some Ryzens
        (chip(2, "k10temp", ("Tctl", "55500"), ("Tccd1", "50000")) | zones(("acpitz", "16800")), 55.5),
        (chip(0, "nvme", ("Composite", "38850")) | zones(("acpitz", "27800")), 27.8),
        (chip(0, "nvme", ("Composite", "38850")), None),  # a disk is no processor
        ({}, None),
    ],
)
def test_the_processor_s_temperature_is_told_from_the_others(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    """By the names that the drivers give, on each kind of machine."""
    assert processor_temperature_c(tree(tmp_path, files)) == expected


@given(content=st.text(max_size=30))
def test_no_garbage_of_a_sensor_is_a_temperature(content: str) -> None:
    """A figure is a plausible temperature, or none is told."""

    def read_text(file: Path) -> str:
        return "cpu-thermal\n" if file.name == "type" else content

    host = _OneZone(Path("/nowhere"), read_text=read_text)
    figure = processor_temperature_c(host)
    assert figure is None or -40.0 < figure < 150.0


class _OneZone(Host):
    """A machine that shows one thermal zone."""

    def entries(self, pattern: str) -> list[Path]:
        return [self.root / "thermal_zone0"] if "thermal" in pattern else []


@pytest.mark.parametrize("garbage", ["", "hot\n", "999999\n", "-256000\n"])
def test_a_broken_sensor_leaves_the_word_to_the_next(tmp_path: Path, garbage: str) -> None:
    """So does one that fails when it is read."""
    files = zones(("cpu-thermal", garbage), ("acpitz", "30000"))
    (tmp_path / "sys/class/thermal/thermal_zone2/temp").mkdir(parents=True)
    (tmp_path / "sys/class/thermal/thermal_zone2/type").write_text("x86_pkg_temp\n")
    assert processor_temperature_c(tree(tmp_path, files)) == 30.0


@given(st.integers(0, 2**20 - 1))
def test_only_what_is_so_now_counts_of_a_raspberry_pi(bits: int) -> None:
    """The upper bits tell what once was."""
    assert throttled_by(bits) == throttled_by(bits & 0xF)
    assert len(throttled_by(bits)) == (bits & 0xF).bit_count()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("0\n", ()),
        ("50000\n", ()),  # it once was under-voltage and throttled
        ("50005\n", ("under-voltage", "throttled")),
        ("80008\n", ("soft temperature limit",)),
        ("e0002\n", ("frequency capped",)),
        ("", None),
        ("garbage\n", None),
        ("-1\n", None),
        ("ffffffffffff\n", None),
    ],
)
def test_a_raspberry_pi_is_read_by_its_file(tmp_path: Path, content: str, expected: Throttled | None) -> None:
    """Hexadecimal without `0x`; what makes no sense is not known, rather than nothing."""
    host = tree(tmp_path, PI4 | {FIRMWARE: content})
    assert ThrottlingWatch(host, ask=lambda: "throttled=0x1\n").now() == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("throttled=0x50005\n", ("under-voltage", "throttled")),
        ("throttled=0x0\n", ()),
        ("", None),
        ("VCHI initialization failed\n", None),
        ("throttled=0xZZ\n", None),
    ],
)
def test_a_raspberry_pi_without_the_file_is_asked(tmp_path: Path, answer: str, expected: Throttled | None) -> None:
    """By vcgencmd; where that is missing or may not ask, nothing is known."""
    assert ThrottlingWatch(tree(tmp_path, PI4), ask=lambda: answer).now() == expected


def counts(core: int, package: int) -> dict[str, str]:
    base = "sys/devices/system/cpu/cpu{}/thermal_throttle/{}_throttle_count"
    return {
        base.format(cpu, kind): f"{count}\n" for cpu in (0, 1) for kind, count in (("core", core), ("package", package))
    }


def test_x86_is_throttled_while_its_counters_rise(tmp_path: Path) -> None:
    """What was counted before we looked does not count; ten seconds after the last rise it is over."""
    clock = [100.0]
    host = tree(tmp_path, counts(7, 3))
    watch = ThrottlingWatch(host, clock_s=lambda: clock[0])
    assert watch.now() == ()
    tree(tmp_path, counts(7, 4))
    assert watch.now() == ("throttled",)
    clock[0] += 9.0
    assert watch.now() == ("throttled",)
    clock[0] += 1.0
    assert watch.now() == ()


def test_counters_that_begin_anew_are_no_throttling(tmp_path: Path) -> None:
    """As after a core was taken away and brought back."""
    watch = ThrottlingWatch(tree(tmp_path, counts(7, 3)))
    tree(tmp_path, counts(0, 0))
    assert watch.now() == ()


def test_nothing_is_known_where_nothing_tells(tmp_path: Path) -> None:
    """A virtual machine or another board; no process is run there."""

    def ask() -> str:
        raise AssertionError

    assert ThrottlingWatch(tree(tmp_path, {}), ask=ask).now() is None


@dataclass
class FakeMachine:
    """A machine whose state a test sets."""

    times: ProcessorTimes = field(default_factory=lambda: ProcessorTimes(100.0, 1_000.0))
    causes: Throttled | None = ()
    celsius: float | None = 48.0
    looks: list[str] = field(default_factory=list)

    def processor(self) -> ProcessorTimes:
        return self.times

    def memory(self) -> MemoryUse:
        return MemoryUse(1_500.0, 4_000.0, 80.0)

    def temperature_c(self) -> float | None:
        self.looks.append("temperature")
        return self.celsius

    def throttled(self) -> Throttled | None:
        return self.causes


def readings(machine: FakeMachine, clock: list[float]) -> MachineReadings:
    return MachineReadings(
        machine, node="pi", session="s1", emulated=False, clock=lambda: 1_000.0 + clock[0], clock_s=lambda: clock[0]
    )


def test_a_reading_comes_soon_and_then_every_ten_seconds() -> None:
    """Its share of the processor is that since the reading before."""
    machine, clock = FakeMachine(), [0.0]
    due = readings(machine, clock).due
    assert due() is None
    clock[0], machine.times = 1.0, ProcessorTimes(103.0, 1_004.0)
    first = due()
    assert first == MachineReading(
        node="pi",
        session="s1",
        at=1_001.0,
        cpu=0.75,
        memory_used_mb=1_500.0,
        memory_total_mb=4_000.0,
        agent_memory_mb=80.0,
        temperature_c=48.0,
        throttled=(),
    )
    MACHINE.decode(MACHINE.address("lab", "pi"), MACHINE.encode(first))
    for second in range(2, 11):
        clock[0] = float(second)
        assert due() is None
    clock[0], machine.times = 11.0, ProcessorTimes(113.0, 1_044.0)
    later = due()
    assert later is not None
    assert later.cpu == 0.25
    assert machine.looks == ["temperature"] * 2  # what is not published is not read


@pytest.mark.parametrize("causes", [("under-voltage",), None])
def test_a_change_of_throttling_is_told_at_once(causes: Throttled | None) -> None:
    """Also that nothing is known any more; what stays as it is waits."""
    machine, clock = FakeMachine(), [0.0]
    due = readings(machine, clock).due
    clock[0] = 1.0
    assert due() is not None
    clock[0], machine.causes = 2.0, causes
    told = due()
    assert told is not None
    assert told.throttled == causes
    clock[0] = 3.0
    assert due() is None
    clock[0], machine.causes = 4.0, ()
    assert due() is not None


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9))
def test_the_share_is_one_whatever_the_kernel_counts(busy: float, idle: float, more: float, rest: float) -> None:
    """Counters may go back, or not move."""
    machine, clock = FakeMachine(ProcessorTimes(busy, busy + idle)), [0.0]
    due = readings(machine, clock).due
    clock[0], machine.times = 1.0, ProcessorTimes(more, more + rest)
    told = due()
    assert told is not None
    assert 0.0 <= told.cpu <= 1.0


def test_this_machine_can_be_read() -> None:
    """Whatever it is: the figures are plausible, and what is not shown is None."""
    machine = ThisMachine()
    times, memory, celsius = machine.processor(), machine.memory(), machine.temperature_c()
    assert 0.0 < times.busy_s < times.all_s
    assert 0.0 < memory.own_mb < memory.total_mb
    assert 0.0 < memory.used_mb <= memory.total_mb
    assert celsius is None or -40.0 < celsius < 150.0


def test_the_watch_publishes_and_survives_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails is logged once, and the next is made."""
    monkeypatch.setattr("edge_agent.machine_state.LOOK_INTERVAL_S", 0.01)
    machine, published = FakeMachine(), threading.Event()
    told: list[MachineReading] = []
    failures = [OSError(5, "Input/output error"), OSError(5, "Input/output error")]

    def throttled() -> Throttled | None:
        if failures and watch_began.is_set():
            raise failures.pop()
        return ()

    def publish(reading: MachineReading) -> None:
        told.append(reading)
        published.set()

    watch_began = threading.Event()
    monkeypatch.setattr(machine, "throttled", throttled)
    watch = MachineWatch(MachineReadings(machine, node="pi", session="s1", emulated=True, clock=lambda: 5.0), publish)
    watch_began.set()
    watch.start()
    try:
        assert published.wait(10.0)
    finally:
        watch.close()
    assert told[0].emulated
    assert not failures
