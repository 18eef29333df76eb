"""Why an agent cannot carry out a plan, as its site hears it: through a real agent, with a real broker between."""

import errno
import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace, TracebackType
from typing import Self

import msgspec
import psutil
import pytest
from eventually import eventually
from plans import plan_of

import edge_agent.segment_loading
import models.slicer
from broker.messages import DeploymentNotice, ModelReference, Plan, PlanReady
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import DEPLOYMENT, PLAN, READY
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, TensorSettings
from models.cache import file_sha256
from models.errors import UnsupportedOpError
from models.graph import read_graph


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a directory without a word."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Vetoing:
    """One agent at its site, and what it reports of the plans that it hears."""

    def __init__(self, mosquitto: PrivateMosquitto, site: str, directory: Path, memory_mb: float | None = None) -> None:
        served = directory / "served"
        served.mkdir()
        self.served = served
        handler = functools.partial(Quiet, directory=str(served))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.reports: Queue[PlanReady] = Queue()
        self._session = Session(mosquitto.settings, site=site, client_id=f"coordinator-{site}")
        self._session.on(READY, lambda incoming: self.reports.put(incoming.message))
        self._agent = Agent(
            AgentSettings(
                site=site,
                node="pi",
                tier="edge",
                broker=mosquitto.settings,
                cache=directory / "cache",
                memory_mb=memory_mb,
                tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open", pacing=None),
            )
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._session.start()
        self._agent.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._agent.close()
        self._session.close()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, model: Path) -> ModelReference:
        """Offer a model."""
        (self.served / "model.tflite").write_bytes(model.read_bytes())
        return ModelReference(
            sha256=file_sha256(model),
            name="m",
            size_bytes=model.stat().st_size,
            ops=len(read_graph(model).ops),
            url=f"http://127.0.0.1:{self._server.server_address[1]}/model.tflite",
        )

    def notify(self, reference: ModelReference, term: int = 0) -> None:
        """Tell where a model is."""
        notice = DeploymentNotice(deployment="photos", model=reference, origin="pi", term=term)
        self._session.publish(DEPLOYMENT, notice, "photos")
        # The topic is retained: one who has not subscribed yet would hear of the last alone.
        assert eventually(lambda: reference.sha256 in self._agent._preparation._notices)

    def answer_to(self, reference: ModelReference, epoch: int = 1) -> PlanReady:
        """Publish a plan that runs all on the Pi, and take its report."""
        plan: Plan = msgspec.structs.replace(plan_of(("pi", 0, reference.ops), epoch=epoch), model=reference)
        self._session.publish(PLAN, plan, "photos")
        while (report := self.reports.get(timeout=30)).epoch != epoch:
            pass
        return report


@pytest.fixture
def vetoing(mosquitto: PrivateMosquitto, site: str, tmp_path: Path) -> Iterator[Vetoing]:
    """An agent with as much memory as this machine has."""
    with Vetoing(mosquitto, site, tmp_path) as vetoing:
        yield vetoing


@pytest.fixture
def branchy(small_model: Callable[[str], Path]) -> Path:
    """A small model."""
    return small_model("branchy")


def test_weights_beyond_memory_mb(mosquitto: PrivateMosquitto, site: str, tmp_path: Path, branchy: Path) -> None:
    """The figures say what would do."""
    with Vetoing(mosquitto, site, tmp_path, memory_mb=0.001) as small:
        report = small.answer_to(small.serve(branchy))
    assert not report.ready
    assert report.reason.startswith("pi cannot hold ")
    assert report.reason.endswith(" MB of weights more: its memory_mb is 0.001")


def test_a_machine_without_free_memory(vetoing: Vetoing, branchy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the kernel ends the agent; with memory again, the next plan is carried out."""
    reference = vetoing.serve(branchy)
    with monkeypatch.context() as patched:
        patched.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5e6))
        report = vetoing.answer_to(reference)
    assert (report.ready, report.reason[:32]) == (False, "pi has 5 MB of memory free, and ")
    assert vetoing.answer_to(reference, epoch=2).ready


def test_a_model_that_is_not_the_promised_one(vetoing: Vetoing, branchy: Path) -> None:
    """Its hash tells, so it is never run."""
    reference = vetoing.serve(branchy)
    content = bytearray(branchy.read_bytes())
    content[-1] ^= 1
    (vetoing.served / "model.tflite").write_bytes(content)
    report = vetoing.answer_to(reference)
    assert not report.ready
    assert f"does not have the sha256 {reference.sha256} that was promised" in report.reason


def test_an_op_that_the_runtime_lacks(vetoing: Vetoing, small_model: Callable[[str], Path]) -> None:
    """The reason names it."""
    report = vetoing.answer_to(vetoing.serve(small_model("flex")))
    assert not report.ready
    assert "FlexErf" in report.reason


def test_an_op_version_that_the_runtime_lacks(vetoing: Vetoing, branchy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names both, and says what to install."""

    def refuse(path: Path, threads: int) -> None:
        raise UnsupportedOpError(f"{path}: no CONV_2D version 9: install a newer one", "CONV_2D", 9)

    monkeypatch.setattr(edge_agent.segment_loading, "Segment", refuse)
    report = vetoing.answer_to(vetoing.serve(branchy))
    assert not report.ready
    assert report.reason.endswith("no CONV_2D version 9: install a newer one")


def test_a_segment_that_cannot_be_written(vetoing: Vetoing, branchy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk; with room again, the next plan is carried out."""
    reference = vetoing.serve(branchy)
    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(models.slicer, "write_flatbuffer", fail)
        report = vetoing.answer_to(reference)
    assert not report.ready
    assert report.reason.endswith("cannot be written: No space left on device")
    assert vetoing.answer_to(reference, epoch=2).ready


def test_a_model_is_fetched_from_the_latest_leader(vetoing: Vetoing, branchy: Path) -> None:
    """The coordinator that made a plan may be gone, and an older leader's word counts no more."""
    reference = vetoing.serve(branchy)
    gone = msgspec.structs.replace(reference, url="http://127.0.0.1:1/model.tflite")
    vetoing.notify(reference, term=2)
    vetoing.notify(gone, term=1)
    assert vetoing.answer_to(gone).ready
