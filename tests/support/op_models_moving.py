"""Models of operators that move elements, pick them, or step through them."""

from __future__ import annotations

import numpy as np
import onnx

from support.op_model import F32, I64, In, X, case, ints, w

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
