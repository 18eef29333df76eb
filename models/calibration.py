"""The images from which int8 conversion learns each tensor's range: photographs, cropped and mirrored to enough."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from models.errors import ImageError
from models.images import load_image

SAMPLES = 32
MAX_SAMPLES = 500
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
_LEAST_CROP = 0.4


def find_images(places: Sequence[Path]) -> tuple[Path, ...]:
    """The images named, and in the order of their names those in directories named; ImageError where there is none."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
            if not inside:
                raise ImageError(f"the directory {place} has no images ({', '.join(sorted(_IMAGE_SUFFIXES))})")
            found.extend(inside)
        elif place.is_file():
            found.append(place)
        else:
            raise ImageError(f"there is no image {place}")
    return tuple(found)


def calibration_samples(paths: Sequence[Path], count: int = SAMPLES) -> Iterator[Image.Image]:
    """Each image whole (the first 500), then random crops of them, half of them mirrored, until there are `count`.

    The crops are the same at every call. ImageError where an image cannot be read.
    """
    kept: list[Image.Image] = []
    for path in paths[:MAX_SAMPLES]:
        image = load_image(path)
        yield image
        if len(paths) < count:
            kept.append(image)
    generator = np.random.default_rng(0)
    for number in range(count - len(paths)):
        image = kept[number % len(kept)]
        width, height = image.size
        share = generator.uniform(_LEAST_CROP, 1.0)
        crop_width, crop_height = max(1, round(width * share)), max(1, round(height * share))
        left = int(generator.integers(width - crop_width + 1))
        top = int(generator.integers(height - crop_height + 1))
        crop = image.crop((left, top, left + crop_width, top + crop_height))
        yield ImageOps.mirror(crop) if generator.random() < 0.5 else crop
