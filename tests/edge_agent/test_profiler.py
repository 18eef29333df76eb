from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent.errors import ProfileError
from edge_agent.hardware import usable_cores
from edge_agent.profiler import MeasuredProfile, ProfileStore, profile_model
from edge_agent.threads import best_count, counts_to_try
from models.graph import read_graph
from models.runtime import runtime_identity

PROFILE = MeasuredProfile(
    op_ms=(1.0, 2.0),
    op_ms_std=(0.1, 0.2),
    unsplit_ms=3.0,
    unsplit_ms_std=0.3,
    memory_mb=4.0,
    runtime="some 1.0",
    threads=1,
)
SHA256 = "a" * 64


@pytest.mark.parametrize("name", ["branchy", "dynamic_batch", "branchy_int8"])
def test_the_ops_of_a_profile_sum_to_the_unsplit_time(
    name: str, small_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each op has a time and a spread; together they are what the whole model takes."""
    path = small_model(name)
    profile = profile_model(path, scratch=tmp_path)
    assert len(profile.op_ms) == len(profile.op_ms_std) == len(read_graph(path).ops)
    assert sum(profile.op_ms) == pytest.approx(profile.unsplit_ms)
    assert min(profile.op_ms) >= 0.0
    assert profile.runtime == f"{runtime_identity().name} {runtime_identity().version}"
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_reads_text_is_an_error_that_names_its_input(small_model: Callable[[str], Path]) -> None:
    """Inputs are made up of numbers; there is no plausible text."""
    with pytest.raises(
        ProfileError, match=r"strings\.tflite: cannot be profiled, for its input '.+' is of type string"
    ):
        profile_model(small_model("strings"))


def test_progress_counts_the_ops(small_model: Callable[[str], Path]) -> None:
    """It ends at the last op."""
    told: list[tuple[int, int]] = []
    profile = profile_model(small_model("branchy"), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(profile.op_ms), len(profile.op_ms))


def test_progress_is_told_after_every_run(small_model: Callable[[str], Path]) -> None:
    """A caller that wants to stop need not wait for all runs of a large model."""

    class EnoughError(Exception):
        pass

    told: list[int] = []

    def stop_at_the_second(done: int, total: int) -> None:
        told.append(done)
        if len(told) == 2:
            raise EnoughError(total)

    with pytest.raises(EnoughError):
        profile_model(small_model("branchy"), progress=stop_at_the_second)
    assert told == [0, 0]


def test_a_stretched_profile_is_that_of_a_slower_machine() -> None:
    """Times and spreads grow alike, memory does not."""
    slow = PROFILE.stretched(10.0)
    assert slow.op_ms == (10.0, 20.0)
    assert slow.unsplit_ms_std == pytest.approx(3.0)
    assert slow.memory_mb == PROFILE.memory_mb


def test_a_kept_profile_is_found_again_under_the_same_conditions_only(tmp_path: Path) -> None:
    """Another thread count or another clock is another measurement."""
    store = ProfileStore(tmp_path)
    store.save(SHA256, 1, False, PROFILE)
    assert store.load(SHA256, 1, False) == PROFILE
    assert store.load(SHA256, 2, False) is None
    assert store.load(SHA256, 1, True) is None
    assert store.load("b" * 64, 1, False) is None


def test_a_broken_profile_file_is_measured_anew(tmp_path: Path) -> None:
    """A file that was cut off by a power failure is as good as none."""
    store = ProfileStore(tmp_path)
    store.save(SHA256, 1, False, PROFILE)
    [kept] = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    assert store.load(SHA256, 1, False) is None


def test_the_best_number_of_threads_is_measured(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """The unsplit model with each, and where more than one is best, the ops with one too."""
    profile = profile_model(small_model("branchy"), threads="auto", by_cpu_time=True, scratch=tmp_path)
    assert profile.threads == best_count(profile.thread_ms)
    assert [time.threads for time in profile.thread_ms] == list(counts_to_try(usable_cores())[: len(profile.thread_ms)])
    assert (profile.threads > 1) == bool(profile.single_op_ms)


def test_ops_are_measured_with_one_thread_too_where_more_are_best(
    small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a segment that gains nothing by more can do without."""
    monkeypatch.setattr("edge_agent.profiler.best_count", lambda _: 2)
    profile = profile_model(small_model("branchy"), threads="auto")
    assert profile.threads == 2
    assert len(profile.single_op_ms) == len(profile.op_ms)
    assert profile.stretched(2.0).single_op_ms == tuple(2.0 * ms for ms in profile.single_op_ms)
    assert [time.unsplit_ms for time in profile.stretched(2.0).thread_ms] == [
        2.0 * time.unsplit_ms for time in profile.thread_ms
    ]


def test_a_profile_of_the_best_count_is_found_again_whatever_that_is(tmp_path: Path) -> None:
    """It is kept by what was asked for."""
    store = ProfileStore(tmp_path)
    store.save(SHA256, "auto", True, PROFILE)
    assert store.load(SHA256, "auto", True) == PROFILE
    assert store.load(SHA256, 1, True) is None


def test_the_memory_of_a_model_is_what_its_first_load_takes(
    small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later ones, with other numbers of threads, fill what it left to the process."""
    resident = iter([100e6, 150e6, 145e6, 150e6, 148e6, 150e6])

    class Process:
        def memory_info(self) -> SimpleNamespace:
            return SimpleNamespace(rss=next(resident))

    monkeypatch.setattr("edge_agent.profiler.usable_cores", lambda: 1)
    monkeypatch.setattr("edge_agent.profiler.psutil.Process", Process)
    assert profile_model(small_model("branchy"), threads="auto").memory_mb == pytest.approx(50.0)
