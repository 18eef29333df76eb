"""Streams of frames through three real agents."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from changing_plans import DEPLOYMENT, NODES, ORIGIN, ChangingSite

from broker.messages import DeploymentNotice, PlanStage
from broker.mosquitto import PrivateMosquitto
from broker.topics import DEPLOYMENT as NOTICES
from edge_agent.configuration import EmulationSettings
from models.classification import top_classes
from models.images import load_image, to_input
from models.preprocessing import read_labels, read_preprocessing
from models.runtime import Segment
from splitrail.client import Client, paced

pytestmark = pytest.mark.usefixtures("nothing_left")

SLOWER = 20.0


@dataclass(frozen=True, slots=True)
class StreamedSite:
    """Three agents that each hold a part of a model, and a client of theirs."""

    site: ChangingSite
    client: Client
    notice: DeploymentNotice


@contextmanager
def streamed(mosquitto: PrivateMosquitto, model: Path, directory: Path, slower: float) -> Iterator[StreamedSite]:
    """The site, its nodes so many times slower than this machine; it is gone at the end, and its segments with it."""
    site = ChangingSite(mosquitto, model, directory, seed=1)
    emulation = EmulationSettings(compute_factor=slower, description="emulated: a slow node of a test")
    site._settings = {
        name: msgspec.structs.replace(settings, emulation=emulation) for name, settings in site._settings.items()
    }
    with site, Client(mosquitto.settings, site=site.site) as client:
        ends = (0, 20, 40, len(site.graph.ops))
        stages = tuple(
            PlanStage(node=node, start=start, stop=stop)
            for node, (start, stop) in zip(NODES, itertools.pairwise(ends), strict=True)
        )
        plan = msgspec.structs.replace(site.random_plan(1), stages=stages, way_back=(NODES[-1], ORIGIN))
        notice = DeploymentNotice(deployment=DEPLOYMENT, model=site.reference, origin=ORIGIN)
        site.session.publish(NOTICES, notice, DEPLOYMENT)
        site.change(plan)
        assert site.takes(plan, 60)
        yield StreamedSite(site, client, client.deployment(DEPLOYMENT))


def best_of(model: Path, photograph: Path) -> int:
    """The class that the unsplit model gives a photograph."""
    whole = Segment(model)
    [spec] = whole.inputs
    image = to_input(load_image(photograph), spec.shape, spec.dtype, None, read_preprocessing(model))
    [best] = top_classes(whole.run([image])[0], 1, read_labels(model), None)
    return best.index


def test_every_frame_has_its_own_answer_in_its_order(
    mosquitto: PrivateMosquitto, zoo_model: Callable[..., Path], photographs: tuple[Path, ...], tmp_path: Path
) -> None:
    """Several are under way at once, and each gets what the unsplit model gives it."""
    model = zoo_model("mobilenetv2")
    frames = [photograph.read_bytes() for photograph in photographs] * 10
    expected = [best_of(model, photograph) for photograph in photographs] * 10
    with streamed(mosquitto, model, tmp_path, 1.0) as three:
        answers = list(three.client.stream(three.notice, frames, in_flight=8))
        assert three.site.origin._origin.in_flight == 0
    assert [answer.number for answer in answers] == list(range(len(frames)))
    assert [answer.reply.error for answer in answers] == [None] * len(frames)
    assert [answer.reply.classes[0].index for answer in answers] == expected


def test_a_live_stream_is_answered_as_far_as_its_stages_can(
    mosquitto: PrivateMosquitto, zoo_model: Callable[..., Path], photographs: tuple[Path, ...], tmp_path: Path
) -> None:
    """Each frame has its word, dropped ones no inference, and the newest frame an answer."""
    camera = paced(itertools.repeat(photographs[0].read_bytes(), 50), 200.0)
    with streamed(mosquitto, zoo_model("mobilenetv2"), tmp_path, SLOWER) as three:
        answers = list(three.client.stream(three.notice, camera, policy="latest", in_flight=4))
    dropped = [answer for answer in answers if answer.reply.dropped]
    answered = [answer for answer in answers if not answer.reply.dropped]
    assert len(answers) == 50
    assert dropped
    assert answered
    assert [answer.reply.error for answer in answers] == [None] * 50
    assert all(answer.reply.report is None and not answer.reply.classes for answer in dropped)
    assert all(answer.reply.report is not None and answer.reply.classes for answer in answered)
    assert answered[-1].number == 49
