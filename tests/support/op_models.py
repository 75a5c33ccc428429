"""One-node models for every operator the importer maps onto the graph core.

`CASES` holds (id, model): the inputs of the model are filled with random numbers by the tests and
its outputs compared with onnxruntime's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

I64 = np.int64
F32: Any = np.float32
I8: Any = np.int8


class OpCase(NamedTuple):
    """A model of one operator."""

    id: str
    model: ModelProto


CASES: list[OpCase] = []


class In(NamedTuple):
    """A run-time input."""

    shape: tuple[int, ...]
    dtype: Any = np.float32


def op_model(
    op: str,
    args: Sequence[Any],
    *,
    opset: int = 17,
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> ModelProto:
    """`args`: `In` for a run-time input, an array (or numbers) for a constant, None if omitted."""
    inputs, weights, names = list[Any](), list[TensorProto](), list[str]()
    for i, arg in enumerate(args):
        names.append("" if arg is None else f"x{i}")
        if isinstance(arg, In):
            inputs.append(
                helper.make_tensor_value_info(
                    f"x{i}", helper.np_dtype_to_tensor_dtype(np.dtype(arg.dtype)), arg.shape
                )
            )
        elif arg is not None:
            value = np.asarray(arg)
            value = value.astype(np.float32) if value.dtype == np.float64 else value
            weights.append(onnx.numpy_helper.from_array(value, f"x{i}"))
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, "the_node", domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "g", inputs, [onnx.ValueInfoProto(name=r) for r in results], weights
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10
    )


def case(op: str, *args: Any, id: str = "", **kw: Any) -> None:
    CASES.append(
        OpCase(f"{op}-{kw.get('opset', 17)}" + (f"-{id}" if id else ""), op_model(op, args, **kw))
    )


RNG = np.random.default_rng(1)


def w(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, I64)


X = In((2, 3, 4))
IMG = In((1, 4, 9, 8))

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

# --- movement ---
case("Reshape", X, ints(0, -1))
case("Reshape", X, ints(4, 6), id="plain")
case("Flatten", X, axis=2)
case("Flatten", X, axis=0, id="axis-0")
case("Squeeze", In((1, 3, 1, 4)), ints(0, -2))
case("Squeeze", In((1, 3, 1, 4)), axes=[2], opset=11)
case("Squeeze", In((1, 3, 1, 4)), id="all")
case("Unsqueeze", X, ints(0, -1))
case("Unsqueeze", X, axes=[1], opset=11)
case("Transpose", X)
case("Transpose", X, perm=[1, 2, 0], id="perm")
case("Expand", In((3, 1)), ints(2, 1, 4))
case("Tile", X, ints(2, 1, 3))
case("Concat", X, In((2, 5, 4)), w(2, 1, 4), axis=1)
case("Slice", X, ints(0, -3), ints(99, -1), ints(0, 2), ints(1, 1))
case("Slice", X, ints(3, 2), ints(-99, 0), ints(2, 1), ints(-2, -1), id="backwards")
case("Slice", X, starts=[1, 0], ends=[9, -1], axes=[0, 2], opset=9)
case("Split", In((2, 7)), ints(3, 4), axis=1, outputs=2)
case("Split", In((2, 7)), axis=1, num_outputs=3, outputs=3, opset=18)
case("Split", In((2, 6)), axis=1, outputs=3, opset=11)
case("Split", In((2, 6)), axis=1, split=[1, 5], outputs=2, opset=11, id="sizes")
case("Pad", X, ints(0, 1, 2, 1, 0, 3), F32(1.5))
for mode in ("reflect", "edge"):
    case("Pad", X, ints(1, 1, 2, 0, 2, 3), mode=mode, id=mode)
case("Pad", X, ints(0, 1, 2, 0, 2, 3), mode="wrap", opset=19, id="wrap")
case("Pad", X, ints(0, -1, 2, 1, 0, -2), id="crop")
case("Pad", X, ints(1, 2), None, ints(-1), opset=18, id="axes")
case("Pad", X, pads=[0, 1, 2, 1, 0, 3], value=2.0, opset=2)
for mode in ("DCR", "CRD"):
    case("DepthToSpace", In((2, 8, 3, 2)), blocksize=2, mode=mode, id=mode)
case("SpaceToDepth", In((2, 3, 4, 6)), blocksize=2)

# --- resize ---
UP = F32([1, 1, 2, 2.5])
for coordinates in (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
):
    for mode in ("nearest", "linear", "cubic"):
        case(
            "Resize",
            In((1, 2, 4, 5)),
            None,
            UP,
            opset=19,
            mode=mode,
            coordinate_transformation_mode=coordinates,
            id=f"{mode}-{coordinates}",
        )
for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
    case(
        "Resize",
        In((1, 2, 4, 5)),
        None,
        F32([1, 1, 0.6, 1.7]),
        mode="nearest",
        nearest_mode=nearest,
        id=nearest,
    )
case("Resize", In((1, 2, 4, 5)), None, None, ints(1, 2, 7, 3), mode="linear", id="sizes")
case(
    "Resize",
    In((1, 2, 4, 5)),
    None,
    None,
    ints(8, 20),
    mode="linear",
    axes=[2, 3],
    keep_aspect_ratio_policy="not_larger",
    opset=18,
    id="ratio",
)
case("Resize", In((1, 2, 4, 5)), UP, mode="linear", opset=10)
case("Resize", In((1, 4, 5, 2)), None, F32([1, 2, 2, 1]), mode="linear", id="channels-last")
case("Resize", In((4, 5)), None, F32([2, 3]), mode="linear", id="matrix")
case("Upsample", In((1, 2, 4, 5)), F32([1, 1, 2, 3]), mode="nearest", opset=9)
case("Upsample", In((1, 2, 4, 5)), mode="linear", scales=[1.0, 1.0, 2.0, 2.0], opset=7)

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

# --- indexing ---
case("Gather", X, ints(2, 0), axis=1)
case("Gather", X, ints(0, 1, 2), axis=2, id="range")
case("Gather", X, ints(-1).reshape(()), axis=1, id="scalar")
case("Gather", w(3, 5), In((2, 2), I64), id="dynamic")
case("GatherElements", X, np.array([[[0, 2, 1, -1]]], I64), axis=1)
case("GatherElements", In((3, 3)), In((2, 3), I64), axis=0, id="dynamic")
case("GatherND", X, np.array([[1, 2], [0, -1]], I64))
case("GatherND", In((2, 3, 3)), np.array([[1], [0]], I64), batch_dims=1, id="batched")
case("GatherND", In((3, 3, 2)), In((4, 2), I64), id="dynamic")
case("ReverseSequence", In((4, 3, 2)), ints(4, 1, 2))
case("ReverseSequence", In((3, 4)), ints(3, 1, 4), batch_axis=0, time_axis=1, id="batch-first")
case("ScatterND", X, np.array([[1, 2], [0, -1]], I64), In((2, 4)))
case("ScatterElements", X, np.array([[[3, 0, 1]]], I64), In((1, 1, 3)), axis=2)
case(
    "ScatterND",
    X,
    np.array([[1], [1], [0]], I64),
    In((3, 3, 4)),
    reduction="add",
    opset=18,
    id="add",
)
case("ScatterND", In((6, 2)), In((3, 1), I64), In((3, 2)), id="dynamic")
case(
    "ScatterElements",
    X,
    np.array([[[3, 3, 1]]], I64),
    In((1, 1, 3)),
    axis=2,
    reduction="max",
    opset=18,
    id="max",
)
case(
    "ScatterElements",
    X,
    np.array([[[3, 3, 1]]], I64),
    In((1, 1, 3)),
    axis=2,
    reduction="mul",
    opset=18,
    id="mul",
)
case("OneHot", In((2, 3), I64), ints(4), F32([-1, 2]), axis=1)
case("ConstantOfShape", ints(2, 3), value=onnx.numpy_helper.from_array(np.array([7], np.int32)))
case("Range", ints(1).reshape(()), ints(9).reshape(()), ints(3).reshape(()))
case("EyeLike", In((3, 4)), k=1)
case("NonZero", np.array([[1, 0], [0, 2]], np.float32))

# --- recurrence and sampling ---
for gates, name in ((1, "RNN"), (3, "GRU"), (4, "LSTM")):
    last = 3 if name == "LSTM" else 2
    case(name, In((5, 2, 3)), w(1, gates * 4, 3), w(1, gates * 4, 4), hidden_size=4, outputs=last)
    state = [In((2, 2, 4))] * (last - 1)
    case(
        name,
        In((5, 2, 3)),
        w(2, gates * 4, 3),
        w(2, gates * 4, 4),
        w(2, gates * 8),
        None,
        *state,
        hidden_size=4,
        outputs=last,
        direction="bidirectional",
        id="bidirectional",
    )
case(
    "GRU",
    In((5, 2, 3)),
    w(1, 12, 3),
    w(1, 12, 4),
    w(1, 24),
    hidden_size=4,
    outputs=2,
    linear_before_reset=1,
    direction="reverse",
    id="reverse",
)
case(
    "LSTM",
    In((5, 2, 3)),
    w(1, 16, 3),
    w(1, 16, 4),
    w(1, 32),
    None,
    None,
    None,
    w(1, 12),
    hidden_size=4,
    outputs=3,
    id="peepholes",
)
for padding in ("zeros", "border", "reflection"):
    for mode in ("bilinear", "nearest"):
        for corners in (0, 1):
            case(
                "GridSample",
                In((2, 3, 5, 4)),
                In((2, 6, 7, 2)),
                mode=mode,
                padding_mode=padding,
                align_corners=corners,
                id=f"{mode}-{padding}-{corners}",
            )

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
