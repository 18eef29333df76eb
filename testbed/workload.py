"""The demo's requests: crops of photographs as JPEG, sent to each strategy in turn; who answers is the agents' part.

Whether a user's own model can answer at all is tried out here first.
"""

import io
import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from broker.errors import NoReplyError
from broker.messages import InferReply, InferRequest
from broker.session import Session
from broker.topics import INFER
from models.classification import top_classes
from models.graph import read_graph
from models.images import load_image, to_input
from models.preprocessing import read_preprocessing
from models.runtime import Segment
from testbed.comparison import Sample
from testbed.host_timing import quiet_stderr

CROP_SHARE = 0.6
CROP_PIXELS = 320
REPLY_TIMEOUT_S = 35.0  # an origin gives up after 30 s and says why
BREATH_S = 0.05
"""Between two requests, so that the line and the queues are empty when the next one starts."""


def photograph_crops(photographs: Sequence[Path]) -> tuple[bytes, ...]:
    """Five crops of each photograph, corners and centre, as JPEG; ImageError names one that cannot be read."""
    corners = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0), (1.0, 1.0))
    crops = []
    for path in photographs:
        image = load_image(path)
        side = max(1, round(min(image.size) * CROP_SHARE))
        for across, down in corners:
            left, top = round((image.width - side) * across), round((image.height - side) * down)
            crop = image.crop((left, top, left + side, top + side)).resize((CROP_PIXELS, CROP_PIXELS))
            crops.append(_jpeg(crop))
    return tuple(crops)


def try_out(model: Path, image: bytes) -> None:
    """Classify one image on this machine; SplitrailError says why the model cannot run, or is no image classifier."""
    with quiet_stderr():
        segment = Segment(model)
    graph = read_graph(model)
    wanted, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    pixels = to_input(load_image(image), wanted.shape, wanted.dtype, wanted.quantization, read_preprocessing(model))
    outputs = segment.run([pixels])
    segment.close()
    top_classes(outputs[0], 1, quantization=given.quantization)


def round_robin(
    session: Session,
    deployments: Sequence[str],
    images: Sequence[bytes],
    *,
    duration_s: float,
    mbps_now: Callable[[], float],
) -> Iterator[Sample]:
    """Send requests one after the other, each image to every deployment, until `duration_s` seconds are over.

    Each turn asks all, so that all see the same link; yields each request as it is answered, or lost.
    """
    start_s = time.monotonic()
    for turn, image in enumerate(itertools.cycle(images)):
        first = turn % len(deployments)  # each comes first as often as the others: after a pause caches are cold
        for deployment in (*deployments[first:], *deployments[:first]):
            sent_s, mbps = time.monotonic() - start_s, mbps_now()
            yield _sample(deployment, turn, sent_s, mbps, ask(session, deployment, image))
            time.sleep(BREATH_S)
        if time.monotonic() - start_s >= duration_s:
            return


def ask(session: Session, deployment: str, image: bytes) -> InferReply | None:
    """Send one request and wait for its answer; None where none came in time."""
    request = InferRequest(request_id=uuid.uuid4().hex, image=image, top=1)
    try:
        return session.request(INFER, request, deployment, timeout_s=REPLY_TIMEOUT_S)
    except NoReplyError:
        return None


def _sample(strategy: str, turn: int, sent_s: float, mbps: float, reply: InferReply | None) -> Sample:
    if reply is None:
        error = f"no answer within {REPLY_TIMEOUT_S:g} s"
    elif reply.error is not None:
        error = reply.error
    elif reply.report is None or not reply.classes:
        error = "the answer came without its report or classes"
    else:
        return Sample(
            strategy,
            turn,
            sent_s,
            mbps,
            reply.report.latency_ms,
            reply.classes[0].index,
            reply.report.origin_energy_j,
            reply.report.total_energy_j,
        )
    return Sample(strategy, turn, sent_s, mbps, None, error=error)


def _jpeg(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
