"""Another distribution's package in the place of one of ours is noticed, with the fix."""

import subprocess
import sys
from pathlib import Path

import pytest

import splitrail
from splitrail.shadowing import PACKAGES

ROOT = Path(splitrail.__file__).parents[1]


def run_with_first_on_path(directory: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run `splitrail --version` where `directory` comes first on the path of imports."""
    program = (
        f"import sys; sys.path[:0] = [{str(directory)!r}]; sys.path.append({str(ROOT)!r});"
        "from splitrail.cli import main; sys.exit(main(['--version']))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "splitrail"])
def test_a_distribution_that_shadows_a_package_is_named_with_the_fix(tmp_path: Path, package: str) -> None:
    """`splitrail` stops with exit 2, one line, the culprit and the command that removes it."""
    installed = tmp_path / "site-packages"
    (installed / package).mkdir(parents=True)
    (installed / package / "__init__.py").write_text('"""Somebody else\'s."""\n')
    metadata = installed / "intruder-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: intruder\nVersion: 1.0\n")
    (metadata / "RECORD").write_text(f"{package}/__init__.py,,\n")
    (metadata / "top_level.txt").write_text(f"{package}\n")
    result = run_with_first_on_path(installed, tmp_path)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert f"splitrail: the distribution 'intruder' shadows Splitrail's package '{package}'" in result.stderr
    assert "pip uninstall intruder, then pip install --force-reinstall --no-deps splitrail" in result.stderr


def test_a_directory_that_shadows_a_package_is_named(tmp_path: Path) -> None:
    """A plain directory of that name, such as a user's own project, is told from a distribution."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").touch()
    result = run_with_first_on_path(tmp_path, tmp_path)
    assert result.returncode == 2
    assert "start it from another directory" in result.stderr
    assert "pip" not in result.stderr


def test_unshadowed_it_runs(tmp_path: Path) -> None:
    """Without an intruder the check passes in silence."""
    result = run_with_first_on_path(tmp_path, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
