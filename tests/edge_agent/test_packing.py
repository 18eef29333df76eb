"""Codecs in a plan: what travels is packed for the stage that reads it, and the answer is the same within the loss."""

import io
from collections.abc import Iterator
from queue import Queue
from typing import Any

import msgspec
import numpy as np
import pytest
from eventually import eventually
from joined_nodes import INPUT, BrokenSegment, CountingSegment, Site
from PIL import Image
from plans import plan_of

from broker.messages import CodecName, Plan, TensorScale
from edge_agent.packing import ImageInput, Inputs, Packing, packed_inputs
from edge_agent.request import Finished
from edge_agent.routes import route
from edge_agent.wire import TensorsMessage
from models.errors import CodecError, ImageError
from models.image_form import ImageForm
from models.preprocessing import PREPROCESSINGS
from models.runtime import TensorSpec

SCALE = TensorScale(scale=0.5, zero_point=-3)
FORM = ImageForm((1, 80, 60, 3), "float32", None, PREPROCESSINGS["torch"])
IMAGE_SPEC = TensorSpec("image", FORM.shape, FORM.dtype, FORM.shape)


def packed(plan: Plan, *codecs: CodecName, scales: tuple[TensorScale, ...] = (SCALE,)) -> Plan:
    """The plan with these codecs of the transfers into its stages."""
    stages = tuple(
        msgspec.structs.replace(stage, codec=codec, scales=scales if codec.startswith("int8") else ())
        for stage, codec in zip(plan.stages, codecs, strict=True)
    )
    return msgspec.structs.replace(plan, stages=stages)


def photograph(size: tuple[int, int] = (20, 16), kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


class CountingImages(CountingSegment):
    """The first segment of a model that takes images: each channel's mean, and the number of its ops."""

    inputs = (IMAGE_SPEC,)

    def run_in_place(self, arrays: Any) -> list[Any]:
        """One row of three."""
        [image] = arrays
        assert (image.dtype, image.shape) == (np.float32, FORM.shape)
        return [image[0].mean(axis=(0, 1)) + self.ops]


class WatchedSite(Site):
    """Remembers what travelled."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.travelled: list[tuple[str, str, str, int]] = []

    def send(self, src: str, dst: str, message: Any) -> None:
        """Hand a message over."""
        if isinstance(message, TensorsMessage):
            [tensor] = message.tensors
            self.travelled.append((src, dst, tensor.dtype.name, tensor.ndim))
        super().send(src, dst, message)


@pytest.fixture
def site() -> Iterator[WatchedSite]:
    site = WatchedSite("pi", "laptop", "pc")
    yield site
    site.close()


def asked(site: Site, inputs: Inputs) -> Finished:
    """One request of these inputs at the Pi, to its end."""
    ended: Queue[Finished] = Queue()
    site.nodes["pi"].origin.submit("photos", inputs, ended.put)
    return ended.get(timeout=10)


def outputs(finished: Finished) -> np.ndarray:
    assert finished.outputs is not None, finished.report.error
    return np.asarray(finished.outputs[0])


@pytest.mark.parametrize(
    ("codec", "dtype", "dimensions"),
    [
        ("raw", "float32", 1),
        ("raw+lz4", "uint8", 1),
        ("fp16", "float16", 1),
        ("fp16+zstd", "uint8", 1),
        ("int8", "int8", 1),
        ("int8+zstd", "uint8", 1),
    ],
)
def test_each_transfer_has_its_own_codec(site: WatchedSite, codec: CodecName, dtype: str, dimensions: int) -> None:
    """The tensors into a stage are packed by its codec; the result travels raw, and is what it would have been."""
    site.adopt(
        packed(plan_of(("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10), way_back=("pc", "pi")), "raw", codec, codec)
    )
    finished = site.ask()
    np.testing.assert_array_equal(outputs(finished), [10.0, 10.0, 10.0])
    assert site.travelled == [
        ("pi", "laptop", dtype, dimensions),
        ("laptop", "pc", dtype, dimensions),
        ("pc", "pi", "float32", 1),
    ]
    assert [stage.codec_ms > 0 for stage in finished.report.stages] == [codec != "raw"] * 3
    assert all(stage.codec_ms <= stage.compute_ms for stage in finished.report.stages)


def test_relays_hand_on_what_is_packed_for_the_reader(site: WatchedSite) -> None:
    """A relay's own codec says nothing: the tensors pass it as the stage behind it takes them."""
    plan = packed(
        plan_of(("pi", 0, 3), ("laptop", 3, 3), ("pc", 3, 10), way_back=("pc", "laptop", "pi")), "raw", "raw", "int8"
    )
    site.adopt(plan)
    np.testing.assert_array_equal(outputs(site.ask()), [10.0, 10.0, 10.0])
    assert [kind for *_, kind, _ in site.travelled] == ["int8", "int8", "float32", "float32"]


def test_the_origin_packs_the_inputs_that_it_does_not_read(site: WatchedSite) -> None:
    """Where another node computes first, tensors leave the origin in the codec of that stage."""
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), "fp16+lz4"))
    np.testing.assert_array_equal(outputs(site.ask()), [10.0, 10.0, 10.0])
    assert [kind for *_, kind, _ in site.travelled] == ["uint8", "float32"]


@pytest.mark.parametrize(
    ("codec", "kind", "dimensions"), [("uint8", "uint8", 3), ("jpeg", "uint8", 1), ("raw", "float32", 4)]
)
@pytest.mark.parametrize("file", ["JPEG", "PNG"])
def test_an_image_becomes_floats_where_the_first_op_runs(
    site: WatchedSite, codec: CodecName, kind: str, dimensions: int, file: str
) -> None:
    """Pixels, or the file that came, of whatever format, give bit for bit what floats give."""
    site.form = FORM
    site.nodes["pc"].segments[(0, 10)] = CountingImages(10)
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), codec))
    image = photograph(kind=file)
    finished = asked(site, ImageInput(image, FORM))
    [expected] = CountingImages(10).run_in_place([ImageInput(image, FORM).tensor])
    np.testing.assert_array_equal(outputs(finished), expected)
    assert site.travelled[0] == ("pi", "pc", kind, dimensions)


@pytest.mark.parametrize("file", ["JPEG", "PNG"])
def test_a_file_that_is_longer_than_its_pixels_travels_as_these(site: WatchedSite, file: str) -> None:
    """A telephone's photograph costs no more under `jpeg` than under `uint8`, and gives the same bit for bit."""
    site.form = FORM
    site.nodes["pc"].segments[(0, 10)] = CountingImages(10)
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), "jpeg"))
    image = ImageInput(photograph((300, 400), file), FORM)
    assert len(image.file) > image.pixels.nbytes
    [expected] = CountingImages(10).run_in_place([image.tensor])
    np.testing.assert_array_equal(outputs(asked(site, image)), expected)
    assert site.travelled[0] == ("pi", "pc", "uint8", 3)


def test_a_short_file_of_very_many_pixels_travels_as_its_own_few(site: WatchedSite) -> None:
    """Whoever read it would be taken for one that has stopped."""
    site.form = FORM
    site.nodes["pc"].segments[(0, 10)] = CountingImages(10)
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), "jpeg"))
    buffer = io.BytesIO()
    Image.new("1", (3000, 1500)).save(buffer, "PNG")
    image = ImageInput(buffer.getvalue(), FORM)
    assert len(image.file) < image.pixels.nbytes
    assert asked(site, image).report.error is None
    assert site.travelled[0] == ("pi", "pc", "uint8", 3)


def test_inputs_that_came_as_tensors_travel_raw_where_images_are_due(site: WatchedSite) -> None:
    """A client of tensors is served under a plan for images too."""
    site.form = FORM
    site.nodes["pc"].segments[(0, 10)] = CountingImages(10)
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), "jpeg"))
    tensor = np.ones(FORM.shape, np.float32)
    np.testing.assert_array_equal(outputs(asked(site, (tensor,))), [11.0, 11.0, 11.0])
    assert site.travelled[0] == ("pi", "pc", "float32", 4)


def test_the_origin_unpacks_what_it_kept_to_finish_a_request_alone(site: WatchedSite) -> None:
    """What it handed on before the stage failed is packed for that stage; it goes on from there all the same."""
    site.nodes["pi"].fallbacks.add((3, 10))
    site.nodes["laptop"].segments[(3, 10)] = BrokenSegment()
    site.adopt(packed(plan_of(("pi", 0, 3), ("laptop", 3, 10), way_back=("laptop", "pi")), "raw", "int8+lz4"))
    finished = site.ask()
    np.testing.assert_array_equal(outputs(finished), [10.0, 10.0, 10.0])
    assert finished.report.outcome == "rescued"
    assert [(stage.start, stage.stop) for stage in finished.report.stages] == [(0, 3), (3, 10)]


def test_an_image_is_read_again_where_its_request_is_finished_otherwise(site: WatchedSite) -> None:
    """A request whose image left as a file is finished at the origin, which makes floats of it then."""
    site.form = FORM
    site.nodes["pi"].fallbacks.add((0, 10))
    site.nodes["pi"].segments[(0, 10)] = CountingImages(10)
    site.nodes["pc"].segments[(0, 10)] = BrokenSegment()
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), "jpeg"))
    finished = asked(site, ImageInput(photograph(), FORM))
    assert finished.report.outcome == "rescued"
    assert outputs(finished).shape == (3,)


def test_a_broken_image_fails_its_request_and_blames_no_node(site: WatchedSite) -> None:
    """Only the stage that decodes it sees that a file ends too early; the origin finds that it cannot be read."""
    site.form = FORM
    site.nodes["pc"].segments[(0, 10)] = CountingImages(10)
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi")), "jpeg"))
    whole = photograph((60, 60))
    finished = asked(site, ImageInput(whole[: len(whole) // 2], FORM))
    assert finished.report.error == "the image is not an image that Pillow can read; it would have to be one of " + (
        "JPEG, PNG, WEBP, BMP, GIF"
    )
    assert site.nodes["pi"].misses == []


def test_what_is_no_image_is_refused_at_once() -> None:
    """A file whose header is none is not sent anywhere."""
    with pytest.raises(ImageError, match="not an image"):
        ImageInput(b"no image", FORM)


def test_scales_that_do_not_fit_fail_the_request_with_a_reason(site: WatchedSite) -> None:
    """A plan whose scales are not those of the cut costs requests, never an agent."""
    site.adopt(
        packed(plan_of(("pi", 0, 3), ("pc", 3, 10), way_back=("pc", "pi")), "raw", "int8", scales=(SCALE, SCALE))
    )
    assert "int8 needs a scale for each float tensor" in (site.ask().report.error or "")
    site.adopt(packed(plan_of(("pc", 0, 10), way_back=("pc", "pi"), epoch=2), "int8", scales=()))
    assert "int8 needs a scale for each float tensor" in (site.ask().report.error or "")
    site.adopt(plan_of(("pc", 0, 10), way_back=("pc", "pi"), epoch=3))
    np.testing.assert_array_equal(outputs(site.ask()), [10.0, 10.0, 10.0])


def test_a_stage_refuses_what_is_not_packed_as_its_plan_says(site: WatchedSite) -> None:
    """Bytes that a peer sends under a plan are held against its codec, and its request hears of it."""
    plan = packed(plan_of(("pi", 0, 3), ("pc", 3, 10), way_back=("pc", "pi")), "raw", "raw+zstd")
    site.adopt(plan)
    site.nodes["pi"].fallbacks.add((3, 10))
    site.held = []
    ended = site.begin()
    assert eventually(lambda: site.held)
    [(_, _, sent)] = site.held
    assert isinstance(sent, TensorsMessage)
    site.held = None
    site.nodes["pc"].pipeline.arrive(TensorsMessage(sent.route, (np.zeros(9, np.uint8),), sent.stages), "pi")
    finished = ended.get(timeout=10)
    assert "cannot be decompressed by zstd" in (finished.report.fallback or "")
    np.testing.assert_array_equal(outputs(finished), [10.0, 10.0, 10.0])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((80, 60, 1), np.uint8),
        np.zeros((80, 60, 3), np.int8),
        np.zeros((2, 80, 60, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (4096, 4096, 3)),
    ],
    ids=["channels", "type", "batch", "size"],
)
@pytest.mark.parametrize("codec", ["uint8", "jpeg"])
def test_pixels_of_another_form_are_refused(array: np.ndarray, codec: CodecName) -> None:
    """Only uint8 pixels at the model's size are an image, and no more of them than a client may send."""
    with pytest.raises(CodecError):
        Packing(codec, (), "raw", (), FORM).unpack([array], [IMAGE_SPEC])


def test_an_image_codec_needs_a_model_that_takes_images() -> None:
    """Where the model's form is not known, or it takes several inputs, there is one kind of error."""
    with pytest.raises(CodecError, match="takes no image"):
        Packing("uint8", (), "raw", (), None).unpack([np.zeros((80, 60, 3), np.uint8)], [IMAGE_SPEC])
    with pytest.raises(CodecError, match="takes no image"):
        Packing("jpeg", (), "raw", (), FORM).unpack([np.zeros(3, np.uint8)] * 2, [IMAGE_SPEC] * 2)


def test_plans_without_codecs_pack_nothing() -> None:
    """As all plans of older coordinators are."""
    hops = route(plan_of(("laptop", 0, 5), ("pc", 5, 10), way_back=("pc", "pi")))
    assert {(hop.codec, hop.scales) for hop in hops} == {("raw", ())}
    assert packed_inputs(INPUT, "raw")[0] is INPUT[0]
