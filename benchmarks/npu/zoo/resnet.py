"""Residual networks for ImageNet: ResNet-18, 34, 50 and 101.

    resnet50        v1.5: the stride of a bottleneck is on its 3x3 convolution
    resnet50_v1     v1: it is on the first 1x1 convolution
    resnet50_v2     pre-activation: normalise, rectify, then convolve

v1 is He et al., Deep Residual Learning for Image Recognition (2015); v2 is He et al., Identity
Mappings in Deep Residual Networks (2016) as MXNet's model zoo has it (stride on the 3x3
convolution, stem with normalisation, no normalisation of the input); v1.5 is what PyTorch and
MLPerf call ResNet-50.  Networks of basic blocks (18, 34) have no v1.5.  The last normalisation of a
branch has a small gain, as after training, so that the sum does not double at every block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto

from .builder import Builder

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks of each stage, by depth."""
BRANCH_SCALE = 0.3


def resnet(
    depth: int, version: str, batch: int, *, weights: bool = True, size: int = 224
) -> ModelProto:
    """ResNet of `depth` in `version` "v1", "v1.5" or "v2", for images of `size` pixels."""
    net = Builder(f"resnet{depth}_{version}", weights=weights)
    x = net.input("image", (batch, 3, size, size))
    x = net.conv(x, 3, 64, 7, stride=2, name="conv1")
    x = net.relu(net.batch_norm(x, 64, name="bn1"), name="relu1")
    x = net.max_pool(x, 3, 2, 1, name="maxpool")
    stage = _pre_activation if version == "v2" else _post_activation
    x, width = stage(net, x, BLOCKS[depth], depth >= 50, version)
    x = net.flatten_pool(x)
    return net.model(net.gemm(x, width, 1000, name="fc"), shapes=[(batch, 1000)])


def _post_activation(
    net: Builder, x: str, stages: Sequence[int], bottleneck: bool, version: str
) -> tuple[str, int]:
    """v1 and v1.5: convolve, normalise, rectify; the sum is rectified."""
    outputs = 64
    for name, inputs, outputs, stride, layers in _blocks(stages, bottleneck, version):
        shortcut = x
        if stride > 1 or inputs != outputs:
            shortcut = net.conv(
                x, inputs, outputs, 1, stride=stride, name=f"{name}.downsample.0", gain=1.0
            )
            shortcut = net.batch_norm(shortcut, outputs, name=f"{name}.downsample.1")
        for i, (a, b, kernel, step) in enumerate(layers, 1):
            last = i == len(layers)
            x = net.conv(x, a, b, kernel, stride=step, name=f"{name}.conv{i}")
            scale = BRANCH_SCALE if last else 1.0
            x = net.batch_norm(x, b, name=f"{name}.bn{i}", scale=scale)
            if not last:
                x = net.relu(x, name=f"{name}.relu{i}")
        x = net.relu(net.op("Add", [x, shortcut], f"{name}.add"), name=f"{name}.relu")
    return x, outputs


def _pre_activation(
    net: Builder, x: str, stages: Sequence[int], bottleneck: bool, version: str
) -> tuple[str, int]:
    """v2: normalise, rectify, convolve; a projection starts from the rectified tensor."""
    outputs = 64
    for name, inputs, outputs, stride, layers in _blocks(stages, bottleneck, version):
        shortcut = x
        for i, (a, b, kernel, step) in enumerate(layers, 1):
            x = net.relu(net.batch_norm(x, a, name=f"{name}.bn{i}"), name=f"{name}.relu{i}")
            if i == 1 and (stride > 1 or inputs != outputs):
                shortcut = net.conv(x, inputs, outputs, 1, stride=stride, name=f"{name}.downsample")
            gain = 2.0 * BRANCH_SCALE**2 if i == len(layers) else 2.0
            x = net.conv(x, a, b, kernel, stride=step, name=f"{name}.conv{i}", gain=gain)
        x = net.op("Add", [x, shortcut], f"{name}.add")
    x = net.relu(net.batch_norm(x, outputs, name="bn"), name="relu")
    return x, outputs


def _blocks(
    stages: Sequence[int], bottleneck: bool, version: str
) -> Iterator[tuple[str, int, int, int, list[tuple[int, int, int, int]]]]:
    """(name, input channels, output channels, stride, layers) of every block."""
    inputs = 64
    for index, blocks in enumerate(stages):
        width = 64 << index
        outputs = 4 * width if bottleneck else width
        for block in range(blocks):
            stride = 2 if index and not block else 1
            layers = _layers(inputs, width, outputs, stride, bottleneck, version)
            yield f"layer{index + 1}.{block}", inputs, outputs, stride, layers
            inputs = outputs


def _layers(
    inputs: int, width: int, outputs: int, stride: int, bottleneck: bool, version: str
) -> list[tuple[int, int, int, int]]:
    """(inputs, outputs, kernel, stride) of the convolutions of a branch."""
    if not bottleneck:
        return [(inputs, width, 3, stride), (width, outputs, 3, 1)]
    first, second = (stride, 1) if version == "v1" else (1, stride)
    return [(inputs, width, 1, first), (width, width, 3, second), (width, outputs, 1, 1)]
