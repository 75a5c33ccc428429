"""Building ONNX networks: nodes, seeded weights, names as exporters give them.

    net = Builder("toy")
    x = net.input("image", (1, 3, 32, 32))
    x = net.relu(net.batch_norm(net.conv(x, 3, 16, 3, name="stem"), 16, name="bn"), name="relu")
    model = net.model(net.gemm(net.flatten_pool(x), 16, 10, name="head"))

Weights come from one seeded generator in the order they are asked for, scaled by fan-in (He), so
that activations keep their size through networks of any depth.  With `weights=False` parameters
are declared as inputs of the graph instead: the same nodes and shapes, at no cost, for counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

OPSET = 17
IR_VERSION = 8

Shape = Sequence[int | str]


class Builder:
    """A graph under construction; operators take and return tensor names.

    `name` of an operator is the ONNX node's name, its output tensor's, and its parameters' prefix.
    """

    def __init__(self, name: str, *, weights: bool = True, seed: int = 0):
        self.name, self.weights = name, weights
        self._rng = np.random.default_rng(seed)
        self._nodes: list[NodeProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._parameters: list[ValueInfoProto] = []
        self._initializers: list[TensorProto] = []

    # --- tensors ---

    def input(self, name: str, shape: Sequence[int], dtype: int = TensorProto.FLOAT) -> str:
        """An input of the network."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """A constant that is no parameter (shapes, scalars, masks)."""
        self._initializers.append(_tensor(name, np.asarray(value)))
        return name

    def parameter(
        self, name: str, shape: Sequence[int], deviation: float, mean: float = 0.0
    ) -> str:
        """A normally distributed parameter."""
        if not self.weights:
            info = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            self._parameters.append(info)
            return name
        value = self._rng.standard_normal(prod(shape), dtype=np.float32)
        value *= np.float32(deviation)
        value += np.float32(mean)
        self._initializers.append(_tensor(name, value.reshape(shape)))
        return name

    def weight(self, name: str, shape: Sequence[int], fan_in: int, gain: float = 2.0) -> str:
        """Weights of variance `gain` / fan-in: gain 2 keeps the size of what a ReLU halves."""
        return self.parameter(name, shape, sqrt(gain / fan_in))

    # --- operators ---

    def op(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node with one output, which has the node's name."""
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int, *, name: str, stride: int = 1,
        pad: int | None = None, groups: int = 1, bias: bool = False, gain: float = 2.0,
    ) -> str:  # fmt: skip
        """A square convolution; `pad` on each side, by default half the kernel."""
        pad = kernel // 2 if pad is None else pad
        shape = (outputs, inputs // groups, kernel, kernel)
        operands = [x, self.weight(f"{name}.weight", shape, prod(shape[1:]), gain)]
        if bias:
            operands.append(self.parameter(f"{name}.bias", (outputs,), 0.1))
        return self.op(
            "Conv", operands, name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[pad] * 4, group=groups,
        )  # fmt: skip

    def batch_norm(self, x: str, channels: int, *, name: str, scale: float = 1.0) -> str:
        """Batch normalisation with statistics about mean 0 and variance 1, and gain `scale`."""
        operands = [
            x,
            self.parameter(f"{name}.weight", (channels,), 0.05 * scale, scale),
            self.parameter(f"{name}.bias", (channels,), 0.1 * scale),
            self._statistic(f"{name}.running_mean", channels, 0.0),
            self._statistic(f"{name}.running_var", channels, 1.0),
        ]
        return self.op("BatchNormalization", operands, name, epsilon=1e-5)

    def _statistic(self, name: str, channels: int, centre: float) -> str:
        """Running mean or variance, which papers do not count among the parameters."""
        spread = self._rng.uniform(-0.05, 0.05, channels)
        return self.constant(name, (centre + spread).astype(np.float32))

    def relu(self, x: str, *, name: str) -> str:
        """A rectifier."""
        return self.op("Relu", [x], name)

    def relu6(self, x: str, *, name: str) -> str:
        """A rectifier that stops at 6."""
        low, high = (f"{self.name}.relu6_{bound}" for bound in ("min", "max"))
        if not any(t.name == low for t in self._initializers):
            self.constant(low, np.float32(0))
            self.constant(high, np.float32(6))
        return self.op("Clip", [x, low, high], name)

    def max_pool(self, x: str, kernel: int, stride: int, pad: int, *, name: str) -> str:
        """A square maximum pool."""
        return self.op(
            "MaxPool", [x], name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )

    def flatten_pool(self, x: str, *, name: str = "pool") -> str:
        """The mean of each channel, as [batch, channels]."""
        return self.op("Flatten", [self.op("GlobalAveragePool", [x], name)], f"{name}.flatten")

    def gemm(
        self, x: str, inputs: int, outputs: int, *, name: str, gain: float = 1.0, bias: bool = True
    ) -> str:
        """A fully connected layer on [batch, inputs]."""
        operands = [x, self.weight(f"{name}.weight", (outputs, inputs), inputs, gain)]
        if bias:
            operands.append(self.parameter(f"{name}.bias", (outputs,), 0.1))
        return self.op("Gemm", operands, name, transB=1)

    def linear(self, x: str, inputs: int, outputs: int, *, name: str, gain: float = 1.0) -> str:
        """A fully connected layer on the last axis of any rank: MatMul and Add, as exported."""
        weight = self.weight(f"{name}.weight", (inputs, outputs), inputs, gain)
        product = self.op("MatMul", [x, weight], f"{name}.matmul")
        return self.op("Add", [product, self.parameter(f"{name}.bias", (outputs,), 0.1)], name)

    def layer_norm(self, x: str, width: int, *, name: str, epsilon: float) -> str:
        """Layer normalisation over the last axis."""
        operands = [
            x,
            self.parameter(f"{name}.weight", (width,), 0.05, 1.0),
            self.parameter(f"{name}.bias", (width,), 0.05),
        ]
        return self.op("LayerNormalization", operands, name, axis=-1, epsilon=epsilon)

    def reshape(self, x: str, shape: Sequence[int], *, name: str) -> str:
        """A reshape to constant extents."""
        target = self.constant(f"{name}.shape", np.array(shape, np.int64))
        return self.op("Reshape", [x, target], name)

    # --- the result ---

    def model(self, *outputs: str, shapes: Sequence[Shape] | None = None) -> ModelProto:
        """The model with these outputs; `shapes`, where given, are declared."""
        declared = [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, None if shapes is None else list(shapes[index])
            )
            for index, name in enumerate(outputs)
        ]
        graph = helper.make_graph(
            self._nodes, self.name, [*self._inputs, *self._parameters], declared, self._initializers
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _tensor(name: str, value: NDArray[Any]) -> TensorProto:
    """Raw little-endian data."""
    tensor = TensorProto(name=name, dims=value.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor.raw_data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor
