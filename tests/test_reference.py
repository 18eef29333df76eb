"""The generated reference says what the code says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def generator() -> ModuleType:
    """docs/generate.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["topics.md", "configuration.md", "metrics.md", "commands.md"])
def test_a_page_of_the_reference_is_current(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make docs` was run after the last change of what the page tells of."""
    monkeypatch.setenv("COLUMNS", "100")
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == generator().page(name), "run `make docs`"


def test_pages_show_the_figures_that_were_measured() -> None:
    """What they quote is what a benchmark printed and what was committed with it."""
    generate = generator()
    for path in generate.WITH_FIGURES:
        page = path.read_text(encoding="utf-8")
        assert generate.with_figures(page) == page, f"{path.name}: run `make docs`"


def test_the_page_of_telemetry_shows_the_schema() -> None:
    """Its tables are the declaration's."""
    generate = generator()
    page = generate.TELEMETRY.read_text(encoding="utf-8")
    assert "### inference" in page
    assert generate.with_measurements(page) == page, "run `make docs`"
