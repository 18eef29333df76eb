"""Codecs: what travels is smaller, comes back within the codec's loss, and bad bytes are refused."""

import lz4.block
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from models.codec_figures import IMAGE_CODECS, NAMES, CodecName, Scale
from models.codecs import pack, unpack
from models.errors import CodecError
from models.runtime import TensorSpec

TENSOR_CODECS = tuple(name for name in NAMES if name not in IMAGE_CODECS)
LOSSLESS = ("raw", "raw+lz4", "raw+zstd")
FINITE = st.floats(-1e4, 1e4, width=32)


def spec(array: np.ndarray, *, signature: tuple[int, ...] | None = None) -> TensorSpec:
    return TensorSpec("cut", array.shape, array.dtype.name, array.shape if signature is None else signature)


def there_and_back(array: np.ndarray, codec: CodecName, scales: tuple[Scale, ...] = ()) -> np.ndarray:
    [back] = unpack(pack([array], codec, scales), [spec(array)], codec, scales)
    return back


def floats(shape: tuple[int, ...] = (1, 5, 7)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("codec", LOSSLESS)
@given(
    arrays_of.arrays(
        st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int32, np.bool_]),
        arrays_of.array_shapes(min_dims=0, max_dims=4, max_side=6),
    )
)
def test_lossless_codecs_change_nothing(codec: CodecName, array: np.ndarray) -> None:
    """Every array of every type comes back bit for bit, with its shape."""
    back = there_and_back(array, codec)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize("codec", ["fp16", "fp16+lz4", "fp16+zstd"])
@given(arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_dims=4), elements=st.floats(width=32)))
def test_half_floats_are_rounded_to_the_nearest(codec: CodecName, array: np.ndarray) -> None:
    """Each value becomes the nearest half float, infinity where it is too large for one."""
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(there_and_back(array, codec), expected)


@pytest.mark.parametrize("codec", ["int8", "int8+lz4", "int8+zstd"])
@given(
    arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_dims=4), elements=FINITE),
    st.floats(2.0**-20, 100.0, width=32),
    st.integers(-128, 127),
)
def test_int8_is_within_half_a_step(codec: CodecName, array: np.ndarray, scale: float, zero_point: int) -> None:
    """Within the range of the scale a value is off by half a step at most, and beyond it is the range's end."""
    back = there_and_back(array, codec, (Scale(scale=scale, zero_point=zero_point),))
    least, most = scale * (-128 - zero_point), scale * (127 - zero_point)
    clipped = np.clip(array.astype(np.float64), least, most)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, clipped, atol=scale * 0.5001 + 1e-6 * max(abs(least), abs(most)))


def test_what_is_no_number_has_some_code() -> None:
    """Infinities take the ends of the range, and what is no number does no harm."""
    array = np.array([np.nan, np.inf, -np.inf], np.float32)
    back = there_and_back(array, "int8", (Scale(scale=1.0, zero_point=0),))
    assert back[1:].tolist() == [127.0, -128.0]


@pytest.mark.parametrize("codec", TENSOR_CODECS)
def test_each_float_tensor_has_its_own_scale(codec: CodecName) -> None:
    """At a cut of several tensors the scales are those of the floats, in order; the others travel as they are."""
    tensors = [floats(), np.arange(6, dtype=np.int32), 100 * floats((3, 2))]
    scales = (Scale(scale=0.05, zero_point=3), Scale(scale=5.0, zero_point=-7))
    packed = pack(tensors, codec, scales)
    back = unpack(packed, [spec(tensor) for tensor in tensors], codec, scales)
    np.testing.assert_allclose(back[0], tensors[0], atol=0.03)
    np.testing.assert_array_equal(back[1], tensors[1])
    np.testing.assert_allclose(back[2], tensors[2], atol=3.0)


@pytest.mark.parametrize(
    ("codec", "dtype"), [("raw", "float32"), ("fp16", "float16"), ("int8", "int8"), ("int8+zstd", "uint8")]
)
def test_what_travels_has_the_type_of_its_codec(codec: CodecName, dtype: str) -> None:
    """Uncompressed tensors keep their shape in a shorter type; a compressed one is bytes in a row."""
    [packed] = pack([floats()], codec, (Scale(scale=0.05, zero_point=0),))
    assert packed.dtype == dtype
    assert packed.shape == ((1, 5, 7) if "+" not in codec else (packed.size,))


@pytest.mark.parametrize(("codec", "dtype"), [("fp16", "float16"), ("int8", "int8"), ("int8+lz4", "int8")])
def test_a_segment_may_take_what_travels(codec: CodecName, dtype: str) -> None:
    """Where the segment itself takes float16 or int8, a tensor is only decompressed, and needs no scale."""
    array = floats()
    packed = pack([array], codec, (Scale(scale=0.05, zero_point=0),))
    [taken] = unpack(packed, [TensorSpec("cut", array.shape, dtype, array.shape)], codec)
    assert (taken.dtype, taken.shape) == (np.dtype(dtype), array.shape)
    assert pack([taken], codec)[0].tobytes() == packed[0].tobytes()


@pytest.mark.parametrize("codec", TENSOR_CODECS)
def test_a_tensor_too_many_is_refused(codec: CodecName) -> None:
    """As many tensors must come as the segment takes."""
    with pytest.raises(CodecError, match="2 packed tensors came where 1 are due"):
        unpack([floats(), floats()], [spec(floats())], codec)


@pytest.mark.parametrize("scales", [(), (Scale(scale=1.0, zero_point=0),) * 2])
def test_scales_of_another_cut_are_refused(scales: tuple[Scale, ...]) -> None:
    """int8 without a scale for each float tensor is an error on either side."""
    with pytest.raises(CodecError, match=f"there are 1, and {len(scales)} scales"):
        pack([floats()], "int8", scales)
    with pytest.raises(CodecError, match=f"there are 1, and {len(scales)} scales"):
        unpack([floats().astype(np.int8)], [spec(floats())], "int8", scales)


@pytest.mark.parametrize("codec", sorted(IMAGE_CODECS))
def test_codecs_of_images_pack_no_tensors(codec: CodecName) -> None:
    """uint8 and jpeg are for an image that is the model's input."""
    with pytest.raises(CodecError, match="packs an image"):
        pack([floats()], codec)


@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_another_type_than_the_codecs_is_refused(codec: CodecName) -> None:
    """Tensors that came raw are not taken for packed ones."""
    with pytest.raises(CodecError, match="came as float32"):
        unpack([floats()], [spec(floats())], codec, (Scale(scale=1.0, zero_point=0),))


@pytest.mark.parametrize("codec", ["raw+lz4", "raw+zstd"])
def test_sizes_known_only_at_run_time_do_not_travel_compressed(codec: CodecName) -> None:
    """The reader bounds what it makes by the sizes that it knows; without them it refuses."""
    array = floats()
    with pytest.raises(CodecError, match="known only at run time"):
        unpack(pack([array], codec), [spec(array, signature=(1, -1, 7))], codec)


@pytest.mark.parametrize("codec", ["raw+lz4", "raw+zstd"])
@pytest.mark.parametrize("length", [34, 36, 1_000_000])
def test_another_length_than_is_due_is_refused(codec: CodecName, length: int) -> None:
    """Bytes that decompress to less or more than the tensor needs are no tensor."""
    with pytest.raises(CodecError):
        unpack(pack([floats((length,))], codec), [spec(floats((35,)))], codec)


def test_a_frame_that_lies_allocates_nothing() -> None:
    """A zstd frame that tells of a terabyte is refused before a byte of it is made."""
    frame = bytearray(zstandard.ZstdCompressor().compress(bytes(2**20)))
    parameters = zstandard.get_frame_parameters(bytes(frame))
    at = frame.index((2**20).to_bytes(4, "little"))
    frame[at : at + 4] = (2**31).to_bytes(4, "little")
    assert zstandard.get_frame_parameters(bytes(frame)).content_size == 2**31 != parameters.content_size
    with pytest.raises(CodecError, match="tells of 2147483648 bytes"):
        unpack([np.frombuffer(bytes(frame), np.uint8)], [spec(floats())], "raw+zstd")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_are_a_tensor(compression: str, content: bytes) -> None:
    """Whatever comes, there is a tensor of the right shape or one kind of error."""
    array = floats()
    codec: CodecName = "raw+lz4" if compression == "lz4" else "raw+zstd"
    try:
        [back] = unpack([np.frombuffer(content, np.uint8)], [spec(array)], codec)
    except CodecError:
        return
    assert (back.dtype, back.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("damaged", [np.zeros((2, 3), np.uint8), np.zeros(3, np.int8)])
def test_what_is_no_row_of_bytes_is_refused(damaged: np.ndarray) -> None:
    """A compressed tensor is uint8 of one dimension."""
    with pytest.raises(CodecError, match="not compressed"):
        unpack([damaged], [spec(floats())], "raw+lz4")


def test_compression_of_lz4_is_a_bare_block() -> None:
    """The length is the reader's to know, and does not travel."""
    array = np.zeros((1, 100), np.float32)
    [packed] = pack([array], "raw+lz4")
    assert lz4.block.decompress(packed.tobytes(), uncompressed_size=400) == array.tobytes()
