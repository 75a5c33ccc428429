"""Operators with computed operands, and forms beyond those of `op_models`, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from support.op_cases import Case, check, computed, names
from support.op_model import In

RNG = np.random.default_rng(5)
F32: Any = np.float32
I32: Any = np.int32
I64: Any = np.int64
U8: Any = np.uint8
I8: Any = np.int8


def w(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, I64)


X = In((2, 3, 4, 5))


def bit_cases() -> list[Case]:
    out: list[Case] = []
    for dtype in (np.uint8, np.uint32, np.uint64):
        a = In((3, 7), dtype)
        amounts = {1: RNG.integers(0, np.iinfo(dtype).bits, (7,)).astype(dtype)}
        for direction in ("LEFT", "RIGHT"):
            made = {"direction": direction}
            out.append(Case("BitShift", (a, In((7,), dtype)), 1, made, amounts))
    for dtype in (np.uint8, np.int16, np.int32, np.uint64):
        a, b = In((3, 7), dtype), In((7,), dtype)
        out += [Case(op, (a, b), opset=18) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")]
        out.append(Case("BitwiseNot", (a,), opset=18))
    return out


def transposed_cases() -> list[Case]:
    x, out = In((1, 4, 5, 6)), list[Case]()
    for extra in (
        {},
        {"strides": [2, 3]},
        {"strides": [2, 2], "pads": [1, 0, 1, 2], "output_padding": [1, 0]},
        {"strides": [2, 1], "dilations": [2, 3]},
        {"strides": [3, 3], "output_shape": [14, 17], "auto_pad": "SAME_UPPER"},
    ):
        out.append(Case("ConvTranspose", (x, In((4, 3, 3, 2)), In((3,))), 1, extra))
    out.append(Case("ConvTranspose", (x, In((4, 2, 3, 3))), 1, {"group": 2, "strides": [2, 2]}))
    out.append(
        Case(
            "ConvTranspose", (In((1, 2, 3, 4, 3)), w(2, 3, 2, 2, 3), w(3)), 1, {"strides": [2] * 3}
        )
    )
    out.append(Case("ConvTranspose", (In((1, 2, 3, 4, 3)), In((2, 3, 2, 2, 3)))))
    return out


def recurrent_cases() -> list[Case]:
    out: list[Case] = []
    steps, batch, width, hidden = 5, 3, 4, 2
    for op, gates, states in (("RNN", 1, 1), ("GRU", 3, 1), ("LSTM", 4, 2)):
        for direction, d in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
            shapes = [
                (d, gates * hidden, width),
                (d, gates * hidden, hidden),
                (d, 2 * gates * hidden),
            ]
            initial = [In((d, batch, hidden))] * states
            made: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
            x, outputs = In((steps, batch, width)), 1 + states
            computed_weights = (x, *(In(s) for s in shapes), In((batch,), I32), *initial)
            lengths = {4: np.array([5, 2, 3], I32)}
            out += [
                Case(op, (x, *(In(s) for s in shapes)), outputs, made),
                Case(op, computed_weights, outputs, made, lengths),
                Case(op, (x, *(w(*s) for s in shapes), lengths[4], *initial), outputs, made),
            ]
    shapes = [(1, 8, 4), (1, 8, 2), (1, 16)]
    peepholes = (In((5, 3, 4)), *(In(s) for s in shapes), None, None, None, In((1, 6)))
    out.append(Case("LSTM", peepholes, 3, {"hidden_size": 2}))
    linear = {"hidden_size": 2, "linear_before_reset": 1}
    gru = [In(s) for s in ((1, 6, 4), (1, 6, 2), (1, 12))]
    out.append(Case("GRU", (In((5, 3, 4)), *gru), 2, linear))
    rnn = (In((5, 3, 4)), w(1, 2, 4), w(1, 2, 2))
    for name, parameters in (
        ("LeakyRelu", {"activation_alpha": [0.3]}),
        ("Affine", {"activation_alpha": [0.3], "activation_beta": [0.1]}),
        ("HardSigmoid", {"activation_alpha": [0.3], "activation_beta": [0.4]}),
        ("ScaledTanh", {"activation_alpha": [0.6], "activation_beta": [0.7]}),
        ("Elu", {"activation_alpha": [0.5]}),
        ("ThresholdedRelu", {"activation_alpha": [0.2]}),
        ("Softsign", {}),
        ("Relu", {}),
    ):
        out.append(Case("RNN", rnn, 2, {"hidden_size": 2, "activations": [name], **parameters}))
    return out


def product_cases() -> list[Case]:
    out = [
        Case("Einsum", tuple(In(s) for s in shapes), 1, {"equation": equation})
        for equation, shapes in (
            ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))),
            ("...ij,jk->...ik", ((2, 3, 4), (4, 5))),
            ("b...i,b...i->b...", ((2, 3, 4), (2, 3, 4))),
            ("...ij->...ji", ((2, 3, 4),)),
            ("...,...", ((2, 3), (2, 3))),
            ("ii->i", ((3, 3),)),
            ("ii", ((3, 3),)),
            ("bii->bi", ((2, 3, 3),)),
            ("bii,bi->b", ((2, 3, 3), (2, 3))),
            ("ij,j", ((2, 3), (3,))),
        )
    ]
    out += [Case("Det", (In(s),), opset=22) for s in ((1, 1), (2, 2), (2, 3, 3), (2, 1, 4, 4))]
    return out


def scatter_cases() -> list[Case]:
    out: list[Case] = []
    places = {1: RNG.integers(-4, 4, (2, 3, 6)).astype(I64)}
    unique = {1: np.stack([RNG.permutation(6) for _ in range(6)]).reshape(2, 3, 6).astype(I64)}
    data, index, updates = In((2, 3, 4)), In((2, 3, 6), I64), In((2, 3, 6))
    for reduction in ("add", "mul", "max", "min"):
        made = {"axis": 2, "reduction": reduction}
        out.append(Case("ScatterElements", (data, index, updates), 1, made, places, opset=18))
    wide, few = In((4, 5, 6)), {1: unique[1] % 6}
    out.append(Case("ScatterElements", (wide, index, updates), 1, {"axis": 2}, few, opset=18))
    rows = {1: np.array([[3, 1, 2], [0, 2, 1]], I64).reshape(2, 3)}
    for axis in (0, 1):
        arguments = (In((5, 4)), In((2, 3), I64), In((2, 3)))
        out.append(Case("ScatterElements", arguments, 1, {"axis": axis}, rows, opset=16))
    tuples = {1: np.array([[0, 1], [1, 2], [0, 1], [-1, 0]], I64)}
    for reduction in ("add", "mul", "max", "min"):
        arguments = (In((2, 3, 4)), In((4, 2), I64), In((4, 4)))
        out.append(Case("ScatterND", arguments, 1, {"reduction": reduction}, tuples, opset=18))
    return out


def window_cases() -> list[Case]:
    out: list[Case] = []
    for shape, extra in (
        ((2, 3, 8, 9), {"kernel_shape": [2, 3]}),
        ((2, 3, 8, 9), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((1, 2, 9, 9), {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [3, 2]}),
        ((1, 2, 7, 7), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ((1, 2, 7, 6), {"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": 1}),
        ((1, 2, 9), {"kernel_shape": [3], "strides": [2]}),
        ((1, 2, 5, 4, 6), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}),
    ):
        out.append(Case("MaxPool", (In(shape),), 2, extra))
    corners = {1: np.array([[[[0, 3], [10, 15]]], [[[16, 19], [25, 31]]]], I64)}
    pooled = (In((2, 1, 2, 2)), In((2, 1, 2, 2), I64))
    made = {"kernel_shape": [2, 2], "strides": [2, 2]}
    out.append(Case("MaxUnpool", pooled, 1, made, corners))
    out += [
        Case("Col2Im", (In((2, 12, 12)), ints(5, 4), ints(2, 2)), opset=18),
        Case(
            "Col2Im",
            (In((1, 18, 9)), ints(5, 5), ints(3, 3)),
            1,
            {"strides": [2, 2], "pads": [1, 1, 1, 1]},
            opset=18,
        ),
        Case("Col2Im", (In((1, 8, 6)), ints(5, 4), ints(2, 2)), 1, {"dilations": [2, 2]}, opset=18),
    ]
    return out


def sampling_cases() -> list[Case]:
    out: list[Case] = []
    grid = {1: RNG.uniform(-1.3, 1.3, (2, 6, 5, 2)).astype(np.float32)}
    volume = {1: RNG.uniform(-1.3, 1.3, (2, 3, 4, 5, 3)).astype(np.float32)}
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for corners in (0, 1):
                made = {"padding_mode": padding, "align_corners": corners}
                image = (In((2, 3, 5, 7)), In((2, 6, 5, 2)))
                out.append(Case("GridSample", image, 1, {**made, "mode": mode}, grid, opset=16))
                if mode == "bicubic":
                    continue
                name = {"bilinear": "linear"}.get(mode, mode)
                cube = (In((2, 2, 4, 5, 3)), In((2, 3, 4, 5, 3)))
                out.append(Case("GridSample", cube, 1, {**made, "mode": name}, volume, opset=22))
    corners_of = np.array([[0, 0, 9, 9], [0, 5, 4, 9], [5, 5, 30, 9], [2, 3, 4, 20]], F32)
    for opset, mode in ((10, "avg"), (16, "avg"), (16, "max")):
        made = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "mode": mode}
        arguments = (In((2, 3, 10, 12)), In((4, 4)), In((4,), I64))
        values = {1: corners_of, 2: ints(0, 1, 1, 0)}
        scaled = {**made, "spatial_scale": 0.6}
        out.append(Case("RoiAlign", arguments, 1, scaled, values, opset=opset))
    x, offsets = In((2, 4, 6, 7)), In((2, 18, 6, 7))
    padded: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    out += [
        Case("DeformConv", (x, w(6, 4, 3, 3), offsets), 1, padded, opset=19),
        Case(
            "DeformConv",
            (x, w(6, 2, 3, 3), In((2, 36, 6, 7)), w(6), In((2, 18, 6, 7))),
            1,
            {**padded, "group": 2, "offset_group": 2},
            opset=19,
        ),
        Case(
            "DeformConv",
            (x, w(6, 4, 2, 3), In((2, 12, 2, 3)), w(6)),
            1,
            {"strides": [2, 1], "dilations": [2, 2]},
            opset=19,
        ),
    ]
    return out


def resize_cases() -> list[Case]:
    out: list[Case] = []
    x, none = In((1, 2, 8, 10)), np.zeros(0, F32)
    smaller, larger = np.array([1, 1, 0.5, 0.6], F32), np.array([1, 1, 1.7, 2.0], F32)
    for mode in ("linear", "cubic"):
        for scales in (smaller, larger):
            out.append(
                Case("Resize", (x, none, scales), 1, {"mode": mode, "antialias": 1}, opset=18)
            )
    for scales in (smaller, larger):
        for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
            made = {"mode": "cubic", "coordinate_transformation_mode": coordinates}
            out.append(Case("Resize", (x, none, scales), 1, {**made, "exclude_outside": 1}))
    roi = np.array([0, 0, 0.2, -0.1, 1, 1, 0.9, 1.2], F32)
    for mode in ("linear", "nearest"):
        made = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
        sizes = (x, roi, none, ints(1, 2, 5, 7))
        out.append(Case("Resize", sizes, 1, {**made, "extrapolation_value": 9.0}))
    made = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}
    out.append(Case("Resize", (x, none, smaller), 1, made, opset=11))
    return out


def spectral_cases() -> list[Case]:
    two_sided = {"onesided": 0}
    out = [
        Case("DFT", (In((2, 10, parts)), *length), 1, {"axis": 1, **extra})
        for parts, length, extra in (
            (1, (), {}),
            (1, (), {"onesided": 1}),
            (2, (), {}),
            (1, (np.array(16, I64),), {"onesided": 1}),
            (2, (np.array(6, I64),), {}),
        )
    ]
    out += [
        Case("STFT", (In((2, 32, 1)), np.array(8, I64), w(16)), 1, {"onesided": 1}),
        Case("STFT", (In((2, 32, 1)), np.array(5, I64), None, np.array(12, I64)), 1, two_sided),
        Case(
            "MelWeightMatrix",
            (*(np.array(v, I64) for v in (8, 32, 8000)), np.array(0, F32), np.array(4000, F32)),
        ),
    ]
    return out


def small_cases() -> list[Case]:
    out = [
        Case("SpaceToDepth", (In((1, 2, 4, 6)),), 1, {"blocksize": 2}),
        Case("CumSum", (X, np.array(-1, I64)), 1, {"exclusive": 1, "reverse": 1}),
        Case("CumSum", (In((2, 1)), np.array(1, I64)), 1, {"exclusive": 1}),
        Case("SimplifiedLayerNormalization", (In((2, 5, 8)), w(8)), 1, {"epsilon": 1e-6}),
        Case("LayerNormalization", (In((2, 5, 8)), w(8), w(8)), opset=13),
        Case("BatchNormalization", (X, *(np.abs(w(3)) for _ in range(4))), opset=15),
    ]
    steps = {2: ints(2, 0)}
    for mode in ("linear", "circular"):
        arguments = (In((2, 3, 6, 4)), In((2, 3, 2, 4)), In((2,), I64))
        out.append(Case("TensorScatter", arguments, 1, {"mode": mode}, steps, opset=24))
    return out


def quantised_cases() -> list[Case]:
    """Scales and zero points that are computed; 16 bits; blocks."""
    scale, wide = (
        RNG.uniform(0.01, 0.1, 3).astype(np.float32),
        {1: np.array([0.05], F32), 2: np.array([7], U8)},
    )
    points: dict[int, Any] = {
        1: np.array([0.02], F32),
        2: np.array([120], U8),
        4: np.array([0.03], F32),
        5: np.array([125], U8),
    }
    points |= {6: np.array([0.2], F32), 7: np.array([130], U8)}
    one, byte = In((1,)), In((1,), U8)
    image = (In((1, 3, 6, 6), U8), one, byte, In((4, 3, 3, 3), U8), one, byte, one, byte)
    padded: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    matrices = (In((2, 5, 4), U8), one, byte, In((4, 3), U8), one, byte, one, byte)
    blocks = {"axis": 1, "block_size": 3}
    return [
        Case("QuantizeLinear", (X, one, byte), 1, {}, wide),
        Case("QuantizeLinear", (X, In((3,)), In((3,), U8)), 1, {"axis": 1}, {1: scale}),
        Case("QuantizeLinear", (X, scale, np.zeros(3, np.int16)), 1, {"axis": 1}, opset=21),
        Case("QuantizeLinear", (X, np.array([0.01], F32), np.array([9], np.uint16)), opset=21),
        Case("QuantizeLinear", (In((2, 6)), np.abs(w(2, 2)) + 0.1), 1, blocks, opset=21),
        Case(
            "DequantizeLinear", (In((2, 3), I8), In(()), In((), I8)), 1, {}, {1: np.array(0.1, F32)}
        ),
        Case("DequantizeLinear", (In((2, 6), I8), w(2, 2)), 1, blocks, opset=21),
        Case("DequantizeLinear", (In((4, 3), U8), np.abs(w(3)), codes(3)), 1, {"axis": 1}),
        Case("QLinearMatMul", matrices, 1, {}, points),
        Case("QLinearConv", image, 1, padded, points),
        Case(
            "QLinearConv",
            (*image, In((4,), I32)),
            1,
            padded,
            points | {8: np.array([5, -6, 7, 99], I32)},
        ),
    ]


def codes(*shape: int) -> Any:
    return RNG.integers(0, 256, shape, np.uint8)


QUANTISED = quantised_cases()


@pytest.mark.parametrize("case", QUANTISED, ids=names(QUANTISED))
def test_quantises_as_onnxruntime(case: Case) -> None:
    check(case, steps=1)  # onnxruntime multiplies by a rounded ratio of the scales


GROUPS = [
    *bit_cases(), *transposed_cases(), *recurrent_cases(), *product_cases(), *scatter_cases(),
    *window_cases(), *sampling_cases(), *resize_cases(), *spectral_cases(), *small_cases(),
]  # fmt: skip


@pytest.mark.parametrize("case", GROUPS, ids=names(GROUPS))
def test_means_what_onnxruntime_computes(case: Case) -> None:
    check(case, tolerance=2e-4)


@pytest.mark.parametrize("op", ["DFT", "Det", "Col2Im", "BitwiseNot"])
def test_newer_forms_mean_what_the_reference_says(op: str) -> None:
    axis, length = np.array(-3, I64), np.array(7, I64)
    real, apart = {"onesided": 1, "inverse": 1}, {"strides": [3, 3]}
    blocks = (In((1, 8, 4)), ints(5, 5), ints(2, 2))
    case = {
        "DFT": Case("DFT", (In((2, 4, 3, 2)), length, axis), 1, real, opset=20),
        "Det": Case("Det", (In((2, 3, 3)),), opset=22),
        "Col2Im": Case("Col2Im", blocks, 1, apart, opset=18),
        "BitwiseNot": Case("BitwiseNot", (In((3,), np.uint16),), opset=18),
    }[op]
    expected: Any = ReferenceEvaluator(case.model()).run(None, case.inputs())
    np.testing.assert_allclose(computed(case)[0], expected[0], rtol=1e-4, atol=1e-5)
