"""Hostile nodes: inputs, attributes and types that operators do not have."""

from __future__ import annotations

import numpy as np
from onnx import (
    TensorProto,
    helper,
)

from malformed.making import (
    array,
    info,
    model,
    model_case,
    node,
    single,
)

# --- nodes ---

model_case(
    "unknown-operator", single("Frobnicate"), "the_frobnicate", "Frobnicate", "no ONNX operator"
)
model_case("operator-of-other-opset", single("Gelu", opset=10), "Gelu", "opset 10")
model_case(
    "unknown-domain",
    lambda: model(
        [helper.make_node("Relu", ["x"], ["y"], "n", domain="com.acme")],
        imports=[helper.make_opsetid("com.acme", 1)],
    ),
    "com.acme",
    "'n'",
    "Relu",
)
model_case(
    "wrong-attribute-type",
    single("LeakyRelu", alpha="steep"),
    "'alpha'",
    "float",
    "the_leakyrelu",
    "LeakyRelu",
)
model_case("missing-attribute", single("Concat", ["x", "x"]), "'axis'", "missing", "Concat")
model_case("too-few-inputs", single("Add", ["x"]), "1 inputs", "the_add", "Add")
model_case("too-many-inputs", single("Relu", ["x", "x"]), "2 inputs", "Relu")
model_case(
    "too-many-outputs", lambda: model([node("Relu", ["x"], ["y", "z"])]), "2 outputs", "Relu"
)
model_case("omitted-input", single("Add", ["x", ""]), "input 1 is missing", "Add")
model_case(
    "unnamed-node",
    lambda: model([node("Relu", ["x"], ["a"], ""), node("Add", ["a", "ghost"], ["y"], "")]),
    "'Add_1'",
    "Add",
)

IMAGE = info("x", (1, 3, 8, 8))
model_case(
    "conv-channels",
    single("Conv", ["x", "w"], x=IMAGE, weights=[array("w", np.ones((4, 5, 3, 3)))]),
    "3 input channels",
    "the_conv",
    "Conv",
)
model_case(
    "conv-groups",
    single("Conv", ["x", "w"], x=IMAGE, weights=[array("w", np.ones((4, 1, 3, 3)))], group=0),
    "0 groups",
    "Conv",
)
model_case(
    "conv-window",
    single("Conv", ["x", "w"], x=IMAGE, weights=[array("w", np.ones((4, 3, 9, 9)))]),
    "does not fit",
    "Conv",
)
model_case(
    "conv-stride-0",
    single(
        "Conv", ["x", "w"], x=IMAGE, weights=[array("w", np.ones((4, 3, 3, 3)))], strides=[0, 1]
    ),
    "strides",
    "Conv",
)
model_case(
    "conv-bias",
    single(
        "Conv",
        ["x", "w", "b"],
        x=IMAGE,
        weights=[array("w", np.ones((4, 3, 3, 3))), array("b", np.ones(5))],
    ),
    "bias",
    "Conv",
)
model_case(
    "conv-pads",
    single("Conv", ["x", "w"], x=IMAGE, weights=[array("w", np.ones((4, 3, 3, 3)))], pads=[1, 1]),
    "pads",
    "Conv",
)
model_case(
    "conv-huge-pads",
    single(
        "Conv", ["x", "w"], x=IMAGE, weights=[array("w", np.ones((4, 3, 3, 3)))], pads=[2**40] * 4
    ),
    "elements",
    "Conv",
)
model_case("pool-kernel-0", single("MaxPool", x=IMAGE, kernel_shape=[0, 2]), "kernel", "MaxPool")
model_case(
    "matmul-inner",
    single("MatMul", ["x", "w"], weights=[array("w", np.ones((5, 2)))]),
    "inner",
    "the_matmul",
    "MatMul",
)
model_case(
    "gemm-inner", single("Gemm", ["x", "w"], weights=[array("w", np.ones((5, 2)))]), "inner", "Gemm"
)
model_case(
    "broadcast",
    single("Add", ["x", "w"], weights=[array("w", np.ones(3))]),
    "do not broadcast",
    "the_add",
    "Add",
)
model_case(
    "types-differ",
    single("Add", ["x", "w"], weights=[array("w", np.ones(4), np.float64)]),
    "f32",
    "f64",
    "the_add",
    "Add",
)
model_case("function-of-integers", single("Erf", x=info("x", (1, 4), TensorProto.BOOL)), "Erf")
model_case(
    "reshape-impossible",
    single("Reshape", ["x", "s"], weights=[array("s", [3, 5], np.int64)]),
    "[1, 4]",
    "[3, 5]",
    "Reshape",
)
model_case(
    "reshape-negative",
    single("Reshape", ["x", "s"], weights=[array("s", [-2, 2], np.int64)]),
    "-2",
    "Reshape",
)
model_case(
    "reshape-huge",
    single("Reshape", ["x", "s"], weights=[array("s", [2**62, 2**62], np.int64)]),
    "Reshape",
)
model_case(
    "reshape-by-reals",
    single("Reshape", ["x", "s"], weights=[array("s", [2, 2])]),
    "integers",
    "Reshape",
)
model_case("transpose-perm", single("Transpose", perm=[0, 0]), "permutation", "Transpose")
model_case(
    "squeeze-axis",
    single("Squeeze", ["x", "a"], weights=[array("a", [1], np.int64)]),
    "extent 1",
    "Squeeze",
)
model_case("axis-out-of-range", single("Softmax", axis=7), "axis 7", "Softmax")
model_case(
    "gather-out-of-range",
    single("Gather", ["x", "i"], weights=[array("i", [9], np.int64)], axis=1),
    "9",
    "Gather",
)
model_case(
    "slice-step-0",
    single(
        "Slice",
        ["x", "s", "e", "a", "z"],
        weights=[array(n, [v], np.int64) for n, v in zip("seaz", (0, 2, 0, 0), strict=True)],
    ),
    "steps [0]",
    "Slice",
)
model_case(
    "split-sizes",
    lambda: model(
        [node("Split", ["x", "s"], ["y", "z"], axis=1)], weights=[array("s", [3, 3], np.int64)]
    ),
    "split",
    "Split",
)
model_case(
    "expand-negative",
    single("Expand", ["x", "s"], weights=[array("s", [-4, 4], np.int64)]),
    "negative",
    "Expand",
)
model_case(
    "expand-huge",
    single("Expand", ["x", "s"], weights=[array("s", [2**40, 4], np.int64)]),
    "elements",
    "Expand",
)
model_case(
    "tile-huge",
    single("Tile", ["x", "s"], weights=[array("s", [2**30, 2**30], np.int64)]),
    "elements",
    "Tile",
)
model_case(
    "resize-nan",
    single("Resize", ["x", "", "s"], weights=[array("s", [1, np.nan])]),
    "scales",
    "Resize",
)
model_case(
    "resize-inf",
    single("Resize", ["x", "", "s"], weights=[array("s", [1, np.inf])]),
    "scales",
    "Resize",
)
model_case(
    "resize-zero",
    single("Resize", ["x", "", "s"], weights=[array("s", [1, 0.1])]),
    "no elements",
    "Resize",
)
model_case(
    "nan-attribute", single("LeakyRelu", alpha=float("nan")), "'alpha'", "finite", "LeakyRelu"
)
model_case("inf-attribute", single("Elu", alpha=float("inf")), "'alpha'", "finite", "Elu")
model_case(
    "clip-nan", single("Clip", ["x", "m"], weights=[array("m", np.nan)]), "not a number", "Clip"
)
model_case(
    "quantize-scale-0",
    single("QuantizeLinear", ["x", "s"], weights=[array("s", 0.0)]),
    "positive",
    "QuantizeLinear",
)
model_case(
    "batch-norm-shapes",
    single(
        "BatchNormalization", ["x", "w", "w", "w", "w"], x=IMAGE, weights=[array("w", np.ones(4))]
    ),
    "channel",
    "BatchNormalization",
)
model_case(
    "depth-to-space", single("DepthToSpace", x=IMAGE, blocksize=2), "3 channels", "DepthToSpace"
)
model_case("einsum", single("Einsum", ["x", "x"], equation="ij,jk->il"), "Einsum")
