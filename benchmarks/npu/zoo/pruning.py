"""2:4 pruning by magnitude: of every four weights along the reduction the two smallest become 0.

As NVIDIA's workflow does before it trains again (Mishra et al., "Accelerating Sparse Deep Neural
Networks", 2021); here weights are random, so that there is nothing to lose.  Pruned are weights of
Conv along input channels, of Gemm and MatMul along the reduction, where these are a multiple of 8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper


def prune(model: ModelProto) -> int:
    """Prune the weights of `model` in place; returns how many tensors were."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    pruned: set[str] = set()
    for node in model.graph.node:
        axis = _reduction(node)
        tensor = None if axis is None else weights.get(node.input[1])
        if axis is None or tensor is None or tensor.name in pruned:
            continue
        if len(tensor.dims) < 2 or tensor.dims[axis] % 8:
            continue
        array = two_of_four(numpy_helper.to_array(tensor), axis)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        pruned.add(tensor.name)
    return len(pruned)


def _reduction(node: NodeProto) -> int | None:
    """The axis of a node's weights that it sums over; None: it has none."""
    if node.op_type == "Gemm":
        return int(any(a.name == "transB" and a.i for a in node.attribute))
    return {"Conv": 1, "MatMul": -2}.get(node.op_type)


def two_of_four(array: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A copy in which of every four neighbours along `axis` the two of least magnitude are 0.

    >>> two_of_four(np.array([1, -4, 2, 3], np.float32), 0).tolist()
    [0.0, -4.0, 0.0, 3.0]
    """
    moved = np.moveaxis(array, axis, -1)
    fours = moved.reshape(-1, 4).copy()
    np.put_along_axis(fours, np.argsort(np.abs(fours), axis=1)[:, :2], 0, 1)
    return np.ascontiguousarray(np.moveaxis(fours.reshape(moved.shape), -1, axis))
