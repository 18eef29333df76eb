"""What a Raspberry Pi 5's firmware says of its rails, in its true form; no Pi is needed."""

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meter_trees import Clock, host

from edge_agent.energy.pi5_pmic import ask_firmware, find_pi5_pmic, rails_power_w
from edge_agent.errors import MeterUnavailableError

# The lines of `vcgencmd pmic_read_adc` on a Raspberry Pi 5: twelve currents, their voltages under other numbers, and
# two voltages alone.
ANSWER = """ 3V7_WL_SW_A current(0)=0.10000000A
   3V3_SYS_A current(1)=0.06000000A
   1V8_SYS_A current(2)=0.20000000A
  DDR_VDD2_A current(3)=0.02000000A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.20000000A
    0V8_SW_A current(6)=0.30000000A
  VDD_CORE_A current(7)=2.00000000A
   3V3_DAC_A current(17)=0.00000000A
   3V3_ADC_A current(18)=0.00050000A
   0V8_AON_A current(16)=0.00500000A
      HDMI_A current(22)=0.02000000A
 3V7_WL_SW_V volt(8)=3.70000000V
   3V3_SYS_V volt(9)=3.30000000V
   1V8_SYS_V volt(10)=1.80000000V
  DDR_VDD2_V volt(11)=1.10000000V
  DDR_VDDQ_V volt(12)=0.60000000V
   1V1_SYS_V volt(13)=1.10000000V
    0V8_SW_V volt(14)=0.80000000V
  VDD_CORE_V volt(15)=0.75000000V
   3V3_DAC_V volt(20)=3.30000000V
   3V3_ADC_V volt(21)=3.30000000V
   0V8_AON_V volt(19)=0.80000000V
      HDMI_V volt(23)=5.10000000V
     EXT5V_V volt(24)=5.09000000V
      BATT_V volt(25)=0.00000000V
"""
POWER_W = 0.37 + 0.198 + 0.36 + 0.022 + 0.0 + 0.22 + 0.24 + 1.5 + 0.0 + 0.00165 + 0.004 + 0.102


def board(root: Path, name: str) -> None:
    """The device tree's name of the board, as the kernel shows it."""
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(name.encode() + b"\0")


def not_to_be_run() -> str:
    """The firmware of a board that is not to be asked."""
    raise AssertionError("nothing is run on other boards")


def test_rails_are_paired_by_name(tmp_path: Path) -> None:
    """Each current with its own voltage, though their numbers differ; the input's and the clock's voltage count not."""
    assert rails_power_w(ANSWER) == pytest.approx(POWER_W)


@pytest.mark.parametrize("name", ["Raspberry Pi 5 Model B Rev 1.0", "Raspberry Pi 500 Rev 1.0"])
def test_a_pi_5_counts_the_chip_not_the_board(tmp_path: Path, name: str) -> None:
    """The sum is measured, and of what lies behind the regulators: no fit makes a board of it."""
    clock = Clock()
    board(tmp_path, name)
    finding = find_pi5_pmic(host(tmp_path, clock), lambda: ANSWER)
    assert finding.meter is not None
    assert (finding.source, finding.scope, finding.meter.period_s) == ("measured", "soc", 1.0)
    clock.now_s += 2
    assert finding.meter.read_energy_j() == pytest.approx(2 * POWER_W)


@pytest.mark.parametrize("name", ["Raspberry Pi 4 Model B Rev 1.4", None])
def test_other_boards_are_not_asked(tmp_path: Path, name: str | None) -> None:
    """A Pi 4 has no such sensors, and a PC no such command."""
    if name:
        board(tmp_path, name)
    finding = find_pi5_pmic(host(tmp_path, Clock()), not_to_be_run)
    assert (finding.meter, finding.presence) == (None, "absent")
    assert "only a Raspberry Pi 5" in finding.reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "but 'nothing'"),
        ('error=1 error_msg="Command not registered"', "Command not registered"),
        (ANSWER.replace("0V8_SW_V", "0V8_XX_V"), "no voltage of 0V8_SW"),
        (ANSWER.replace("VDD_CORE_A current(7)=2.0", "VDD_CORE_A current(7)=?"), "no current of VDD_CORE"),
        ("\x00" * 100_000, "no current of VDD_CORE"),
    ],
)
def test_what_is_not_whole_is_no_reading(answer: str, reason: str) -> None:
    """A sum without one of its rails would be too small, and is not given out."""
    with pytest.raises(MeterUnavailableError) as caught:
        rails_power_w(answer)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1_500


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.from_regex(r"(VDD_CORE|HDMI)_[AV] (current|volt)\(\d\)=-?\d+(\.\d+)?[AV]\n", fullmatch=True), max_size=6
        ).map("".join),
    )
)
def test_any_answer_is_a_number_or_an_error(answer: str) -> None:
    """Whatever the firmware says, there is a figure or a reason why there is none."""
    with contextlib.suppress(MeterUnavailableError):
        assert isinstance(rails_power_w(answer), float)


def test_it_goes_away_and_comes_back(tmp_path: Path) -> None:
    """A firmware that does not answer for a while costs a gap, no more."""
    clock = Clock()
    board(tmp_path, "Raspberry Pi 5 Model B Rev 1.0")
    answers = [ANSWER, "", ANSWER]
    meter = find_pi5_pmic(host(tmp_path, clock), lambda: answers.pop(0)).meter
    assert meter is not None
    clock.now_s += 1
    with pytest.raises(MeterUnavailableError):
        meter.read_energy_j()
    clock.now_s += 1
    assert meter.read_energy_j() == pytest.approx(2 * POWER_W)


def command(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A `vcgencmd` that does this, and is the only command there is."""
    path = directory / "vcgencmd"
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


def test_the_command_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the voltages and currents, and what it prints is handed on."""
    command(tmp_path, monkeypatch, f"import sys; assert sys.argv[1:] == ['pmic_read_adc']; print({ANSWER!r}, end='')")
    assert ask_firmware() == ANSWER


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('import sys; sys.exit("Can\'t open device file: /dev/vcio")', r"Can't open .*/dev/vcio: .*group video"),
        ("raise SystemExit(3)", "status 3"),
        ("import time; time.sleep(60)", r"did not answer within 0\.2 s"),
    ],
)
def test_a_command_that_fails_names_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    """Without the group `video` the firmware's device may not be opened; a firmware that hangs does not hang us."""
    monkeypatch.setattr("edge_agent.energy.pi5_pmic._TIMEOUT_S", 0.2 if "sleep" in script else 10.0)
    command(tmp_path, monkeypatch, script)
    with pytest.raises(MeterUnavailableError, match=reason):
        ask_firmware()


def test_a_missing_command_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raspberry Pi OS has it; another system may not."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeterUnavailableError, match="vcgencmd is not installed: sudo apt install raspi-utils"):
        ask_firmware()


def test_a_command_that_may_not_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no program is an error of the command, with words."""
    command(tmp_path, monkeypatch, "")
    (tmp_path / "vcgencmd").write_bytes(b"\x7fELF")
    with pytest.raises(MeterUnavailableError, match="vcgencmd cannot be run"):
        ask_firmware()
