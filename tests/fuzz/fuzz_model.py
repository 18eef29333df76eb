"""Valid models of which a few fields are wrong: read, cut and sliced, without the runtime."""

from collections.abc import Iterator

import fuzz_tflite
from fuzz_seeds import tiny_models
from mutated_models import mutated


def run(data: bytes) -> None:
    """As any model file."""
    fuzz_tflite.run(mutated(list(tiny_models()), data))


def seeds() -> Iterator[bytes]:
    """Each model as it is."""
    for index in range(len(tiny_models())):
        yield bytes((index,))
        yield bytes((index, index * 7 % 256, 1, index % 4, 3))
