"""Builds the small .tflite files that the tests of `models` cut, one for each thing that a converter can leave.

Run as a script with a directory: TensorFlow's warnings and memory stay out of the tests' process.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf

layers = tf.keras.layers
EXTRA_OPS = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]


def branchy(batch: int | None = 1) -> tf.keras.Model:
    """Residual, branches, a concatenation, and two outputs of which one is early."""
    image = layers.Input((12, 12, 3), batch_size=batch)
    stem = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    early = layers.Dense(4)(layers.GlobalAveragePooling2D()(stem))
    left = layers.Conv2D(8, 1)(stem)
    right = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(stem)
    joined = layers.Concatenate()([layers.Add()([left, stem]), right])
    late = layers.Dense(5, activation="softmax")(layers.Flatten()(layers.MaxPooling2D()(joined)))
    return tf.keras.Model(image, [early, late])


def keras(
    model: tf.keras.Model, configure: Callable[[tf.lite.TFLiteConverter], None] = lambda converter: None
) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    configure(converter)
    return converter.convert()


def functions(module: tf.Module, *functions: tf.types.experimental.ConcreteFunction, flex: bool = False) -> bytes:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(list(functions), module)
    if flex:
        converter.target_spec.supported_ops = EXTRA_OPS
    return converter.convert()


def fp16(converter: tf.lite.TFLiteConverter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def dynamic_range(converter: tf.lite.TFLiteConverter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def int8(converter: tf.lite.TFLiteConverter) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    random = np.random.default_rng(1)
    converter.representative_dataset = lambda: (
        [random.standard_normal((1, 12, 12, 3), dtype=np.float32)] for _ in range(8)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def int16x8(converter: tf.lite.TFLiteConverter) -> None:
    int8(converter)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int16


def dynamic_batch() -> bytes:
    """A batch of None, with the shape chains that Keras' Reshape and Flatten leave."""
    image = layers.Input((8, 8, 3))
    rows = layers.Reshape((8, 24))(layers.Conv2D(3, 3, padding="same")(image))
    mixed = layers.Permute((2, 1))(layers.Dense(6)(rows))
    return keras(tf.keras.Model(image, layers.Dense(4)(layers.Flatten()(layers.Reshape((4, 12))(mixed)))))


def dynamic_size() -> bytes:
    """Height and width of None, a SHAPE that is known only in part, and a resize that follows it."""

    class Resize(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.constant(np.random.default_rng(5).standard_normal((3, 3, 3, 4)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.float32)])
        def __call__(self, image: tf.Tensor) -> tf.Tensor:
            x = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 2, "SAME"))
            x = tf.image.resize(tf.sin(x), tf.shape(image)[1:3])
            return tf.tanh(tf.reshape(x, (1, -1, 4)))

    module = Resize()
    return functions(module, module.__call__.get_concrete_function())


def dynamic_width() -> bytes:
    """A width of None, and tensors of one and two such widths side by side."""

    class Widen(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, None), tf.float32)])
        def __call__(self, row: tf.Tensor) -> tf.Tensor:
            row = tf.tanh(row)
            wide = tf.concat([row, row], 1)
            return tf.exp(tf.concat([wide, tf.tile(row, [1, 2])], 0))

    module = Widen()
    return functions(module, module.__call__.get_concrete_function())


def loops() -> bytes:
    """WHILE and IF, which run other subgraphs."""

    class Loops(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            x = tf.tanh(x)
            _, x = tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, v * 1.5 + tf.sin(v)), (0, x))
            x = tf.cond(tf.reduce_sum(x) > 0, lambda: x + 1.0, lambda: tf.exp(x) * 2.0)
            return tf.sqrt(tf.abs(x))

    module = Loops()
    return functions(module, module.__call__.get_concrete_function())


def lstm() -> bytes:
    sequence = layers.Input((6, 5), batch_size=1)
    return keras(tf.keras.Model(sequence, layers.Dense(3)(layers.LSTM(4)(layers.Dense(5)(sequence)))))


def attention() -> bytes:
    """A transformer block with a batch of None."""
    sequence = layers.Input((6, 8))
    mixed = layers.LayerNormalization()(layers.Add()([sequence, layers.MultiHeadAttention(2, 4)(sequence, sequence)]))
    return keras(tf.keras.Model(sequence, layers.Dense(2)(mixed[:, 0])))


def variables() -> bytes:
    """A counter in a resource variable between two stateless ends."""

    class Counter(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.total = tf.Variable(tf.zeros((1, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            x = tf.tanh(x) * 2.0
            self.total.assign_add(x)
            return tf.sqrt(tf.abs(tf.sin(self.total.read_value()) + x)) + 1.0

    module = Counter()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    return converter.convert()


def signatures(directory: Path) -> bytes:
    """Two signatures, and so a second subgraph with weights of its own."""

    class Two(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = tf.constant(np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32))
            self.second = tf.constant(np.random.default_rng(3).standard_normal((4, 500)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
        def one(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.nn.relu(tf.sin(x) @ self.first)}

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
        def two(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"z": tf.sin(x) @ self.second}

    module = Two()
    tf.saved_model.save(module, directory, signatures={"one": module.one, "two": module.two})
    return tf.lite.TFLiteConverter.from_saved_model(str(directory), signature_keys=["one", "two"]).convert()


def shared() -> bytes:
    """Inputs read late, one constant for two ops, one input that is an output, and one that no op reads."""

    class Shared(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec((1, 4), tf.float32, name=name) for name in ("late", "idle", "early")]
        )
        def __call__(self, late: tf.Tensor, idle: tf.Tensor, early: tf.Tensor) -> tuple[tf.Tensor, ...]:
            table = tf.constant(np.random.default_rng(4).standard_normal((4, 4)).astype(np.float32))
            x = tf.sin(early @ table)
            y = tf.exp(x @ table)
            return tf.sqrt(tf.abs(y + late)), tf.identity(early), x

    module = Shared()
    return functions(module, module.__call__.get_concrete_function())


def flex() -> bytes:
    class Flex(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.tanh(tf.math.erf(tf.sin(x)))

    module = Flex()
    return functions(module, module.__call__.get_concrete_function(), flex=True)


def strings() -> bytes:
    """A hash table, looked up with strings."""

    class Lookup(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([3, 4], tf.int64))
            self.table = tf.lookup.StaticHashTable(pairs, -1)

        @tf.function(input_signature=[tf.TensorSpec((2,), tf.string)])
        def __call__(self, words: tf.Tensor) -> tf.Tensor:
            return tf.cast(self.table.lookup(words), tf.float32) * 2.0

    module = Lookup()
    return functions(module, module.__call__.get_concrete_function())


def build(directory: Path) -> None:
    tf.keras.utils.set_random_seed(7)
    files = {
        "branchy": lambda: keras(branchy()),
        "branchy_fp16": lambda: keras(branchy(), fp16),
        "branchy_dynamic_range": lambda: keras(branchy(), dynamic_range),
        "branchy_int8": lambda: keras(branchy(), int8),
        "branchy_int16x8": lambda: keras(branchy(), int16x8),
        "dynamic_batch": dynamic_batch,
        "dynamic_size": dynamic_size,
        "dynamic_width": dynamic_width,
        "loops": loops,
        "lstm": lstm,
        "attention": attention,
        "variables": variables,
        "signatures": lambda: signatures(directory / "signatures.saved"),
        "shared": shared,
        "flex": flex,
        "strings": strings,
    }
    for name, make in files.items():
        (directory / f"{name}.tflite").write_bytes(make())


if __name__ == "__main__":
    build(Path(sys.argv[1]))
