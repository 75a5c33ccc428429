"""Operators between two NPU layers of a quantised network: one NPU program, and all ends agree.

    convolution -> operator -> convolution

The compiler must leave nothing of the operator to the CPU, and simulator, CPU end and graph
semantics must agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tilewright
from support.whole import assert_ends_agree, assert_near, compile_int8
from tilewright.dialects.constants import Array

SHAPE = (1, 8, 6, 10)
Nodes = list[onnx.NodeProto]
Case = tuple[Nodes, dict[str, Array], int, int]
"""Nodes from "t" to "y", their constants, channels of y, rank of y."""


def one(op: str, *constants: Any, channels: int = 8, rank: int = 4, **attributes: Any) -> Case:
    """A single operator on t and constants (None: an operand left out)."""
    names = ["" if c is None else f"k{i}" for i, c in enumerate(constants)]
    given = {n: np.asarray(c) for n, c in zip(names, constants, strict=True) if n}
    return (
        [helper.make_node(op, ["t", *names], ["y"], name="op", **attributes)],
        given,
        channels,
        rank,
    )


def chain(
    *ops: tuple[str, Sequence[str], str, dict[str, Any]], channels: int = 8, rank: int = 4,
    **constants: Any,
) -> Case:  # fmt: skip
    """Operators (type, inputs, output, attributes) and constants by name."""
    nodes = [
        helper.make_node(op, list(ins), [out], name=out, **attributes)
        for op, ins, out, attributes in ops
    ]
    return nodes, {k: np.asarray(v) for k, v in constants.items()}, channels, rank


def floats(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).uniform(0.5, 2, shape).astype(np.float32)


def resize(scale: Sequence[float], mode: str, coordinates: str) -> Case:
    return one(
        "Resize", None, np.array([1, 1, *scale], np.float32), mode=mode, nearest_mode="floor",
        coordinate_transformation_mode=coordinates,
    )  # fmt: skip


CASES: dict[str, Case] = {
    **{
        f"transpose {p}": one("Transpose", perm=p, channels=SHAPE[p[1]])
        for p in ((0, 2, 3, 1), (0, 1, 3, 2), (0, 3, 2, 1), (0, 2, 1, 3))
    },
    "reshape": one("Reshape", [1, 4, 12, 10], channels=4),
    "flatten": one("Reshape", [1, 8, 60], channels=60, rank=3),
    "slice": one("Slice", [1, 2], [6, 9], [2, 3], [2, 3]),
    "reversed rows": one("Slice", [-1], [-100], [3], [-1]),
    "reversed channels": one("Slice", [-1], [-100], [1], [-1]),
    **{
        f"pad {mode}": one("Pad", [0, 0, 2, 1, 0, 0, 1, 2], mode=mode)
        for mode in ("constant", "reflect", "edge")
    },
    "gather channels": one("Gather", [1, 7, 2, 2, 5], axis=1, channels=5),
    "gather columns": one("Gather", [1, 7, 2, 2, 5, 9], axis=3),
    "gather one": one("Gather", 3, axis=2, channels=10, rank=3),
    "depth to space": one("DepthToSpace", blocksize=2, channels=2),
    "space to depth": one("SpaceToDepth", blocksize=2, channels=32),
    "channel shuffle": chain(
        ("Reshape", ["t", "s1"], "u", {}), ("Transpose", ["u"], "v", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", ["v", "s2"], "y", {}), s1=[1, 2, 4, 6, 10], s2=[1, 8, 6, 10],
    ),
    "attention heads": chain(
        ("Reshape", ["t", "s1"], "u", {}), ("Transpose", ["u"], "v", {"perm": [0, 2, 1]}),
        ("MatMul", ["v", "w1"], "q", {}), ("Reshape", ["q", "s2"], "r", {}),
        ("Transpose", ["r"], "h", {"perm": [0, 2, 1, 3]}), ("Relu", ["h"], "a", {}),
        ("Reshape", ["a", "s3"], "y", {}), channels=4, rank=3,
        s1=[1, 8, 60], s2=[1, 60, 3, 4], s3=[3, 60, 4], w1=floats(3, 8, 12) - 1,
    ),
    **{
        f"{op} {shape}": one(op, floats(1, *shape))
        for op in ("Add", "Mul", "Sub", "Div")
        for shape in ((8, 1, 1), (10,), (6, 1), (1, 8, 6, 1), (6, 10))
    },
    "squeeze and excite": chain(
        ("GlobalAveragePool", ["t"], "g", {}), ("Sigmoid", ["g"], "s", {}),
        ("Mul", ["t", "s"], "y", {}),
    ),
    "maximum of rows, added": chain(
        ("ReduceMax", ["t", "axes"], "g", {"keepdims": 0}), ("Add", ["t", "g"], "y", {}),
        axes=[0, 1],
    ),
    **{
        f"{op} {axes}": one(op, axes, channels=1 if 1 in axes else 8)
        for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
        for axes in ([1], [3], [2, 3], [1, 3])
    },
    **{f"softmax {axis}": one("Softmax", axis=axis) for axis in (1, 2, 3)},
    "layer norm": one("LayerNormalization", floats(2, 10), floats(3, 10), axis=-1),
    "layer norm of two axes": one("LayerNormalization", floats(4, 6, 10), axis=2),
    "instance norm": one("InstanceNormalization", floats(5, 8), floats(6, 8)),
    "group norm": one("GroupNormalization", floats(5, 2), floats(6, 2), num_groups=2),
    "RMS norm": chain(
        ("Mul", ["t", "t"], "q", {}), ("ReduceMean", ["q", "axes"], "m", {}),
        ("Add", ["m", "e"], "p", {}), ("Sqrt", ["p"], "r", {}), ("Div", ["t", "r"], "d", {}),
        ("Mul", ["d", "g"], "y", {}), axes=[3], e=np.float32(1e-5), g=floats(7, 10),
    ),
    **{
        f"linear resize {scale} {coordinates}": resize(scale, "linear", coordinates)
        for scale, coordinates in (
            ((2, 2), "half_pixel"), ((2, 2), "asymmetric"), ((4, 4), "half_pixel"),
            ((0.5, 0.5), "half_pixel"), ((1.5, 2), "half_pixel"), ((1, 2), "pytorch_half_pixel"),
        )
    },
    "nearest resize": resize((2, 3), "nearest", "asymmetric"),
    "nearest resize 1.5": resize((1.5, 1.5), "nearest", "asymmetric"),
}  # fmt: skip


def model(case: Case) -> onnx.ModelProto:
    nodes, constants, channels, rank = case
    rng = np.random.default_rng(0)
    stem = rng.standard_normal((8, 8, 1, 1)) / np.sqrt(8)
    shape = (3, channels, 1, 1) if rank == 4 else (channels, 3)
    tail = "Conv" if rank == 4 else "MatMul"
    weights = {"w": stem, "w2": rng.standard_normal(shape) / np.sqrt(channels)}
    every = {k: v.astype(np.float32) for k, v in weights.items()} | constants
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["t"], name="stem"), *nodes,
            helper.make_node(tail, ["y", "w2"], ["z"], name="tail"),
        ],
        "operator", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in every.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_to_the_cpu(name: str) -> None:
    network = model(CASES[name])
    x = {"x": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    executable = compile_int8(network, "gemmini-16x16", x)
    manifest = executable.artefact.manifest
    assert manifest["placement"] == {}
    assert sum(f.startswith("npu/") for f in executable.artefact.files) == 1
    assert_ends_agree(executable, x)
    real = tilewright.compile(network).run(x)["z"]
    assert_near(executable.run(x)["z"], real, 0.08)


@pytest.mark.parametrize("target", ["vta-pynq", "nvdla-128", "ethos-u65-512"])
@pytest.mark.parametrize("name", ["softmax 3", "layer norm", "linear resize (2, 2) half_pixel"])
def test_on_other_machines(name: str, target: str) -> None:
    network = model(CASES[name])
    x = {"x": np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)}
    assert_ends_agree(compile_int8(network, target, x), x)
