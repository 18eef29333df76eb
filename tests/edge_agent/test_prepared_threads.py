"""What a profile brings to the segments that are loaded after it: shared weights, and a number of threads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import msgspec
import pytest
from plans import MODEL, plan_of

import edge_agent.preparation
from broker.messages import DeploymentNotice, ModelReference, NodeProfile, Plan, PlanReady, ProfileFailure
from edge_agent.configuration import AgentSettings, EmulationSettings
from edge_agent.preparation import Preparation
from edge_agent.profiler import MeasuredProfile, profile_model
from edge_agent.threads import ThreadSetting
from models.cache import ModelCache
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.runtime import Segment


class Prepared:
    """A preparation, with a model in its cache, and the threads of the segments that it loads."""

    def __init__(self, model: Path, directory: Path, threads: ThreadSetting, *, emulated: bool = False) -> None:
        emulation = EmulationSettings(compute_factor=2.0, description="emulated: slow") if emulated else None
        settings = AgentSettings(
            site="home", node="pi", tier="edge", cache=directory, threads=threads, emulation=emulation
        )
        cache = ModelCache(directory)
        held = cache.add(model)
        graph = read_graph(model)
        self.cuts = [cut.k for cut in graph.cuts[1:-1] if cut.allowed]
        self.reference = msgspec.structs.replace(
            MODEL, sha256=held.sha256, size_bytes=held.size_bytes, ops=len(graph.ops)
        )
        self.ready: Queue[PlanReady] = Queue()
        self.profiles: Queue[NodeProfile] = Queue()
        failures: Queue[ProfileFailure] = Queue()
        self.preparation = Preparation(
            settings, cache, ready=self.ready.put, profiled=self.profiles.put, unprofiled=failures.put
        )

    def profile(self) -> NodeProfile:
        """What the node publishes."""
        self.preparation.profile(DeploymentNotice(deployment="photos", model=self.reference, origin="pi"))
        return self.profiles.get(timeout=60)

    def load(self, stop: int) -> Segment:
        """The segment of the first ops, loaded for a plan."""
        self.preparation.prepare(self._plan(stop))
        report = self.ready.get(timeout=60)
        assert report.ready, report.reason
        segment = self.preparation.segment(self.reference.sha256, 0, stop)
        assert segment is not None
        return segment

    def _plan(self, stop: int) -> Plan:
        reference: ModelReference = self.reference
        plan = plan_of(("pi", 0, stop), ("pc", stop, reference.ops), way_back=("pc", "pi"))
        return msgspec.structs.replace(plan, model=reference)


@pytest.fixture
def prepared(small_model: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., Prepared]]:
    """Makes preparations for the branchy model."""
    made: list[Prepared] = []

    def make(threads: ThreadSetting, *, emulated: bool = False) -> Prepared:
        made.append(Prepared(small_model("branchy"), tmp_path / str(len(made)), threads, emulated=emulated))
        return made[-1]

    yield make
    for each in made:
        each.preparation.close()


@pytest.fixture
def loaded_with(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that each segment is loaded with, in order."""
    threads: list[int] = []

    class Counted(Segment):
        def __init__(self, path: Path, count: int = 1, packed: Path | None = None) -> None:
            threads.append(count)
            super().__init__(path, count, packed)

    monkeypatch.setattr("edge_agent.segment_loading.Segment", Counted)
    return threads


@pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")
def test_segments_share_their_weights_from_the_profile_on(prepared: Callable[..., Prepared]) -> None:
    """The first plan comes after it."""
    node = prepared("auto")
    node.profile()
    assert node.load(node.cuts[-1]).shares_weights


def test_a_number_of_threads_that_was_given_is_what_segments_get(
    prepared: Callable[..., Prepared], loaded_with: list[int]
) -> None:
    """And what the profile is measured with."""
    node = prepared(2)
    assert node.profile().threads == 2
    node.load(node.cuts[-1])
    assert loaded_with == [2]


def test_an_emulated_node_runs_on_one_thread(prepared: Callable[..., Prepared], loaded_with: list[int]) -> None:
    """For a testbed's agents share their cores."""
    node = prepared("auto", emulated=True)
    assert node.profile().threads == 1
    node.load(node.cuts[-1])
    assert loaded_with == [1]


def test_a_segment_gets_the_threads_that_its_ops_gain_by(
    prepared: Callable[..., Prepared], loaded_with: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best count of the whole model, or one."""

    def measured(path: Path, **options: object) -> MeasuredProfile:
        profile = profile_model(path)
        ops = len(profile.op_ms)
        gains = tuple(1.0 if op < ops - 3 else 10.0 for op in range(ops))
        return msgspec.structs.replace(profile, threads=2, op_ms=(1.0,) * ops, single_op_ms=gains)

    monkeypatch.setattr(edge_agent.preparation, "profile_model", measured)
    node = prepared("auto")
    assert node.profile().threads == 2
    node.load(node.cuts[0])
    node.load(node.cuts[-1])
    assert loaded_with == [1, 2]


def test_without_a_profile_a_segment_gets_one_thread(prepared: Callable[..., Prepared], loaded_with: list[int]) -> None:
    """A plan that the broker has kept may come first."""
    node = prepared("auto")
    node.load(node.cuts[-1])
    assert loaded_with == [1]
