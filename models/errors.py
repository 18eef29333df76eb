"""The errors of the models package.

ModelError (SplitrailError)
├── CacheError (OSError)              a file or directory of the model cache cannot be used
├── FetchError (OSError)              a model could not be downloaded, or is not what was promised
├── ImageError (ValueError)           an image that cannot be read, or that a model's input cannot take
├── NotAClassifierError (ValueError)  an output that holds no class scores
└── ConversionError (ValueError)      a model that cannot become the .tflite that was asked for
    └── WeightsUnavailableError       published weights that cannot be fetched here
"""

from splitrail.errors import SplitrailError


class ModelError(SplitrailError):
    """A fault of a model file, or of what is made from one."""


class CacheError(ModelError, OSError):
    """A file or directory of the model cache cannot be used."""


class FetchError(ModelError, OSError):
    """The model behind `url` could not be downloaded, or is not what was promised; `reason` says why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot fetch the model at {url}: {reason}")
        self.url = url
        self.reason = reason


class ImageError(ModelError, ValueError):
    """An image cannot be read, or does not suit a model's input."""


class NotAClassifierError(ModelError, ValueError):
    """A model's output holds no class scores."""


class ConversionError(ModelError, ValueError):
    """A model cannot become the .tflite that was asked for."""


class WeightsUnavailableError(ConversionError):
    """Published weights cannot be fetched here; other weights can be named instead."""
