"""A file is verified whole before anything reads it: what lies outside, is misaligned or shares its room is refused."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import ModelFormatError
from models.flatbuffer import FlatBuffer
from models.modelfile import open_model
from models.schema import IDENTIFIER, Buffer, Model, SubGraph, Tensor
from models.verify import verify

NAMES = ("branchy", "branchy_int8", "dynamic_batch", "loops", "lstm", "signatures", "variables", "flex", "strings")


@pytest.fixture
def content(small_model: Callable[[str], Path]) -> bytearray:
    """A valid model."""
    return bytearray(small_model("branchy").read_bytes())


def refused(content: bytearray, words: str) -> None:
    with pytest.raises(ModelFormatError, match=words):
        verify(memoryview(bytes(content)), "model.tflite")


def root(content: bytearray) -> FlatBuffer:
    return FlatBuffer(memoryview(bytes(content)), "model.tflite")


@pytest.mark.parametrize("name", NAMES)
def test_models_of_the_converter_are_whole(name: str, small_model: Callable[[str], Path]) -> None:
    """Nothing that TensorFlow writes is refused."""
    verify(memoryview(small_model(name).read_bytes()), name)


def test_a_file_cut_short_anywhere_is_refused(content: bytearray) -> None:
    """Whatever the length at which a download broke off, something of the model is missed."""
    for length in range(8, len(content) - 64, 97):
        refused(content[:length], "not a valid .tflite")


def test_an_offset_beyond_the_file_is_refused(content: bytearray) -> None:
    """The root itself may point to nowhere."""
    content[0:4] = struct.pack("<I", 2**31)
    refused(content, "points to byte 2147483648")


def test_a_table_at_an_odd_place_is_refused(content: bytearray) -> None:
    """Processors that cannot read across their words would stop."""
    (position,) = struct.unpack_from("<I", content)
    content[0:4] = struct.pack("<I", position + 1)
    refused(content, "4 bytes wide stands at byte")


def test_a_vtable_that_claims_thousands_of_fields_is_refused(content: bytearray) -> None:
    """Each table could point to it, and each would cost its reading."""
    position = root(content).root().position
    vtable = position - struct.unpack_from("<i", content, position)[0]
    content[vtable : vtable + 2] = struct.pack("<H", 60_000)
    refused(content, "broken vtable")


def test_a_name_without_an_end_is_refused(content: bytearray) -> None:
    """A runtime reads a name until its NUL, wherever that is."""
    subgraph = next(root(content).root().tables(Model.SUBGRAPHS))
    target = next(subgraph.tables(SubGraph.TENSORS)).target(Tensor.NAME)
    assert target is not None
    (length,) = struct.unpack_from("<I", content, target)
    content[target + 4 + length] = 0x41
    refused(content, "has no end")


def test_a_vector_longer_than_the_file_is_refused_by_its_length(content: bytearray) -> None:
    """Weights are never read, and yet cannot lie about their size."""
    target = next(each.target(Buffer.DATA) for each in root(content).root().tables(Model.BUFFERS) if each.target(0))
    assert target is not None
    content[target : target + 4] = b"\xff\xff\xff\xff"
    refused(content, "runs past the end")


def test_tables_that_share_their_room_are_refused(content: bytearray) -> None:
    """A file of kilobytes cannot ask for the work of one of gigabytes: a thousand times the same subgraph."""
    copies = 4_000
    subgraph = next(root(content).root().tables(Model.SUBGRAPHS)).position
    vtable = struct.pack("<HHHHH2x", 10, 12, 4, 0, 8)  # version and subgraphs
    model = struct.pack("<iII", 12, 3, 4)
    behind = 8 + len(vtable) + len(model) + 4 + 4 * copies
    vector = struct.pack("<I", copies)
    for index in range(copies):
        vector += struct.pack("<I", behind + subgraph - (behind - 4 * (copies - index)))
    whole = struct.pack("<I4s", 8 + len(vtable), IDENTIFIER) + vtable + model + vector + bytes(content)
    refused(bytearray(whole), "more tables than it has room for")


def test_what_is_newer_than_the_schema_is_passed_over(content: bytearray) -> None:
    """An op with options of a kind that is not known yet is no reason to refuse the file as a file."""
    with_unknown = root(content)
    subgraph = next(with_unknown.root().tables(Model.SUBGRAPHS))
    operator = next(subgraph.tables(SubGraph.OPERATORS))
    at = operator.field(3, 1)
    assert at is not None
    content[at] = 250
    verify(memoryview(bytes(content)), "model.tflite")


def test_a_file_is_verified_when_it_is_opened(content: bytearray, tmp_path: Path) -> None:
    """Whoever opens a model, reads a verified one."""
    content[0:4] = struct.pack("<I", len(content) - 2)
    (tmp_path / "broken.tflite").write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"broken\.tflite"), open_model(tmp_path / "broken.tflite"):
        pass
