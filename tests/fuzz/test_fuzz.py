"""Every parser, given valid inputs with small mistakes: hypothesis for a moment here, `make fuzz` for longer."""

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fuzz_points
import fuzz_report
import fuzz_runtime
import fuzz_site
import pytest
from fuzz_seeds import NAMED, tiny_models
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from targets import FOUND, TARGETS

RUN = Path(__file__).parent / "run.py"
SECONDS = 1
EXAMPLES = {"runtime": 100, "model": 80, "tflite": 150, "http": 100, "database": 50, "results": 100, "settings": 100}
MANY = 300
# Three draw whole values and no bytes; the mutated models are told by a few bytes.
STORIES = {"site": (fuzz_site.live, 150), "report": (fuzz_report.drawn, 40), "points": (fuzz_points.kept, 150)}
PROGRAMS = ("model", "runtime")
PIECES = (
    b"",
    b"\0",
    b"\xff",
    b"-",
    b"9" * 30,
    b"1e999",
    b"NaN",
    b'"',
    b"[",
    b"{",
    b"null",
    b"\\ud800",
    b"\n",
    b"\x1b[2J",
)


@pytest.fixture(scope="module", autouse=True)
def _models(small_models: Path) -> Iterator[None]:
    """The models that seed the fuzzing are those of the tests; what the parsers log of nonsense is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(NAMED, str(small_models))
        tiny_models.cache_clear()
        logging.disable(logging.CRITICAL)
        yield
        fuzz_runtime.interpreter().close()
        logging.disable(logging.NOTSET)
        tiny_models.cache_clear()


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid input with up to four pieces cut out, put in or overwritten."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from((0, 0, 1, 1, 2, 4, 16, 1_000)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)))
        data = data[:start] + piece + data[start + cut :]
    return data


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
# A large input that fails is shown as it is: as an error, the warning of its length would hide what failed.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in STORIES])
def test_what_is_nearly_valid_is_taken_or_refused(name: str) -> None:
    """No input raises anything but an error of ours, whose message is one line that can be shown."""
    target = TARGETS[name].load()
    seeds = list(target.seeds())
    inputs = st.one_of(st.sampled_from(seeds), st.binary(max_size=25)) if name in PROGRAMS else damaged(seeds)

    @settings(
        max_examples=EXAMPLES.get(name, MANY),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def try_it(data: bytes) -> None:
        target.run(data)

    try_it()


@pytest.mark.parametrize("name", STORIES)
def test_what_is_valid_and_hostile_does_no_harm(name: str) -> None:
    """Whatever the message types admit is folded, decided upon, reported and drawn."""
    story, examples = STORIES[name]
    settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )(story)()


@pytest.mark.parametrize(
    ("name", "path"),
    [(path.parent.name, path) for path in sorted(FOUND.glob("*/*"))],
    ids=lambda value: str(value)[-40:],
)
def test_what_once_broke_something_does_so_no_more(name: str, path: Path) -> None:
    """Each input that fuzzing has found is tried for ever."""
    TARGETS[name].load().run(path.read_bytes())


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed: no guided fuzzing")
@pytest.mark.parametrize("name", TARGETS)
def test_guided_fuzzing_finds_nothing(name: str) -> None:
    """A second of fuzzing that follows the code's branches; `make fuzz` does the same for as long as one likes."""
    ended = subprocess.run(
        [sys.executable, str(RUN), name, "--seconds", str(SECONDS)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2_000:] + ended.stderr[-2_000:]
    assert "number_of_executed_units" in ended.stderr
