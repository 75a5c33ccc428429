"""A network of a few kilobytes with the same kinds of layers, for trying things out."""

from __future__ import annotations

from onnx import ModelProto

from .builder import Builder


def tiny(batch: int, *, weights: bool = True, size: int = 16) -> ModelProto:
    """A stem, a residual block and a head, ten classes."""
    net = Builder("tiny", weights=weights)
    x = net.input("image", (batch, 3, size, size))
    x = net.relu(net.batch_norm(net.conv(x, 3, 16, 3, name="stem"), 16, name="bn"), name="relu")
    x = net.max_pool(x, 2, 2, 0, name="maxpool")
    y = net.batch_norm(net.conv(x, 16, 16, 3, name="block.conv"), 16, name="block.bn", scale=0.3)
    x = net.relu(net.op("Add", [x, y], "block.add"), name="block.relu")
    return net.model(net.gemm(net.flatten_pool(x), 16, 10, name="fc"), shapes=[(batch, 10)])
