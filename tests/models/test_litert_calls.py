"""LiteRT's C functions are called in the versions alone whose arguments are known."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chains import assert_same, made_inputs, run_file

import models.compiled
from models.compiled import pack_weights
from models.errors import SegmentRunError
from models.graph import read_graph
from models.litert_calls import KNOWN_VERSIONS, litert_calls
from models.runtime import Segment


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """What is found is remembered for a process."""
    litert_calls.cache_clear()
    yield
    litert_calls.cache_clear()


@pytest.mark.parametrize("version", ["1.4.0", "2.2.0", "2.30.0", "2.4.0", "3.0.0"])
def test_another_version_is_not_called(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument more or less would crash the process."""
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    assert litert_calls() is None


def test_where_there_is_no_litert_there_is_nothing_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on 32-bit Arm."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert litert_calls() is None


def test_a_package_without_the_library_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or with one that lacks a function."""
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(importlib.metadata, "version", lambda _: f"{KNOWN_VERSIONS[0]}0")
    found = importlib.util.spec_from_file_location(
        "ai_edge_litert",
        tmp_path / "ai_edge_litert" / "__init__.py",
        submodule_search_locations=[str(tmp_path / "ai_edge_litert")],
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    assert litert_calls() is None


def test_segments_then_take_the_interpreter(
    small_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is packed, and what was packed before is not looked at."""
    monkeypatch.setattr(models.compiled, "litert_calls", lambda: None)
    path, packed = small_model("branchy"), tmp_path / "packed"
    assert not pack_weights(path, packed)
    packed.write_bytes(bytes(1_000))
    segment = Segment(path, packed=packed)
    assert not segment.shares_weights
    arrays = made_inputs(read_graph(path))
    assert_same(segment.run(arrays), run_file(path, arrays))


@pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")
def test_a_refusal_names_the_file_and_the_function(tmp_path: Path) -> None:
    """It is the file that a user can change."""
    calls = litert_calls()
    assert calls is not None
    missing = tmp_path / "missing.tflite"
    with pytest.raises(SegmentRunError, match=r"missing\.tflite: LiteRT refuses CreateModelFromFile with status"):
        calls.make(missing, "LiteRtCreateModelFromFile", calls.environment, str(missing).encode())
