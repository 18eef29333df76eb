"""docs/architecture.md as a map: it leads to what is there, and to all of it."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_module_of_the_agent_is_on_the_map() -> None:
    """And no other."""
    section = PAGE.split("## The parts of an agent", 1)[1].split("\n## ", 1)[0]
    named = sorted(set(re.findall(r"`(\w+)(?:\.py)?`", section)) - {"edge_agent"})
    assert named == sorted(file.stem for file in (ROOT / "edge_agent").glob("*.py") if file.stem != "__init__")


def test_the_files_that_decide_are_there() -> None:
    """A path in the page is a file."""
    paths = re.findall(r"`((?:models|broker|edge_agent|coordinator|testbed)/[\w/]+\.py)`", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []
