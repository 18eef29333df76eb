"""Images: read within bounds and upright, then scaled, normalised and quantised as a model takes them."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import ImageError
from models.graph import Quantization
from models.images import MAX_PIXELS, from_pixels, load_image, sample_photographs, to_input, to_pixels
from models.preprocessing import PREPROCESSINGS, Preprocessing

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_the_sample_photographs_are_there(photographs: tuple[Path, ...]) -> None:
    """Both sample photographs are read, as RGB of their size."""
    assert photographs == sample_photographs()
    assert [(path.name, load_image(path).size) for path in photographs] == [
        ("china.jpg", (640, 427)),
        ("flower.jpg", (640, 427)),
    ]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_formats_of_photographs_are_read(kind: str) -> None:
    """The common formats give the same picture, within what the format loses."""
    image = load_image(encoded(Image.new("RGB", (20, 10), (200, 100, 50)), kind))
    assert (image.mode, image.size) == ("RGB", (20, 10))
    np.testing.assert_allclose(np.asarray(image).mean(axis=(0, 1)), (200, 100, 50), atol=4)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (4, 4), 128), "PNG", (128, 128, 128)),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255)),
        (Image.new("LA", (4, 4), (10, 255)), "PNG", (10, 10, 10)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "PNG", RED),
        (Image.new("RGB", (4, 4), BLUE).convert("P"), "PNG", BLUE),
        (Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG", (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 0x8000, np.uint16)), "PNG", (128, 128, 128)),
    ],
    ids=["grey", "bits", "grey and alpha", "transparent", "opaque", "palette", "CMYK", "16-bit grey"],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, int, int]) -> None:
    """Grey, palettes, CMYK and 16 bits become RGB; what is transparent shows white."""
    loaded = load_image(encoded(image, kind))
    assert loaded.mode == "RGB"
    assert loaded.getpixel((1, 1)) == expected


def test_a_turned_photograph_is_upright() -> None:
    """The orientation that a camera notes in EXIF is carried out."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right of the file
    image = load_image(encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif))
    assert image.size == (10, 20)


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", b"GIF89a", encoded(Image.new("RGB", (64, 64)))[:60], b"P6 2 2 255 " + bytes(12)],
    ids=["empty", "text", "a header only", "truncated", "a format that is not taken"],
)
def test_what_is_no_image_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    """Bytes that Pillow cannot read are an ImageError that names the file and the formats."""
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"x\.png is not an image that Pillow can read.*JPEG, PNG"):
        load_image(path)
    with pytest.raises(ValueError, match="the image is not an image"):
        load_image(data)


def test_a_missing_image_is_one_sentence(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ImageError, match=r"cannot read the image .*absent\.jpg: No such file"):
        load_image(tmp_path / "absent.jpg")


@pytest.mark.parametrize("side", [8_000, 50_000])
def test_a_decompression_bomb_is_refused(side: int) -> None:
    """An image of more pixels than are taken is refused by its header, before anything is unpacked."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    assert side * side > MAX_PIXELS
    with pytest.raises(ImageError):
        load_image(png + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """A file above the bound is not read into memory."""
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ImageError, match=r"large\.jpg is larger than the 64000000 bytes"):
        load_image(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "GIF"]), st.integers(0, 200))
def test_spoilt_files_raise_nothing_else(noise: bytes, kind: str, place: int) -> None:
    """Whatever bytes come in, the outcome is an image or an ImageError."""
    data = bytearray(encoded(Image.new("RGB", (8, 8), RED), kind))
    data[place : place + len(noise)] = noise
    with contextlib.suppress(ImageError):
        assert load_image(bytes(data)).mode == "RGB"


def striped() -> Image.Image:
    """Red at the left, green in the middle, blue at the right; wide, so that the sides are cropped."""
    image = Image.new("RGB", (300, 100), GREEN)
    image.paste(RED, (0, 0, 100, 100))
    image.paste(BLUE, (200, 0, 300, 100))
    return image


def test_the_centre_is_kept() -> None:
    """A square input sees the middle of a wide picture only."""
    array = to_input(striped(), (1, 16, 16, 3), np.uint8)
    assert array.shape == (1, 16, 16, 3)
    assert (array == np.array(GREEN, np.uint8)).all()


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64), st.integers(1, 64))
def test_any_size_fits(width: int, height: int, rows: int, columns: int) -> None:
    """Any picture fills any input, whatever their proportions."""
    array = to_input(Image.new("RGB", (width, height), (9, 8, 7)), (1, rows, columns, 3), np.uint8)
    assert array.shape == (1, rows, columns, 3)
    assert (array == (9, 8, 7)).all()


def test_without_preprocessing_each_type_has_its_convention() -> None:
    """Unless the file says otherwise, floats run from -1 to 1, uint8 holds the pixels and int8 the pixels less 128."""
    image = Image.new("RGB", (8, 8), (0, 128, 255))
    shape = (1, 2, 2, 3)
    np.testing.assert_allclose(to_input(image, shape, np.float32)[0, 0, 0], (-1.0, 0.5 / 127.5, 1.0), rtol=1e-6)
    assert to_input(image, shape, np.float16).dtype == np.float16
    assert to_input(image, shape, np.uint8)[0, 0, 0].tolist() == [0, 128, 255]
    assert to_input(image, shape, np.int8)[0, 0, 0].tolist() == [-128, 0, 127]


def test_the_conventions_agree() -> None:
    """The int8 convention is what quantising the float convention with a full-range tensor gives, within a step."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    shape = (1, 32, 32, 3)
    plain = to_input(image, shape, np.int8).astype(int)
    quantised = to_input(image, shape, np.int8, Quantization(2 / 255, 0), PREPROCESSINGS["tf"]).astype(int)
    assert np.abs(plain - quantised).max() <= 1


def test_preprocessing_is_carried_out() -> None:
    """Mean, spread and the order of the channels are the model's."""
    array = to_input(Image.new("RGB", (8, 8), (10, 20, 30)), (1, 2, 2, 3), np.float32, None, PREPROCESSINGS["caffe"])
    np.testing.assert_allclose(array[0, 0, 0], (30 - 103.939, 20 - 116.779, 10 - 123.68), rtol=1e-5)


@given(st.sampled_from([np.uint8, np.int8]), st.floats(0.001, 1.0), st.integers(-100, 100), st.integers(0, 255))
def test_quantised_values_stand_for_the_real_ones(kind: type, scale: float, zero_point: int, pixel: int) -> None:
    """A quantised input is the real value within half a step, or the end of the type's range."""
    preprocessing = Preprocessing((100.0, 100.0, 100.0), (50.0, 50.0, 50.0))
    image = Image.new("RGB", (4, 4), (pixel, pixel, pixel))
    value = int(to_input(image, (1, 1, 1, 3), kind, Quantization(scale, zero_point), preprocessing)[0, 0, 0, 0])
    real = (pixel - 100.0) / 50.0
    limits = np.iinfo(kind)
    assert value in (limits.min, limits.max) or abs((value - zero_point) * scale - real) <= scale * 0.5001


def test_a_grey_input_takes_the_brightness() -> None:
    """An input of one channel gets the picture in grey."""
    array = to_input(Image.new("RGB", (8, 8), (40, 40, 40)), (1, 4, 4, 1), np.uint8)
    assert array.shape == (1, 4, 4, 1)
    assert (array == 40).all()


@pytest.mark.parametrize("shape", [(1, 10), (1, 3, 8, 8), (2, 8, 8, 3), (1, -1, -1, 3), (1, 0, 0, 3), ()])
def test_an_input_that_takes_no_image_is_refused(shape: tuple[int, ...]) -> None:
    """A model whose input has another shape is told apart from a wrong image."""
    with pytest.raises(ImageError, match="the model's input has the shape"):
        to_input(Image.new("RGB", (8, 8)), shape, np.float32)


def test_an_input_of_another_type_is_refused() -> None:
    """Images go into floats and bytes."""
    with pytest.raises(ImageError, match="the model's input is of type int64"):
        to_input(Image.new("RGB", (8, 8)), (1, 4, 4, 3), np.int64)


@pytest.mark.parametrize("name", PREPROCESSINGS)
@pytest.mark.parametrize("shape", [(1, 32, 48, 3), (1, 48, 32, 1)])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_an_image_may_travel_as_pixels(
    photographs: tuple[Path, ...], name: str, shape: tuple[int, ...], dtype: str
) -> None:
    """The pixels at the model's size, a byte each, give elsewhere what the image itself gives here, bit for bit."""
    image, quantization = load_image(photographs[0]), Quantization(0.0078125, -1)
    pixels = to_pixels(image, shape)
    assert (pixels.dtype, pixels.shape) == (np.uint8, shape[1:])
    there = from_pixels(pixels, dtype, quantization, PREPROCESSINGS[name])
    here = to_input(image, shape, dtype, quantization, PREPROCESSINGS[name])
    assert (there.dtype, there.shape, there.tobytes()) == (here.dtype, here.shape, here.tobytes())


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(sorted(PREPROCESSINGS)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
)
def test_every_pixel_becomes_its_normalised_value(seed: int, name: str, shape: tuple[int, int, int]) -> None:
    """Whatever the shape, each pixel becomes (p - mean) / std of its channel, in the order that the model takes."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    wanted = PREPROCESSINGS[name]
    mean, std = np.array(wanted.mean, np.float32), np.array(wanted.std, np.float32)
    if shape[2] == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    ordered = pixels[..., ::-1] if wanted.channels == "bgr" else pixels
    np.testing.assert_array_equal(from_pixels(pixels, np.float32, None, wanted)[0], (ordered - mean) / std)
    room = np.empty((1, *shape), np.float32)
    assert from_pixels(pixels, np.float32, None, wanted, room) is room
    np.testing.assert_array_equal(room[0], (ordered - mean) / std)
