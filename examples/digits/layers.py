"""The layers of the packaged example in numpy, forwards, backwards, and as ONNX nodes.

Images run through them as (sample, row, column, channel), which turns a convolution into one matrix
product over 3x3 windows; the exporter transposes to ONNX's channel-first layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.floating[Any]]  # float32 throughout; numpy's annotations lose the width

WEIGHT_DECAY = 2e-2


@dataclass
class Parameter:
    """A trained array, its gradient and its Adam moments."""

    value: Array
    decays: bool = False
    gradient: Array = field(init=False)
    mean: Array = field(init=False)
    square: Array = field(init=False)

    def __post_init__(self) -> None:
        self.gradient, self.mean, self.square = (np.zeros_like(self.value) for _ in range(3))

    def step(self, rate: float, iteration: int) -> None:
        """Move along the last gradient: Adam with decoupled weight decay."""
        self.mean = 0.9 * self.mean + 0.1 * self.gradient
        self.square = 0.999 * self.square + 0.001 * self.gradient**2
        mean = self.mean / (1 - 0.9**iteration)
        square = self.square / (1 - 0.999**iteration)
        if self.decays:
            self.value *= 1 - rate * WEIGHT_DECAY
        self.value -= (rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)


class GraphWriter:
    """Collects ONNX nodes and initializers; each method appends and returns a value's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        """Add an initializer."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, name: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output, named after the node unless `output` says otherwise."""
        output = output or f"{name}_out"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output


class Layer(Protocol):
    """What every layer can do. `backward` follows the `forward` it undoes, in training mode."""

    def forward(self, x: Array, training: bool) -> Array:
        """Apply the layer."""
        ...

    def backward(self, dy: Array) -> Array:
        """Turn the output's gradient into the input's, and store the parameters' gradients."""
        ...

    def parameters(self) -> Iterator[Parameter]:
        """Yield the trained arrays, always in the same order."""
        ...

    def export(self, graph: GraphWriter, x: str) -> str:
        """Append the layer to an ONNX graph that has the value `x`."""
        ...


class ConvUnit:
    """3x3 convolution with zero padding, batch normalisation and, optionally, ReLU."""

    def __init__(
        self, name: str, channels: int, filters: int, rng: np.random.Generator, relu: bool = True
    ) -> None:
        self.name, self.relu = name, relu
        spread = np.sqrt(2 / (9 * channels))
        weight = rng.normal(0, spread, (channels * 9, filters)).astype(np.float32)
        self.weight = Parameter(weight, decays=True)
        self.scale = Parameter(np.ones(filters, np.float32))
        self.bias = Parameter(np.zeros(filters, np.float32))
        self.running_mean = np.zeros(filters, np.float32)
        self.running_variance = np.ones(filters, np.float32)
        self.epsilon = 1e-5

    def forward(self, x: Array, training: bool) -> Array:
        """Convolve, normalise by the batch's statistics (or the running ones), clip at zero."""
        n, height, width, channels = x.shape
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        self.windows = sliding_window_view(padded, (3, 3), axis=(1, 2)).reshape(-1, channels * 9)
        y = self.windows @ self.weight.value
        if training:
            mean, variance = y.mean(axis=0), y.var(axis=0)
            self.running_mean += 0.1 * (mean - self.running_mean)
            self.running_variance += 0.1 * (variance - self.running_variance)
        else:
            mean, variance = self.running_mean, self.running_variance
        self.inverse_deviation = 1 / np.sqrt(variance + self.epsilon)
        self.normalised = (y - mean) * self.inverse_deviation
        y = self.normalised * self.scale.value + self.bias.value
        if self.relu:
            self.positive = y > 0
            y = y * self.positive
        return y.reshape(n, height, width, -1)

    def backward(self, dy: Array) -> Array:
        """Go back through ReLU, normalisation and convolution."""
        n, height, width, filters = dy.shape
        dy = dy.reshape(-1, filters)
        if self.relu:
            dy = dy * self.positive
        self.bias.gradient = dy.sum(axis=0)
        self.scale.gradient = (dy * self.normalised).sum(axis=0)
        through_mean = self.bias.gradient / len(dy)
        through_deviation = self.normalised * (self.scale.gradient / len(dy))
        dy = (dy - through_mean - through_deviation) * (self.scale.value * self.inverse_deviation)
        self.weight.gradient = self.windows.T @ dy
        dwindows = (dy @ self.weight.value.T).reshape(n, height, width, -1, 3, 3)
        dx = np.zeros((n, height + 2, width + 2, dwindows.shape[3]), np.float32)
        for row, column in np.ndindex(3, 3):
            dx[:, row : row + height, column : column + width] += dwindows[..., row, column]
        return dx[:, 1:-1, 1:-1]

    def parameters(self) -> Iterator[Parameter]:
        """Yield the filters and the normalisation's scale and bias."""
        yield from (self.weight, self.scale, self.bias)

    def export(self, graph: GraphWriter, x: str) -> str:
        """Append Conv, BatchNormalization and perhaps Relu."""
        conv, norm = f"{self.name}/conv", f"{self.name}/bn"
        filters = self.scale.value.size
        weight = self.weight.value.T.reshape(filters, -1, 3, 3)
        x = graph.node(
            "Conv",
            conv,
            x,
            graph.constant(f"{conv}.weight", weight),
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[1, 1],
        )
        x = graph.node(
            "BatchNormalization",
            norm,
            x,
            graph.constant(f"{norm}.scale", self.scale.value),
            graph.constant(f"{norm}.bias", self.bias.value),
            graph.constant(f"{norm}.mean", self.running_mean),
            graph.constant(f"{norm}.variance", self.running_variance),
            epsilon=self.epsilon,
        )
        return graph.node("Relu", f"{self.name}/relu", x) if self.relu else x


class Residual:
    """Two convolution units around a skip connection: relu(x + second(first(x)))."""

    def __init__(self, name: str, channels: int, rng: np.random.Generator) -> None:
        self.name = name
        self.first = ConvUnit(f"{name}/first", channels, channels, rng)
        self.second = ConvUnit(f"{name}/second", channels, channels, rng, relu=False)

    def forward(self, x: Array, training: bool) -> Array:
        """Add what the two units find to what they were given."""
        y = x + self.second.forward(self.first.forward(x, training), training)
        self.positive = y > 0
        return y * self.positive

    def backward(self, dy: Array) -> Array:
        """Send the gradient along both branches."""
        dy = dy * self.positive
        return dy + self.first.backward(self.second.backward(dy))

    def parameters(self) -> Iterator[Parameter]:
        """Yield both units' parameters."""
        yield from self.first.parameters()
        yield from self.second.parameters()

    def export(self, graph: GraphWriter, x: str) -> str:
        """Append both units, Add and Relu."""
        branch = self.second.export(graph, self.first.export(graph, x))
        y = graph.node("Add", f"{self.name}/add", branch, x)
        return graph.node("Relu", f"{self.name}/relu", y)


class MaxPool:
    """The largest of each 2x2 square."""

    def __init__(self, name: str) -> None:
        self.name = name

    def forward(self, x: Array, training: bool) -> Array:
        """Halve the height and the width."""
        n, height, width, channels = x.shape
        squares = x.reshape(n, height // 2, 2, width // 2, 2, channels)
        y = squares.max(axis=(2, 4), keepdims=True)
        winners = squares == y
        self.share = winners / winners.sum(axis=(2, 4), keepdims=True, dtype=np.float32)
        return y[:, :, 0, :, 0]

    def backward(self, dy: Array) -> Array:
        """Give the gradient to the largest pixel; equal ones share it."""
        dx = self.share * dy[:, :, None, :, None]
        n, rows, _, columns, _, channels = dx.shape
        return dx.reshape(n, 2 * rows, 2 * columns, channels)

    def parameters(self) -> Iterator[Parameter]:
        """Yield nothing."""
        yield from ()

    def export(self, graph: GraphWriter, x: str) -> str:
        """Append MaxPool."""
        return graph.node("MaxPool", self.name, x, kernel_shape=[2, 2], strides=[2, 2])


class Head:
    """The mean over the image, then one score for each digit."""

    def __init__(self, name: str, channels: int, classes: int, rng: np.random.Generator) -> None:
        self.name = name
        spread = np.sqrt(1 / channels)
        weight = rng.normal(0, spread, (channels, classes)).astype(np.float32)
        self.weight = Parameter(weight, decays=True)
        self.bias = Parameter(np.zeros(classes, np.float32))

    def forward(self, x: Array, training: bool) -> Array:
        """Score each image."""
        self.shape, self.mean = x.shape, x.mean(axis=(1, 2))
        return self.mean @ self.weight.value + self.bias.value

    def backward(self, dy: Array) -> Array:
        """Spread the gradient evenly over the image."""
        self.weight.gradient = self.mean.T @ dy
        self.bias.gradient = dy.sum(axis=0)
        dmean = dy @ self.weight.value.T / (self.shape[1] * self.shape[2])
        return np.broadcast_to(dmean[:, None, None, :], self.shape)

    def parameters(self) -> Iterator[Parameter]:
        """Yield the matrix and the bias."""
        yield from (self.weight, self.bias)

    def export(self, graph: GraphWriter, x: str) -> str:
        """Append GlobalAveragePool, Flatten and Gemm (with the matrix as rows of classes)."""
        x = graph.node("GlobalAveragePool", f"{self.name}/mean", x)
        x = graph.node("Flatten", f"{self.name}/flatten", x, axis=1)
        name = f"{self.name}/scores"
        weight = graph.constant(f"{name}.weight", self.weight.value.T)
        bias = graph.constant(f"{name}.bias", self.bias.value)
        return graph.node("Gemm", name, x, weight, bias, output="logits", transB=1)


class Network:
    """The layers in order."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.layers: list[Layer] = [
            ConvUnit("stem", 1, 16, rng),
            Residual("block1", 16, rng),
            MaxPool("pool"),
            ConvUnit("widen", 16, 32, rng),
            Residual("block2", 32, rng),
            Head("head", 32, 10, rng),
        ]

    def forward(self, x: Array, training: bool = False) -> Array:
        """Score a batch of images."""
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, dy: Array) -> None:
        """Store every parameter's gradient."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)

    def parameters(self) -> list[Parameter]:
        """List the trained arrays."""
        return [parameter for layer in self.layers for parameter in layer.parameters()]

    def export(self) -> onnx.ModelProto:
        """Build the ONNX model, for one image at a time."""
        graph, value = GraphWriter(), "image"
        for layer in self.layers:
            value = layer.export(graph, value)
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
        logits = helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, 10])
        model = helper.make_model(
            helper.make_graph(graph.nodes, "digits", [image], [logits], graph.initializers),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
            producer_name="tilewright-examples",
        )
        onnx.checker.check_model(model, full_check=True)
        return model
