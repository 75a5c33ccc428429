"""One-node models for every operator the importer maps onto the graph core.

`CASES` holds (id, model): the inputs of the model are filled with random numbers by the tests and
its outputs compared with onnxruntime's.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from support import op_models_moving as op_models_moving
from support.op_model import CASES as CASES
from support.op_model import F32, I8, I64, IMG, RNG, In, X, case, ints, w
from support.op_model import OpCase as OpCase

# --- elementwise ---
for name in (
    "Abs",
    "Ceil",
    "Cos",
    "Erf",
    "Exp",
    "Floor",
    "HardSwish",
    "Neg",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Tan",
    "Tanh",
    "Sinh",
    "Cosh",
    "Atan",
    "Asinh",
    "LeakyRelu",
    "Elu",
    "Celu",
    "Selu",
    "HardSigmoid",
    "ThresholdedRelu",
    "IsNaN",
    "IsInf",
    "Identity",
    "Shape",
    "Size",
    "Dropout",
    "Hardmax",
    "Softmax",
    "LogSoftmax",
    "Shrink",
):
    case(name, X)
for name in ("Mish", "Gelu"):
    case(name, X, opset=20)
case("Gelu", X, opset=20, approximate="tanh", id="tanh")
case("LeakyRelu", X, alpha=0.3, id="alpha")
for name in (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "Greater",
    "Less",
    "LessOrEqual",
    "GreaterOrEqual",
    "Equal",
):
    case(name, X, In((3, 1)))
case("Add", X, w(4), id="constant")
case("Max", X, w(4), w(3, 1), id="three")
case("Div", In((5,), np.int32), np.array([2, -3, 4, 1, -1], np.int32), id="integers")
case("Mod", In((5,), I64), ints(3, -3, 4, 1, -2), id="integers")
case("Mod", X, w(4), fmod=1, id="fmod")
case("Pow", X, F32(2.0), id="square")
case("Pow", X, ints(3), id="integer-exponent")
for name in ("And", "Or", "Xor"):
    case(name, In((2, 3), np.bool_), In((3,), np.bool_))
case("Not", In((2, 3), np.bool_))
case("Where", In((3, 1), np.bool_), X, In((4,)))
case("Clip", X, opset=6, min=-0.5, max=0.5)
case("Clip", X, F32(-0.5), F32(0.5))
case("Clip", X, None, F32(0.5), id="max-only")
case("Clip", In((5,), np.int32), np.int32(-1), np.int32(1), id="integers", opset=13)
case("Clip", X, In(()), None, id="dynamic")
case("PRelu", IMG, w(4, 1, 1))
case("PRelu", IMG, F32([0.25]), id="one-slope")
case("Cast", X, to=TensorProto.INT32, id="to-int")
case("Cast", In((4,), I64), to=TensorProto.FLOAT, id="to-float")
case("Cast", In((4,), np.bool_), to=TensorProto.FLOAT, id="from-bool")
case("Cast", X, to=TensorProto.BOOL, id="to-bool")
case("CastLike", X, ints(1), opset=19)
case("Trilu", X, ints(1), upper=0)
case("Trilu", X, id="upper")

# --- convolution, pooling, products ---
case("Conv", IMG, w(6, 4, 3, 3))
case(
    "Conv", IMG, w(6, 4, 3, 3), w(6), pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2], id="all"
)
case("Conv", IMG, w(8, 1, 3, 3), w(8), group=4, pads=[1] * 4, id="depthwise")
case("Conv", IMG, w(6, 4, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2], id="same-upper")
case("Conv", IMG, w(6, 4, 3, 2), auto_pad="SAME_LOWER", strides=[2, 2], id="same-lower")
case("Conv", IMG, w(6, 4, 3, 2), auto_pad="VALID", id="valid")
case("Conv", In((1, 4, 9)), w(6, 4, 3), id="1d")
case("Conv", In((1, 2, 4, 5, 6)), w(3, 2, 2, 3, 2), pads=[1] * 6, id="3d")
case("Conv", IMG, In((6, 4, 3, 3)), id="dynamic-weights")
case("ConvTranspose", IMG, w(4, 3, 3, 3), id="stride-1")
case("ConvTranspose", IMG, w(4, 3, 2, 2), w(3), strides=[2, 2], id="stride-2")
case(
    "ConvTranspose",
    IMG,
    w(4, 3, 3, 3),
    w(3),
    strides=[2, 2],
    pads=[1] * 4,
    output_padding=[1, 1],
    id="output-padding",
)
case(
    "ConvTranspose",
    IMG,
    w(4, 3, 4, 3),
    strides=[3, 2],
    pads=[1, 0, 0, 1],
    dilations=[2, 1],
    id="dilated",
)
case("ConvTranspose", IMG, w(4, 3, 3, 3), w(6), group=2, strides=[2, 3], id="grouped")
case("ConvTranspose", IMG, w(4, 3, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER", id="same-upper")
case("ConvTranspose", IMG, w(4, 3, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER", id="same-lower")
case(
    "ConvTranspose",
    IMG,
    w(4, 3, 2, 2),
    strides=[3, 3],
    output_padding=[2, 1],
    id="stride-beyond-kernel",
)
case("ConvTranspose", IMG, w(4, 3, 3, 3), strides=[2, 2], output_shape=[18, 17], id="output-shape")
case("ConvTranspose", In((1, 4, 9)), w(4, 3, 5), strides=[2], pads=[2, 1], id="1d")
case(
    "ConvTranspose",
    In((1, 2, 3, 4, 3)),
    w(2, 3, 3, 3, 3),
    strides=[2, 2, 2],
    pads=[1] * 6,
    output_padding=[1] * 3,
    id="3d",
)
case("MatMul", In((2, 3, 4)), w(4, 5))
case("MatMul", In((2, 1, 3, 4)), In((5, 4, 2)), id="batched")
case("MatMul", In((4,)), w(4, 5), id="vector-matrix")
case("MatMul", In((2, 3, 4)), In((4,)), id="matrix-vector")
case("MatMul", In((4,)), In((4,)), id="vectors")
case("Gemm", In((2, 4)), w(4, 5), w(5))
case("Gemm", In((4, 2)), w(5, 4), w(1, 5), transA=1, transB=1, alpha=0.5, beta=2.0, id="all")
case("Gemm", In((2, 4)), w(4, 5), id="no-bias")
case("Gemm", In((2, 4)), In((4, 5)), In((2, 5)), alpha=2.0, beta=0.5, id="dynamic")
case("Gemm", In((2, 4)), w(4, 5), w(2, 1), id="column-bias")
case(
    "MatMulInteger",
    In((2, 4), np.uint8),
    RNG.integers(-9, 9, (4, 5)).astype(np.int8),
    np.uint8(3),
    I8(1),
)
case(
    "ConvInteger",
    In((1, 2, 5, 5), np.uint8),
    RNG.integers(0, 9, (3, 2, 3, 3)).astype(np.uint8),
    np.uint8(3),
    np.uint8(1),
    pads=[1] * 4,
)
for equation, shapes in {
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "bhid,bhjd->bhij": [(1, 2, 3, 4), (1, 2, 5, 4)],
    "ij,kj": [(2, 3), (4, 3)],
    "abc->ca": [(2, 3, 4)],
    "i,j->ij": [(3,), (4,)],
    "bi,ij,bj->b": [(2, 3), (3, 4), (2, 4)],
}.items():
    case("Einsum", *[In(s) for s in shapes], equation=equation, id=equation)
case("MaxPool", IMG, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
case("MaxPool", IMG, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, id="ceil")
case(
    "MaxPool", IMG, kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4, ceil_mode=1, id="ceil-padded"
)
case("MaxPool", IMG, kernel_shape=[2, 3], dilations=[2, 1], id="dilated")
case("MaxPool", In((1, 2, 9)), kernel_shape=[3], auto_pad="SAME_UPPER", strides=[2], id="1d-same")
case("AveragePool", IMG, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
case(
    "AveragePool",
    IMG,
    kernel_shape=[3, 2],
    strides=[2, 1],
    pads=[1, 0, 1, 1],
    count_include_pad=1,
    id="include-pad",
)
case("AveragePool", IMG, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, opset=19, id="ceil")
case(
    "AveragePool",
    IMG,
    kernel_shape=[3, 3],
    strides=[2, 2],
    pads=[1] * 4,
    ceil_mode=1,
    count_include_pad=1,
    opset=19,
    id="ceil-include-pad",
)
case("LpPool", IMG, kernel_shape=[3, 2], p=2)
case("LpPool", IMG, kernel_shape=[3, 2], p=1, strides=[2, 2], id="l1")
case("LpPool", IMG, kernel_shape=[2, 2], p=3, id="l3")
for name in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
    case(name, IMG)

# --- normalisation ---
case("BatchNormalization", IMG, w(4), w(4), w(4), np.abs(w(4)), epsilon=1e-3)
case("BatchNormalization", IMG, w(4), w(4), w(4), np.abs(w(4)), opset=7)
case("InstanceNormalization", IMG, w(4), w(4))
case("LayerNormalization", X, w(4), w(4))
case("LayerNormalization", X, w(3, 4), None, axis=1, outputs=3, id="outputs")
case("GroupNormalization", IMG, w(2), w(2), num_groups=2, opset=18)
case("GroupNormalization", IMG, w(4), w(4), num_groups=2, opset=21)
case("LpNormalization", X, axis=1, p=2)
case("LpNormalization", X, axis=-1, p=1, id="l1")
case("LRN", IMG, size=3, alpha=0.1, beta=0.7, bias=1.5)
case("MeanVarianceNormalization", IMG)
case("Softmax", X, axis=1, id="axis")
case("Softmax", X, axis=1, opset=11)
case("Softmax", IMG, axis=2, opset=11, id="image")
case("LogSoftmax", X, axis=1, opset=11)
case("Hardmax", X, axis=1, opset=11)

# --- reduction ---
for name in (
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
):
    case(name, X, ints(0, -1), opset=18)
    case(name, X, opset=11, axes=[1], keepdims=0)
    case(name, X, opset=11, id="all")
case("ReduceSum", X, None, noop_with_empty_axes=1, id="noop")
case("ReduceMean", X, axes=[-1], opset=13)
for name in ("ArgMax", "ArgMin"):
    case(name, X, axis=1)
    case(name, X, axis=-1, keepdims=0, select_last_index=1, id="last")
case("TopK", X, ints(1), axis=1, outputs=2)
case("TopK", X, ints(3), axis=2, outputs=2, id="3")
case("TopK", In((2, 7, 3), I64), ints(5), axis=1, largest=0, outputs=2, id="ties")
case("CumSum", X, ints(1))
case("CumSum", X, ints(-1), reverse=1, exclusive=1, id="reverse-exclusive")
case("CumSum", In((7,), I64), ints(0), id="integers")

# --- quantisation ---
case("QuantizeLinear", X, F32(0.05), np.uint8(120))
case("QuantizeLinear", X, F32([0.05, 0.1, 0.02]), I8([0, 3, -5]), axis=1, id="per-axis")
case("QuantizeLinear", X, F32(0.05), id="default")
case("DequantizeLinear", In((2, 3), np.uint8), F32(0.05), np.uint8(120))
case(
    "DequantizeLinear",
    In((2, 3), np.int8),
    F32([0.05, 0.1, 0.02]),
    I8([0, 3, -5]),
    axis=1,
    id="per-axis",
)
case(
    "DequantizeLinear",
    RNG.integers(-99, 99, (4, 5)).astype(np.int32),
    F32(0.05),
    id="constant",
)
case("DynamicQuantizeLinear", X, outputs=3)
case(
    "QLinearConv",
    In((1, 2, 5, 5), np.uint8),
    F32(0.1),
    np.uint8(5),
    RNG.integers(-9, 9, (3, 2, 3, 3)).astype(np.int8),
    F32([0.1, 0.2, 0.3]),
    I8([0, 0, 0]),
    F32(0.4),
    np.uint8(9),
    np.array([10, -20, 30], np.int32),
)
case(
    "QLinearMatMul",
    In((2, 4), np.uint8),
    F32(0.1),
    np.uint8(5),
    RNG.integers(0, 200, (4, 3)).astype(np.uint8),
    F32(0.2),
    np.uint8(90),
    F32(0.4),
    np.uint8(9),
)
