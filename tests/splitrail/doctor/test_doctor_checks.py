"""How the doctor carries a check out, whose settings it is given, and what it makes of packages and the runtime."""

import errno
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from splitrail.cli import COMMANDS
from splitrail.doctor.finding import Finding, checked, split_advice
from splitrail.doctor.installation import EXTRAS, extra_finding, package_findings, runtime_failure, runtime_findings
from splitrail.doctor.subject import kind_of
from splitrail.errors import SplitrailError


def verdicts(findings: Iterable[Finding]) -> list[str]:
    return [finding.verdict for finding in findings]


# --- carrying out


def failing(error: Exception) -> Iterator[Finding]:
    yield Finding("thing", "ok", "so far")
    raise error


@pytest.mark.parametrize(
    ("error", "verdict", "says"),
    [
        (SplitrailError("a.yaml: is wrong"), "problem", "a.yaml: is wrong"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/etc/secret"),
            "problem",
            "/etc/secret: Permission denied",
        ),
        (TimeoutError("timed out"), "problem", "timed out"),
        (
            ModuleNotFoundError("No module named 'paho'", name="paho"),
            "note",
            "not looked at, for the Python package 'paho'",
        ),
        (ZeroDivisionError("division by zero"), "problem", "the check itself failed: ZeroDivisionError: division"),
    ],
)
def test_a_check_that_fails_is_a_finding(error: Exception, verdict: str, says: str) -> None:
    """Beside what it found before; and the next one is carried out."""
    (before, finding) = checked("thing", lambda: failing(error))
    assert before.says == "so far"
    assert finding.subject == "thing"
    assert finding.verdict == verdict
    assert finding.says.startswith(says)


def test_a_check_that_hangs_is_left() -> None:
    """Such as one on a file system that is away."""
    release = threading.Event()

    def hanging() -> Iterator[Finding]:
        release.wait(30.0)
        yield Finding("thing", "ok", "")

    (finding,) = checked("thing", hanging, timeout_s=0.05)
    release.set()
    assert finding.verdict == "problem"
    assert finding.says == "it did not answer within 0.05 s"


def test_advice_is_parted_from_what_is_wrong() -> None:
    """In the manner of our errors; what has none stays whole."""
    assert split_advice("x", "note", "a is so: do b: c") == Finding("x", "note", "a is so", "do b: c")
    assert split_advice("x", "note", "a is so") == Finding("x", "note", "a is so")


# --- settings


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("site: home\nnode: pi\ntier: edge\n", "agent"),
        ("site: home\nnode: pi\nteir: edge\nbroker:\n  host: x\n", "agent"),
        ("site: home\ndeployments:\n  - name: photos\n    model: x\n    origin: pi\n", "coordinator"),
        ("site: home\ndeployment:\nstore: x\nhttp:\n  port: 1\n", "coordinator"),
        ("site: home\nbroker:\n  host: x\ncoordinator: http://x\ntoken_file: token\n", "client"),
        ("", "agent"),
    ],
)
def test_whose_settings_they_are_is_told_by_their_keys(text: str, kind: str) -> None:
    """Also where a key is misspelt, which is what somebody asks the doctor for."""
    assert kind_of(text) == kind


# --- packages


def test_every_extra_and_its_packages_are_looked_at() -> None:
    """Those that are brought everywhere, by setup.cfg."""
    text = (Path(__file__).parents[3] / "setup.cfg").read_text(encoding="utf-8")
    declared: dict[str, set[str]] = {}
    extra = ""
    for line in text.split("[options.extras_require]")[1].split("\n[")[0].splitlines():
        if line and not line.startswith((" ", "#")):
            extra = line.partition("=")[0].strip()
        elif ">=" in line and ";" not in line and not line.lstrip().startswith("#"):
            declared.setdefault(extra, set()).add(line.partition(">=")[0].strip())
    # numpy has a line for each architecture.
    declared["agent"].add("numpy")
    assert {extra: set(names) for extra, names in EXTRAS.items()} == {extra: declared[extra] for extra in EXTRAS}
    assert set(declared) - set(EXTRAS) == {"dev"}


def test_what_is_installed_is_no_problem() -> None:
    """The tests need all of it."""
    findings = list(package_findings("agent"))
    assert {finding.subject for finding in findings} == {f"packages: {extra}" for extra in EXTRAS}
    assert [finding.verdict for finding in findings if finding.subject != "packages: nvidia"] == ["ok"] * 4


def test_a_missing_package_names_the_commands_that_lack_it() -> None:
    """A problem where the settings' own command needs it."""
    finding = extra_finding("agent", ("no-such-package",), is_needed=True)
    assert finding.verdict == "problem"
    assert finding.says.startswith("no-such-package missing, so `splitrail agent`, ")
    assert finding.fix == "pip install 'splitrail[agent]'"
    assert extra_finding("convert", ("tensorflow",), is_needed=False) == Finding(
        "packages: convert",
        "note",
        "tensorflow missing, so `splitrail convert` does not run",
        "pip install 'splitrail[convert]'",
    )
    assert extra_finding("nvidia", ("nvidia-ml-py",), is_needed=False).says == "nvidia-ml-py missing"
    assert {command.extra for command in COMMANDS.values()} - {None} <= set(EXTRAS)


def test_the_runtime_is_imported_for_real() -> None:
    """And more threads than cores are noted."""
    findings = list(runtime_findings(is_needed=True, threads=3, cores=2))
    assert verdicts(findings) == ["ok", "note"]
    assert "2 cores to use" in findings[0].says
    assert findings[1].fix == "set threads to 2 or less"


@pytest.mark.parametrize(
    ("last_line", "machine", "says", "fix"),
    [
        (
            "models.errors.RuntimeMissingError: no runtime is installed: pip install 'splitrail[agent]'",
            "x86_64",
            "no runtime is installed",
            "pip install 'splitrail[agent]'",
        ),
        (
            "ImportError: libstdc++.so.6",
            "aarch64",
            "libstdc++.so.6",
            "pip install --force-reinstall 'splitrail[agent]'",
        ),
    ],
)
def test_a_runtime_that_fails_says_why(
    last_line: str, machine: str, says: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the last line of its error."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert runtime_failure(last_line, "problem") == Finding("runtime", "problem", says, fix)


def test_no_runtime_is_built_for_a_new_python_on_32_bit_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is the usual cause there."""
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    monkeypatch.setattr("sys.version_info", (3, 12, 1))
    assert "Python 3.11" in runtime_failure("ModuleNotFoundError: x", "problem").fix
