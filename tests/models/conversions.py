"""Run as a script: makes small models, converts them in one TensorFlow process, and writes what came of each as JSON.

A test process of its own would take TensorFlow's threads, warnings and seconds for every case.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

from models.convert import convert_model, convert_zoo_model
from models.errors import ModelError
from models.preprocessing import PREPROCESSINGS
from models.weights import with_random_weights
from models.zoo import ZooModel

outcomes: dict[str, str] = {}


@contextlib.contextmanager
def case(name: str) -> Iterator[None]:
    outcomes[name] = "done"
    try:
        yield
    except ModelError as error:
        outcomes[name] = f"{type(error).__name__}: {error}"


def small_classifier() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.layers.Input((32, 48, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ],
        name="small",
    )


def normalised_classifier() -> keras.Model:
    return keras.Sequential(
        [
            keras.layers.Input((32, 48, 3)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )


def saved_module(directory: Path, function: Callable[..., object], *specs: tf.TensorSpec) -> Path:
    module = tf.Module()
    module.serve = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serve})
    return directory


def convert_all(directory: Path) -> None:
    keras_file = directory / "small.keras"
    small_classifier().save(keras_file)
    steps: list[str] = []
    for quantize in ("none", "fp16", "dynamic", "int8"):
        with case(quantize):
            convert_model(
                keras_file,
                quantize,
                directory / f"{quantize}.tflite",
                preprocessing=PREPROCESSINGS["caffe"],
                labels=["red", "green", "blue", "grey", "none"],
                report=steps.append,
            )
    outcomes["steps"] = "; ".join(steps[:3])
    np.save(directory / "image.npy", image := np.random.default_rng(0).random((1, 32, 48, 3), np.float32))
    np.save(directory / "expected.npy", keras.saving.load_model(keras_file)(image).numpy())

    with case("again"):
        convert_model(keras_file, "int8", directory / "again.tflite", preprocessing=PREPROCESSINGS["caffe"])
    first, second = keras.layers.Input((4,), name="first"), keras.layers.Input((6,), name="second")
    keras.Model([first, second], keras.layers.Concatenate()([first, second])).save(directory / "two.keras")
    with case("two inputs"):
        convert_model(directory / "two.keras", "none", directory / "two.tflite")
    with case("two inputs int8"):
        convert_model(directory / "two.keras", "int8", directory / "two-int8.tflite")

    small_classifier().export(directory / "saved", verbose=False)
    with case("saved model"):
        convert_model(directory / "saved", "none", directory / "saved.tflite")
    flex = saved_module(
        directory / "flex", lambda x: tf.linalg.det(x) + tf.math.erfc(x)[:, 0, 0], tf.TensorSpec((None, 3, 3))
    )
    (directory / "flex.tflite").write_bytes(b"what was there before")
    with case("flex"):
        convert_model(flex, "none", directory / "flex.tflite")
    tf.saved_model.save(tf.Module(), str(directory / "unsigned"))
    with case("no signature"):
        convert_model(directory / "unsigned", "none", directory / "x.tflite")
    (directory / "broken").mkdir()
    (directory / "broken" / "saved_model.pb").write_bytes(b"not a protocol buffer")
    with case("broken saved model"):
        convert_model(directory / "broken", "none", directory / "x.tflite")
    (directory / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n and then no HDF5")
    with case("broken keras file"):
        convert_model(directory / "broken.h5", "none", directory / "x.tflite")
    keras.Sequential([keras.layers.Lambda(lambda x: x + 1)]).save(directory / "lambda.keras")
    with case("code in a keras file"):
        convert_model(directory / "lambda.keras", "none", directory / "x.tflite")

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        os.environ[name] = "http://127.0.0.1:9"
    with case("imagenet out of reach"):
        convert_zoo_model("mobilenetv2", "none", "imagenet", directory / "x.tflite")
    with case("weights that do not fit"):
        convert_zoo_model("mobilenetv2", "none", keras_file, directory / "x.tflite")
    normalised = ZooModel("normalised", PREPROCESSINGS["tf"], False, lambda weights: normalised_classifier())
    drawn = [with_random_weights(normalised, seed).get_weights() for seed in (0, 0, 1)]
    same = [all(map(np.array_equal, drawn[0], other)) for other in drawn[1:]]
    outcomes["same and other seed"] = str(same)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    os.environ["KERAS_HOME"] = str(place / "keras-home")
    convert_all(place)
    (place / "outcomes.json").write_text(json.dumps(outcomes))
