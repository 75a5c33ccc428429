"""CNN0 and CNN1: the convolutional two of the six applications that TPU v1 was measured with.

Source: Jouppi et al., In-Datacenter Performance Analysis of a Tensor Processing Unit, ISCA 2017:
layer counts, millions of weights, batch, operations per weight byte (table 1), empty cells of the
array (table 3).  Shapes are our inference:

    network  layers                weights  batch  operations per weight byte   here
    CNN0     16 conv                    8M      8       2888                    8.04M, 2888
    CNN1     72 conv, 13 pool, 4 FC   100M     32       1750                    100.4M, 1706

CNN0 (AlphaGo's): 2888 = 8 * 361 says that all weights are used at every point of a 19x19 board, so
no layer is fully connected, none strided.  No cell of the array is ever empty, so 256 filters
(a width that AlphaGo's authors report).  48 planes in, 5x5 first, then thirteen of 3x3 make 7.98M;
a 1x1 layer of 256 and the 1x1 layer that gives a map complete the sixteen.

CNN1 (an Inception): BN-Inception (Ioffe and Szegedy 2015) has 13 pools and 69 convolutions; with
its 7x7 stem as three of 3x3 and a 1x1 layer at the end there are 72.  Four fully connected layers
bring the weights to 100M (the paper says that they run at an intensity of 32, the batch, and wait
for weights).  1750 / 32 * 100M = 5.5 GMAC a sample sets the image's size: 336 pixels make 5.35.
"""

from __future__ import annotations

from onnx import ModelProto

from .builder import Builder

MODULES = (
    (64, 64, 64, 64, 96, 32), (64, 64, 96, 64, 96, 64), (0, 128, 160, 64, 96, 0),
    (224, 64, 96, 96, 128, 128), (192, 96, 128, 96, 128, 128), (160, 128, 160, 128, 160, 96),
    (96, 128, 192, 160, 192, 96), (0, 128, 192, 192, 256, 0),
    (352, 192, 320, 160, 224, 128), (352, 192, 320, 192, 224, 128),
)  # fmt: skip
"""Filters of 1x1; 3x3 reduce, 3x3; double 3x3 reduce, both 3x3; pool projection.  No first: strided
module, whose pool passes on."""


def cnn0(
    batch: int, *, weights: bool = True, board: int = 19, planes: int = 48, filters: int = 256
) -> ModelProto:
    """Sixteen convolutions on boards."""
    net = Builder("tpu_cnn0", weights=weights)
    x = net.input("planes", (batch, planes, board, board))
    layers = [(planes, 5), *[(filters, 3)] * 13, (filters, 1)]
    for index, (inputs, kernel) in enumerate(layers):
        x = net.conv(x, inputs, filters, kernel, name=f"conv{index}", bias=True)
        x = net.relu(x, name=f"relu{index}")
    x = net.conv(x, filters, 1, 1, name=f"conv{len(layers)}", bias=True, gain=1.0)
    return net.model(x, shapes=[(batch, 1, board, board)])


def cnn1(batch: int, *, weights: bool = True, size: int = 336) -> ModelProto:
    """An Inception of 72 convolutions with four fully connected layers."""
    net = Builder("tpu_cnn1", weights=weights)
    x = net.input("image", (batch, 3, size, size))
    x = _unit(net, x, 3, 32, 3, "stem.0", stride=2)
    x = _unit(net, x, 32, 32, 3, "stem.1")
    x = _unit(net, x, 32, 64, 3, "stem.2")
    x = net.max_pool(x, 3, 2, 1, name="stem.pool0")
    x = _unit(net, x, 64, 64, 1, "stem.3")
    x = _unit(net, x, 64, 192, 3, "stem.4")
    x, channels = net.max_pool(x, 3, 2, 1, name="stem.pool1"), 192
    for index, filters in enumerate(MODULES):
        x, channels = _module(net, x, channels, filters, f"module{index}")
    x = _unit(net, x, channels, 1024, 1, "head")
    x, width = net.flatten_pool(x), 1024
    for index, outputs in enumerate((4096, 4096, 4096, 12544)):
        x = net.gemm(x, width, outputs, name=f"fc{index}", gain=2.0)
        if index < 3:
            x = net.relu(x, name=f"fc{index}.relu")
        width = outputs
    return net.model(x, shapes=[(batch, width)])


def _unit(
    net: Builder, x: str, inputs: int, outputs: int, kernel: int, name: str, stride: int = 1
) -> str:
    """Convolution, normalisation, ReLU."""
    x = net.conv(x, inputs, outputs, kernel, stride=stride, name=f"{name}.conv")
    return net.relu(net.batch_norm(x, outputs, name=f"{name}.bn"), name=f"{name}.relu")


def _module(
    net: Builder, x: str, inputs: int, filters: tuple[int, ...], name: str
) -> tuple[str, int]:
    """An Inception module and its channels."""
    single, reduce3, conv3, reduce5, conv5, projection = filters
    stride = 1 if single else 2
    branches = [_unit(net, x, inputs, single, 1, f"{name}.1x1")] if single else []
    y = _unit(net, x, inputs, reduce3, 1, f"{name}.3x3.reduce")
    branches.append(_unit(net, y, reduce3, conv3, 3, f"{name}.3x3", stride))
    y = _unit(net, x, inputs, reduce5, 1, f"{name}.double.reduce")
    y = _unit(net, y, reduce5, conv5, 3, f"{name}.double.0")
    branches.append(_unit(net, y, conv5, conv5, 3, f"{name}.double.1", stride))
    if projection:
        y = net.op(
            "AveragePool", [x], f"{name}.pool",
            kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, count_include_pad=1,
        )  # fmt: skip
        branches.append(_unit(net, y, inputs, projection, 1, f"{name}.projection"))
    else:
        branches.append(net.max_pool(x, 3, 2, 1, name=f"{name}.pool"))
    channels = single + conv3 + conv5 + (projection or inputs)
    return net.op("Concat", branches, f"{name}.concat", axis=1), channels
