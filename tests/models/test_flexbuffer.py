"""The options of custom ops: every value within the buffer, or the whole is refused."""

import pytest

from models.flexbuffer import is_whole_flexbuffer

# {"a": 5, "b": [1, "xy"], "c": 2.5, "d": [1, 2, 3]}, as Google's flexbuffers.Builder writes it
WHOLE = bytes.fromhex(
    "6100620002787900020105041463006400030102030416150b0a00000600000001000000040000000500000023000000000020402200000006280e2c142601"
)


def test_a_whole_buffer_is_taken() -> None:
    """Maps, vectors, texts and numbers, as a converter writes them."""
    assert is_whole_flexbuffer(WHOLE)


@pytest.mark.parametrize("content", [b"", b"\0", b"\1\1", b"\1\1\3", b"\xff\x24\1", b"\0\xfc\1"])
def test_what_is_none_is_refused(content: bytes) -> None:
    """Nothing, a width that is none, a root that points before the buffer, and a type that is none."""
    assert not is_whole_flexbuffer(content)


def test_a_buffer_cut_short_is_refused() -> None:
    """The root stands last: without the first bytes its offsets lead out."""
    assert not any(is_whole_flexbuffer(WHOLE[length:]) for length in range(1, len(WHOLE) - 6))


def test_a_vector_within_itself_is_refused() -> None:
    """An offset of nothing makes a vector its own element; a reader would never come to an end."""
    assert not is_whole_flexbuffer(b"\1\0\x28\2\x28\1")
