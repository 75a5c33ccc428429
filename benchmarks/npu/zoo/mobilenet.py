"""MobileNet v1 and v2 for ImageNet, width 1.0, 224 pixels.

v1: Howard et al., MobileNets (2017), with ReLU6 as in TensorFlow's release.  v2: Sandler et al.,
MobileNetV2: Inverted Residuals and Linear Bottlenecks (2018); names as PyTorch's.
"""

from __future__ import annotations

from onnx import ModelProto

from .builder import Builder

V1 = [
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
]  # fmt: skip
"""Channels after the pointwise, stride of the depthwise convolution of each block."""
V2 = [
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
]  # fmt: skip
"""Expansion, channels, repeats, stride of the first, of each stage: table 2 of the paper."""


def _unit(
    net: Builder, x: str, inputs: int, outputs: int, kernel: int, name: str, stride: int = 1,
    groups: int = 1,
) -> str:  # fmt: skip
    """Convolution, normalisation, ReLU6."""
    x = net.conv(x, inputs, outputs, kernel, stride=stride, groups=groups, name=f"{name}.conv")
    return net.relu6(net.batch_norm(x, outputs, name=f"{name}.bn"), name=f"{name}.relu6")


def mobilenet_v1(batch: int, *, weights: bool = True, size: int = 224) -> ModelProto:
    """MobileNet 1.0."""
    net = Builder("mobilenet_v1", weights=weights)
    x = net.input("image", (batch, 3, size, size))
    x, channels = _unit(net, x, 3, 32, 3, "conv0", stride=2), 32
    for index, (outputs, stride) in enumerate(V1, 1):
        name = f"conv{index}"
        x = _unit(net, x, channels, channels, 3, f"{name}.depthwise", stride, groups=channels)
        x = _unit(net, x, channels, outputs, 1, f"{name}.pointwise")
        channels = outputs
    logits = net.gemm(net.flatten_pool(x), channels, 1000, name="fc")
    return net.model(logits, shapes=[(batch, 1000)])


def mobilenet_v2(batch: int, *, weights: bool = True, size: int = 224) -> ModelProto:
    """MobileNetV2 1.0."""
    net = Builder("mobilenet_v2", weights=weights)
    x = net.input("image", (batch, 3, size, size))
    x, channels = _unit(net, x, 3, 32, 3, "features.0", stride=2), 32
    index = 0
    for expansion, outputs, repeats, first in V2:
        for repeat in range(repeats):
            index += 1
            name, stride = f"features.{index}", first if repeat == 0 else 1
            shortcut, hidden = x, channels * expansion
            if expansion > 1:
                x = _unit(net, x, channels, hidden, 1, f"{name}.expand")
            x = _unit(net, x, hidden, hidden, 3, f"{name}.depthwise", stride, groups=hidden)
            x = net.conv(x, hidden, outputs, 1, name=f"{name}.project.conv")
            residual = stride == 1 and channels == outputs
            x = net.batch_norm(
                x, outputs, name=f"{name}.project.bn", scale=0.5 if residual else 1.0
            )
            if residual:
                x = net.op("Add", [x, shortcut], f"{name}.add")
            channels = outputs
    x = _unit(net, x, channels, 1280, 1, f"features.{index + 1}")
    logits = net.gemm(net.flatten_pool(x), 1280, 1000, name="classifier")
    return net.model(logits, shapes=[(batch, 1000)])
