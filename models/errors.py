"""The errors of the models package.

ModelError (SplitrailError)
├── ModelFileError (OSError)          a model file that cannot be opened, read or written
├── ModelFormatError (ValueError)     a file that is not a whole, valid .tflite
├── CutError (ValueError)             a segment that cannot be cut out of a model
├── UnsupportedOpError (RuntimeError) an op, or a version of one, that the runtime lacks
├── RuntimeMissingError (ImportError) no runtime for .tflite files is installed
├── SegmentInputError (ValueError)    arrays that do not fit a segment's inputs
├── SegmentRunError (RuntimeError)    the runtime could not load or run a segment
├── EvaluationError (ValueError)      a model, or a cut, at which codecs cannot be measured
├── CodecError (ValueError)           tensors that a codec cannot pack, or that are not what it packed
├── CacheError (OSError)              a file or directory of the model cache cannot be used
├── FetchError (OSError)              a model could not be downloaded, or is not what was promised
├── ServerAccessError (OSError)       the token for a model server, or the authority it is trusted by, cannot be used
├── ImageError (ValueError)           an image that cannot be read, or that a model's input cannot take
├── NotAClassifierError (ValueError)  an output that holds no class scores
└── ConversionError (ValueError)      a model that cannot become the .tflite that was asked for
    └── WeightsUnavailableError       published weights that cannot be fetched here
"""

from splitrail.errors import SplitrailError


class ModelError(SplitrailError):
    """A fault of a model file, or of what is made from one."""


class ModelFileError(ModelError, OSError):
    """A model file cannot be opened, read or written."""


class ModelFormatError(ModelError, ValueError):
    """A file is not a whole, valid .tflite, or one of a kind that Splitrail does not read."""


class CutError(ModelError, ValueError):
    """A segment cannot be cut out of a model; the message says why."""


class UnsupportedOpError(ModelError, RuntimeError):
    """The runtime lacks an op or its version; `kind` and `version` name it."""

    def __init__(self, message: str, kind: str, version: int) -> None:
        super().__init__(message)
        self.kind = kind
        self.version = version


class RuntimeMissingError(ModelError, ImportError):
    """No runtime for .tflite files is installed."""


class SegmentInputError(ModelError, ValueError):
    """The arrays given to a segment do not fit its inputs."""


class SegmentRunError(ModelError, RuntimeError):
    """The runtime could not load or run a segment."""


class EvaluationError(ModelError, ValueError):
    """The codecs of a model cannot be measured as asked; the message says why."""


class CodecError(ModelError, ValueError):
    """A codec cannot pack these tensors, or these bytes are not what it made."""


class CacheError(ModelError, OSError):
    """A file or directory of the model cache cannot be used."""


class FetchError(ModelError, OSError):
    """The model behind `url` could not be downloaded, or is not what was promised; `reason` says why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot fetch the model at {url}: {reason}")
        self.url = url
        self.reason = reason


class ServerAccessError(ModelError, OSError):
    """The file of a token, or of the authority that a server is trusted by, cannot be used."""


class ImageError(ModelError, ValueError):
    """An image cannot be read, or does not suit a model's input."""


class NotAClassifierError(ModelError, ValueError):
    """A model's output holds no class scores."""


class ConversionError(ModelError, ValueError):
    """A model cannot become the .tflite that was asked for."""


class WeightsUnavailableError(ConversionError):
    """Published weights cannot be fetched here; other weights can be named instead."""
