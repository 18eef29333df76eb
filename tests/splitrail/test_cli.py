"""The front door: instant help, one line for a mistake, the exit codes."""

import subprocess
import sys

import pytest

from splitrail import __version__
from splitrail.cli import COMMANDS, main

OURS = ("models", "broker", "edge_agent", "coordinator", "testbed")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "splitrail", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_lists_every_command() -> None:
    """`splitrail --help` names all commands, each with its summary, and exits 0."""
    result = run("--help")
    assert result.returncode == 0
    for name, command in COMMANDS.items():
        assert f"{name} " in result.stdout
        assert command.summary in result.stdout


def test_help_imports_none_of_the_packages() -> None:
    """Help is instant: neither our packages nor anything heavy is imported for it."""
    program = f"""
import sys
sys.argv = ["splitrail", "--help"]
from splitrail.cli import main
try:
    main()
except SystemExit:
    pass
heavy = {(*OURS, "numpy", "msgspec", "rich", "yaml", "paho", "ssl")!r}
print([name for name in sys.modules if name.split(".")[0] in heavy], file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == "[]\n"


def test_the_version_is_told() -> None:
    """`splitrail --version` prints the version of the package."""
    assert run("--version").stdout == f"splitrail {__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], [], ["--nonsense"]])
def test_a_bad_command_is_one_line_and_exit_2(arguments: list[str]) -> None:
    """A mistake on the command line is one line that says what is wrong, and exit code 2."""
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("splitrail: ")
    assert result.stderr.count("\n") == 1


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose packages are not installed says which extra has them."""
    monkeypatch.setitem(sys.modules, COMMANDS["agent"].module, None)
    monkeypatch.setattr(
        "splitrail.cli.importlib.import_module",
        lambda name: (_ for _ in ()).throw(ModuleNotFoundError("No module named 'paho'", name="paho")),
    )
    assert main(["agent"]) == 2
    assert capsys.readouterr().err == (
        "splitrail: `splitrail agent` needs the package 'paho': pip install 'splitrail[agent]'\n"
    )
