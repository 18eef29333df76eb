"""How tensors travel under a plan: what a stage unpacks before its run and packs after it, and an image as the input.

The codecs themselves are `models.codecs`' and `models.images`'; which transfer has which, the plan says.
"""

import functools
import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from broker.messages import MAX_IMAGE_BYTES, CodecName, Plan, TensorScale
from edge_agent.routes import Hop, route
from models.codec_figures import IMAGE_CODECS, Scale
from models.codec_graph import AS_THEY_ARE, GraphCodec
from models.codecs import number_of, pack, unpack
from models.errors import CodecError, ModelError
from models.graph import read_graph
from models.image_form import ImageForm, image_form
from models.images import check_image, goes_as_file
from models.runtime import TensorSpec

Arrays: TypeAlias = tuple[np.ndarray[Any, Any], ...]

FORMS_KEPT = 64


class ImageInput:
    """An image file that is a request's input; it becomes pixels, and then a tensor, where and when that is needed."""

    def __init__(self, file: bytes, form: ImageForm) -> None:
        """ImageError where the file's header is that of no image that can be read."""
        self._file_pixels = check_image(file)
        self.file = file
        self._form = form
        self.nbytes = len(file) + math.prod(form.shape) * (1 + np.dtype(form.dtype).itemsize)
        """What it takes of memory once all is made of it."""

    @cached_property
    def pixels(self) -> np.ndarray[Any, Any]:
        """uint8, (height, width, 3 or 1); ImageError where the file cannot be read after all."""
        return self._form.pixels_of(self.file)

    @cached_property
    def tensor(self) -> np.ndarray[Any, Any]:
        """The model's input; ImageError as `pixels`."""
        return self._form.tensor_of(self.pixels)

    @property
    def goes_as_file(self) -> bool:
        """Whether it had better travel as its file than as its pixels."""
        return goes_as_file(len(self.file), self._file_pixels, self._form.shape)


Inputs: TypeAlias = Arrays | ImageInput
"""What a request begins with: the model's inputs, or the image that they are made of."""


def packed_inputs(inputs: Inputs, codec: CodecName, scales: Sequence[TensorScale] = ()) -> Arrays:
    """A request's inputs as they travel; those that came as tensors travel raw where the codec is of an image.

    Under `jpeg` an image goes as its file or, where that is better, as its pixels; the reader tells the two apart by
    their dimensions. ImageError where the image cannot be read, CodecError where the codec cannot be applied.
    """
    if isinstance(inputs, ImageInput):
        if codec == "jpeg" and inputs.goes_as_file:
            return (np.frombuffer(inputs.file, np.uint8),)
        if codec in IMAGE_CODECS:
            return (inputs.pixels,)
        inputs = (inputs.tensor,)
    return inputs if codec == "raw" or codec in IMAGE_CODECS else pack(inputs, codec, scales)


def input_fault(inputs: Inputs) -> str | None:
    """Why an image cannot be made into the model's input, so that no stage is to blame; None where it can."""
    try:
        packed_inputs(inputs, "raw")
    except ModelError as error:
        return str(error)
    return None


def inputs_bytes(inputs: Inputs) -> int:
    """What a request's inputs take of memory."""
    return inputs.nbytes if isinstance(inputs, ImageInput) else sum(tensor.nbytes for tensor in inputs)


def _no_room() -> None:
    """Memory has to be made."""


@dataclass(frozen=True, slots=True)
class Packing:
    """What is done around a stage's run: how the tensors came that it takes, and how those are to go that it gives."""

    taken: CodecName
    taken_scales: tuple[TensorScale, ...]
    given: CodecName
    given_scales: tuple[TensorScale, ...]
    form: ImageForm | None = None
    """The model's input; None where that is no image, or the stage does not begin with it."""

    def unpack(
        self,
        arrays: Sequence[np.ndarray[Any, Any]],
        specs: Sequence[TensorSpec],
        lend: Callable[[], Arrays | None] = _no_room,
    ) -> Arrays:
        """The inputs of a segment of these specs. ModelError where the arrays cannot be unpacked into them.

        An image is written to the memory that `lend` gives for them, where it gives any.
        """
        if self.taken in IMAGE_CODECS:
            return (self._image_tensor(arrays, specs, lend),)
        return unpack(arrays, specs, self.taken, self.taken_scales)

    def pack(self, arrays: Sequence[np.ndarray[Any, Any]]) -> Arrays:
        """A segment's outputs as they travel. CodecError where the codec cannot be applied."""
        return pack(arrays, self.given, self.given_scales)

    def _image_tensor(
        self,
        arrays: Sequence[np.ndarray[Any, Any]],
        specs: Sequence[TensorSpec],
        lend: Callable[[], Arrays | None],
    ) -> np.ndarray[Any, Any]:
        if len(arrays) != 1 or len(specs) != 1 or self.form is None:
            raise CodecError(f"{len(arrays)} tensors came as {self.taken}, for a segment that takes no image")
        [array], [spec], form = arrays, specs, self.form
        if array.ndim == len(spec.shape) and array.dtype == spec.dtype:
            return array  # of a request whose input came as a tensor
        if array.dtype != np.uint8 or array.nbytes > MAX_IMAGE_BYTES:
            raise CodecError(f"{array.dtype} of {array.nbytes} bytes came as {self.taken}, which is no image")
        pixels = form.pixels_of(array.tobytes()) if self.taken == "jpeg" and array.ndim == 1 else array
        if pixels.shape != form.shape[1:]:
            raise CodecError(f"an image of shape {list(array.shape)} came, where {list(form.shape[1:])} is due")
        # Lent as late as can be: until it is run, no other request's tensors are received there.
        lent = lend() if form.dtype == spec.dtype == "float32" and form.shape == spec.shape else None
        return form.tensor_of(pixels, lent[0] if lent is not None else None)


@dataclass(frozen=True, slots=True)
class Ends:
    """How a segment's own graph writes its float tensors where it takes and where it gives them."""

    taken: GraphCodec = AS_THEY_ARE
    given: GraphCodec = AS_THEY_ARE

    @property
    def word(self) -> str:
        """A name for files; empty where the graph writes nothing otherwise."""
        return "" if self == PLAIN else hashlib.sha256(repr(self).encode()).hexdigest()[:16]


PLAIN: Final = Ends()


@functools.lru_cache(maxsize=256)
def computing_ends(plan: Plan) -> tuple[Ends, ...]:
    """For each hop of a plan, what a segment there can do of its codecs itself; the rest is `stage_packing`'s.

    Every conversion of numbers is: in the graph none takes longer than beside it, and most take a fraction of that
    (benchmarks/codecs.py). A segment that takes float16 or int8 says so in its inputs, which `Packing.unpack` heeds.
    """
    hops = route(plan)
    return tuple(
        PLAIN
        if hop.relays
        else Ends(_graph_codec(hop), _graph_codec(hops[number + 1]) if hop is not hops[-1] else AS_THEY_ARE)
        for number, hop in enumerate(hops)
    )


def _graph_codec(hop: Hop) -> GraphCodec:
    number = "raw" if hop.codec in IMAGE_CODECS else number_of(hop.codec)
    if number != "int8":
        return GraphCodec(number)
    return GraphCodec(number, tuple(Scale(scale=one.scale, zero_point=one.zero_point) for one in hop.scales))


def stage_packing(plan: Plan, hop: int, form_of: Callable[[str], ImageForm | None]) -> Packing | None:
    """What the stage at a hop of a plan has to unpack and pack; None where all is raw. `form_of` is by the model."""
    hops = route(plan)
    onward = hops[hop + 1] if hop + 1 < len(hops) else None
    return packing_between(hops[hop], onward, lambda: form_of(plan.model.sha256))


def packing_between(here: Hop, onward: Hop | None, form: Callable[[], ImageForm | None]) -> Packing | None:
    """The packing of a segment that takes what goes to `here` and gives what goes `onward` (None: the result)."""
    given, scales = (onward.codec, onward.scales) if onward is not None else ("raw", ())
    if here.codec == given == "raw":
        return None
    return Packing(here.codec, here.scales, given, scales, form() if here.codec in IMAGE_CODECS else None)


class ImageForms:
    """How models take images, by their sha256, read once from their files; may be used by several threads."""

    def __init__(self, path_of: Callable[[str], Path | None]) -> None:
        """`path_of` is where a model's file lies, if it is here."""
        self._path_of = path_of
        self._lock = threading.Lock()
        self._known: dict[str, ImageForm] = {}

    def of(self, sha256: str) -> ImageForm | None:
        """None where the model is not here, or takes no single input. ModelError where it cannot be read."""
        with self._lock:
            known = self._known.get(sha256)
            path = self._path_of(sha256) if known is None else None
            form = image_form(path, read_graph(path)) if path is not None else None
            if form is None:
                return known
            if len(self._known) >= FORMS_KEPT:
                del self._known[next(iter(self._known))]
            self._known[sha256] = form
            return form
