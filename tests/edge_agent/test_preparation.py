import functools
import http.server
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from plans import plan_of

import edge_agent.preparation
import edge_agent.segment_loading
from broker.messages import DeploymentNotice, ModelReference, NodeProfile, Plan, PlanReady, ProfileFailure
from edge_agent.configuration import AgentSettings, EmulationSettings
from edge_agent.preparation import Preparation
from edge_agent.profiler import ProfileStore
from edge_agent.shelf import Holdings
from models.cache import ModelCache, file_sha256
from models.errors import SegmentRunError, UnsupportedOpError
from models.graph import read_graph
from models.runtime import Segment


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a directory without a word."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path, small_model: Callable[[str], Path]) -> Iterator[ModelReference]:
    """A model on a real HTTP server."""
    directory = tmp_path / "served"
    directory.mkdir()
    model = directory / "model.tflite"
    model.write_bytes(small_model("branchy").read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield ModelReference(
        sha256=file_sha256(model),
        name="branchy",
        size_bytes=model.stat().st_size,
        ops=len(read_graph(model).ops),
        url=f"http://127.0.0.1:{server.server_address[1]}/model.tflite",
    )
    server.shutdown()
    thread.join()
    server.server_close()


class Node:
    """A preparation and what it reported."""

    def __init__(self, directory: Path, emulation: EmulationSettings | None = None) -> None:
        self.settings = AgentSettings(site="home", node="pi", tier="edge", cache=directory, emulation=emulation)
        self.ready: Queue[PlanReady] = Queue()
        self.profiles: Queue[NodeProfile] = Queue()
        self.failures: Queue[ProfileFailure] = Queue()
        self.preparation = Preparation(
            self.settings,
            ModelCache(directory),
            ready=self.ready.put,
            profiled=self.profiles.put,
            unprofiled=self.failures.put,
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """The Pi."""
    node = Node(tmp_path / "cache")
    yield node
    node.preparation.close()


def plan_for(model: ModelReference, stop: int) -> Plan:
    """A plan whose first ops run on the Pi."""
    plan = plan_of(("pi", 0, stop), ("pc", stop, model.ops), way_back=("pc", "pi"))
    return Plan(**{field: getattr(plan, field) for field in plan.__struct_fields__} | {"model": model})


def allowed_cut(model: Path) -> int:
    """A cut that is allowed, inside the model."""
    return next(cut.k for cut in read_graph(model).cuts[1:-1] if cut.allowed)


def test_a_plan_is_ready_once_its_segment_is_loaded(
    node: Node, served: ModelReference, small_model: Callable[[str], Path]
) -> None:
    """The model is fetched, cut and loaded; the report says how long it took."""
    stop = allowed_cut(small_model("branchy"))
    node.preparation.prepare(plan_for(served, stop))
    report = node.ready.get(timeout=30)
    assert (report.ready, report.reason, report.node) == (True, "", "pi")
    assert node.preparation.segment(served.sha256, 0, stop) is not None
    assert node.preparation.segment(served.sha256, stop, served.ops) is None


def test_segments_that_no_plan_needs_are_freed(
    node: Node, served: ModelReference, small_model: Callable[[str], Path]
) -> None:
    """Memory follows the plans."""
    stop = allowed_cut(small_model("branchy"))
    plan = plan_for(served, stop)
    node.preparation.prepare(plan)
    node.ready.get(timeout=30)
    node.preparation.hold(Holdings((plan,), (), ()))
    assert node.preparation.segment(served.sha256, 0, stop) is not None
    node.preparation.hold(Holdings((), (), ()))
    assert node.preparation.segment(served.sha256, 0, stop) is None


def test_a_segment_that_an_earlier_run_left_is_cut_anew(
    node: Node, served: ModelReference, small_model: Callable[[str], Path]
) -> None:
    """Only models carry a hash, so a damaged segment on the disk is never run."""
    stop = allowed_cut(small_model("branchy"))
    left = ModelCache(node.settings.cache).segment_path(served.sha256, 0, stop)
    left.write_bytes(b"damaged")
    node.preparation.prepare(plan_for(served, stop))
    assert node.ready.get(timeout=30).ready


def test_a_fault_of_a_library_is_reported_and_the_next_plan_is_carried_out(
    node: Node, served: ModelReference, small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model's oddity must not leave a node that is online and prepares nothing any more."""
    plan = plan_for(served, allowed_cut(small_model("branchy")))
    with monkeypatch.context() as patched:

        def fail(*_: object, **__: object) -> None:
            raise TypeError("data type 'string' not understood")

        patched.setattr(edge_agent.segment_loading, "slice_model", fail)
        node.preparation.prepare(plan)
        assert node.ready.get(timeout=30).reason == "TypeError: data type 'string' not understood"
    node.preparation.prepare(plan)
    assert node.ready.get(timeout=30).ready


def test_a_segment_has_run_once_before_its_node_is_ready(
    node: Node, served: ModelReference, small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime puts work off until the first run: no request pays for it, and a segment in use is left alone."""
    ran: list[Sequence[Any]] = []
    run = Segment.run

    def watch(self: Segment, arrays: Sequence[Any]) -> list[Any]:
        ran.append(arrays)
        return run(self, arrays)

    monkeypatch.setattr(Segment, "run", watch)
    plan = plan_for(served, allowed_cut(small_model("branchy")))
    for _ in range(2):
        node.preparation.prepare(plan)
        assert node.ready.get(timeout=30).ready
        assert [any(array.any() for array in arrays) for arrays in ran] == [False]


def test_a_segment_that_cannot_run_is_refused_and_tried_anew_with_the_next_plan(
    node: Node, served: ModelReference, small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator hears of it before a request does."""
    stop = allowed_cut(small_model("branchy"))
    with monkeypatch.context() as patched:

        def fail(*_: object, **__: object) -> None:
            raise SegmentRunError("branchy cannot be run: out of memory")

        patched.setattr(Segment, "run", fail)
        node.preparation.prepare(plan_for(served, stop))
        report = node.ready.get(timeout=30)
        assert (report.ready, report.reason) == (False, "branchy cannot be run: out of memory")
        assert node.preparation.segment(served.sha256, 0, stop) is None
    node.preparation.prepare(plan_for(served, stop))
    assert node.ready.get(timeout=30).ready


def test_a_model_that_cannot_be_profiled_is_told_with_the_reason_and_tried_again(
    node: Node, served: ModelReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever plans learns why there is no profile, and gets it when it can be had."""
    monkeypatch.setattr(edge_agent.preparation, "RETRY_PROFILE_S", 0.0)
    notice = DeploymentNotice(deployment="photos", model=served, origin="pi")
    with monkeypatch.context() as patched:

        def fail(*_: object, **__: object) -> None:
            raise UnsupportedOpError("the runtime has no op FlexErf", "FlexErf", 1)

        patched.setattr(edge_agent.preparation, "profile_model", fail)
        node.preparation.profile(notice)
        failure = node.failures.get(timeout=30)
        assert failure == ProfileFailure(node="pi", model=served.sha256, reason="the runtime has no op FlexErf")
    assert node.profiles.get(timeout=60).model == served.sha256


def test_a_model_that_cannot_be_profiled_does_not_keep_plans_from_it(
    node: Node, served: ModelReference, small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile is tried again later; what is asked meanwhile is done."""

    def fail(*_: object, **__: object) -> None:
        raise TypeError("data type 'string' not understood")

    monkeypatch.setattr(edge_agent.preparation, "profile_model", fail)
    node.preparation.profile(DeploymentNotice(deployment="photos", model=served, origin="pi"))
    while not any((node.settings.cache / "models").iterdir()):
        time.sleep(0.01)
    node.preparation.prepare(plan_for(served, allowed_cut(small_model("branchy"))))
    assert node.ready.get(timeout=30).ready


def test_what_does_not_match_its_hash_is_never_run(node: Node, served: ModelReference) -> None:
    """The server's file is not the promised one: the plan is refused with the reason."""
    lied = ModelReference(sha256="0" * 64, name="branchy", size_bytes=served.size_bytes, ops=served.ops, url=served.url)
    node.preparation.prepare(plan_for(lied, served.ops - 1))
    report = node.ready.get(timeout=60)
    assert not report.ready
    assert "sha256" in report.reason


def test_a_model_is_profiled_once_and_taken_from_the_cache_afterwards(
    node: Node, served: ModelReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start of the agent measures nothing anew."""
    notice = DeploymentNotice(deployment="photos", model=served, origin="pi")
    node.preparation.profile(notice)
    first = node.profiles.get(timeout=60)
    assert (first.node, first.model, len(first.op_ms)) == ("pi", served.sha256, served.ops)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("profiled again")

    monkeypatch.setattr(edge_agent.preparation, "profile_model", refuse)
    again = Node(tmp_path / "cache")
    again.preparation.profile(notice)
    assert again.profiles.get(timeout=30) == first
    again.preparation.close()


def test_an_emulated_node_publishes_its_stretched_profile_and_says_so(served: ModelReference, tmp_path: Path) -> None:
    """Its figures are never mistaken for this machine's."""
    slow = Node(tmp_path / "slow", EmulationSettings(compute_factor=1_000.0, description="a thousand times slower"))
    slow.preparation.profile(DeploymentNotice(deployment="photos", model=served, origin="pi"))
    profile = slow.profiles.get(timeout=60)
    slow.preparation.close()
    assert profile.emulated == "a thousand times slower"
    assert sum(profile.op_ms) == pytest.approx(profile.unsplit_ms)


def test_a_profile_is_that_of_the_unloaded_machine(served: ModelReference, tmp_path: Path) -> None:
    """An emulated load stretches runs, not the profile, which says what the ops cost without others."""
    load_file = tmp_path / "load"
    load_file.write_text("0.9")
    loaded = Node(tmp_path / "loaded", EmulationSettings(compute_factor=3.0, description="slow", load_file=load_file))
    loaded.preparation.profile(DeploymentNotice(deployment="photos", model=served, origin="pi"))
    profile = loaded.profiles.get(timeout=60)
    loaded.preparation.close()
    measured = ProfileStore(loaded.settings.cache / "profiles").load(served.sha256, 1, True)
    assert measured is not None
    assert profile.unsplit_ms == pytest.approx(3.0 * measured.unsplit_ms)
