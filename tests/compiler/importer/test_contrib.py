"""onnxruntime's own operators against onnxruntime, over random data and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.op_cases import Case, check, names
from support.op_model import In

RNG = np.random.default_rng(3)
F32: Any = np.float32
I32: Any = np.int32


def w(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def codes(dtype: Any, *shape: int) -> Any:
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def i32(*values: int) -> Any:
    return np.array(values, I32)


X = In((2, 5, 8))
"""[batch, length, hidden]."""
CACHE = In((2, 2, 2, 3, 4))
HALF = RNG.uniform(0, 6, (16, 2)).astype(np.float32)
COS, SIN = np.cos(HALF), np.sin(HALF)
COS4, SIN4 = np.tile(COS, (1, 4)), np.tile(SIN, (1, 4))
MASKS: dict[str, Any] = {
    "lengths": i32(3, 5),
    "ends-begins": i32(4, 5, 1, 0),
    "raw": np.array([[1, 1, 0, 1, 1], [1, 0, 1, 1, 0]], I32),
    "square": RNG.integers(0, 2, (2, 5, 5)).astype(I32) | np.eye(5, dtype=I32),
}


def attention_cases() -> list[Case]:
    packed = (X, w(8, 24), w(24))
    heads = {"num_heads": 2}
    out = [Case("Attention", packed, 1, heads), Case("Attention", packed, 2, heads)]
    out += [Case("Attention", (*packed, mask), 1, heads) for mask in MASKS.values()]
    out += [
        Case("Attention", packed, 1, {**heads, "unidirectional": 1}),
        Case("Attention", (*packed, MASKS["raw"]), 1, {**heads, "unidirectional": 1}),
        Case("Attention", (*packed, None, CACHE), 2, {**heads, "unidirectional": 1}),
        Case("Attention", (*packed, np.ones((2, 8), I32), CACHE), 2, heads),
        Case("Attention", (*packed, None, None, In((2, 2, 5, 5))), 1, {**heads, "scale": 0.3}),
        Case("Attention", (*packed, None, None, In((1, 2, 5, 5))), 1, heads),
        Case(
            "Attention",
            (X, w(8, 20), w(20)),
            1,
            {**heads, "qkv_hidden_sizes": [8, 8, 4]},
        ),
        Case(
            "Attention",
            (*packed, MASKS["raw"]),
            1,
            {**heads, "mask_filter_value": -3.0},
        ),
    ]
    memory = In((2, 6, 8))
    out += [
        Case("MultiHeadAttention", (X, X, X), 1, heads),
        Case("MultiHeadAttention", (X, memory, memory, w(24)), 1, heads),
        Case("MultiHeadAttention", (X, memory, In((2, 6, 4))), 1, {**heads, "scale": 0.7}),
        Case("MultiHeadAttention", (X, X, X), 1, {**heads, "unidirectional": 1}),
        Case("MultiHeadAttention", (X, In((2, 2, 6, 4)), In((2, 2, 6, 4))), 1, heads),
        Case("MultiHeadAttention", (X, X, X, w(24), MASKS["raw"]), 1, heads),
        Case("MultiHeadAttention", (X, X, X, None, None, In((1, 1, 5, 5))), 1, heads),
        Case(
            "MultiHeadAttention",
            (X, X, X, None, None, None, In((2, 2, 3, 4)), In((2, 2, 3, 4))),
            3,
            heads,
        ),
    ]
    return out


def grouped_cases() -> list[Case]:
    attributes: dict[str, Any] = {"num_heads": 4, "kv_num_heads": 2}
    total = np.array(5, I32)
    q, kv = In((2, 5, 64)), In((2, 5, 32))
    empty = (None, None)
    tables = (COS4, SIN4)
    out = [
        Case("GroupQueryAttention", (q, kv, kv, *empty, i32(4, 4), total), 3, attributes),
        Case("GroupQueryAttention", (q, kv, kv, *empty, i32(2, 4), total), 3, attributes),
        Case(
            "GroupQueryAttention",
            (In((2, 5, 128)), None, None, *empty, i32(4, 4), total),
            3,
            attributes,
        ),
    ]
    for extra in ({"do_rotary": 1}, {"do_rotary": 1, "rotary_interleaved": 1}):
        out.append(
            Case(
                "GroupQueryAttention",
                (q, kv, kv, *empty, i32(4, 4), total, *tables),
                3,
                attributes | extra,
            )
        )
    for extra in ({"local_window_size": 2}, {"softcap": 1.5}, {"scale": 0.2}):
        out.append(
            Case(
                "GroupQueryAttention",
                (q, kv, kv, *empty, i32(4, 4), total),
                3,
                attributes | extra,
            )
        )
    one, one_kv, cache = In((2, 1, 64)), In((2, 1, 32)), In((2, 2, 6, 16))
    for lengths in (i32(6, 6), i32(3, 6)):
        out.append(
            Case(
                "GroupQueryAttention",
                (one, one_kv, one_kv, cache, cache, lengths, np.array(7, I32), *tables),
                3,
                {**attributes, "do_rotary": 1},
            )
        )
    out.append(  # lengths known at run time only
        Case(
            "GroupQueryAttention",
            (one, one_kv, one_kv, cache, cache, In((2,), I32), np.array(7, I32), *tables),
            3,
            {**attributes, "do_rotary": 1},
            {5: i32(4, 6)},
        )
    )
    return out


def layer_cases() -> list[Case]:
    gamma, beta = w(8), w(8)
    ids, words = In((2, 5), I32), (w(11, 8), w(7, 8), w(3, 8))
    drawn = {0: RNG.integers(0, 11, (2, 5)).astype(I32), 1: RNG.integers(0, 3, (2, 5)).astype(I32)}
    out = [
        Case("SkipLayerNormalization", (X, X, gamma, beta)),
        Case("SkipLayerNormalization", (X, X, gamma, beta, w(8)), 4, {"epsilon": 1e-5}),
        Case("SkipLayerNormalization", (X, In((1, 5, 8)), gamma)),
        Case("SkipSimplifiedLayerNormalization", (X, X, gamma)),
        Case(
            "SkipSimplifiedLayerNormalization",
            (X, X, gamma, w(8)),
            4,
            {"epsilon": 1e-6},
            omitted=(1, 2),
        ),
        Case("EmbedLayerNormalization", (ids, ids, *words, gamma, beta), 2, {}, drawn),
        Case("EmbedLayerNormalization", (ids, None, *words[:2], None, gamma, beta), 2, {}, drawn),
        Case(
            "EmbedLayerNormalization",
            (ids, ids, *words, gamma, beta, MASKS["raw"]),
            3,
            {"epsilon": 1e-5},
            drawn,
        ),
        Case("Gelu", (X,)),
        Case("FastGelu", (X,)),
        Case("FastGelu", (X, w(8))),
        Case("BiasGelu", (X, w(8))),
        Case("QuickGelu", (X,)),
        Case("QuickGelu", (X,), 1, {"alpha": 1.0}),
        Case("FusedMatMul", (X, w(8, 3)), 1, {"alpha": 0.5}),
        Case("FusedMatMul", (X, In((2, 3, 8))), 1, {"transB": 1}),
        Case("FusedMatMul", (X, In((2, 5, 3))), 1, {"transA": 1}),
        Case("FusedMatMul", (In((5, 2, 8)), In((2, 8, 3))), 1, {"transBatchA": 1}),
        Case("FusedGemm", (In((3, 4)), w(4, 5), w(5)), 1, {"activation": "Relu"}),
        Case(
            "FusedGemm",
            (In((3, 4)), w(5, 4), w(5)),
            1,
            {"activation": "LeakyRelu", "activation_alpha": 0.2, "transB": 1},
        ),
    ]
    image, weights = In((1, 3, 6, 6)), w(4, 3, 3, 3)
    for name, values in (
        ("Relu", []), ("LeakyRelu", [0.1]), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.3, 0.4]),
    ):  # fmt: skip
        attributes: dict[str, Any] = {"activation": name, "pads": [1, 1, 1, 1]}
        attributes |= {"activation_params": values} if values else {}
        out.append(Case("FusedConv", (image, weights, w(4)), 1, attributes))
    out.append(
        Case("FusedConv", (image, weights, w(4), In((1, 4, 4, 4))), 1, {"activation": "Relu"})
    )
    positions = {1: np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], np.int64)}
    at, start = In((2, 5), np.int64), np.array([3], np.int64)
    for interleaved in (0, 1):
        made = {"interleaved": interleaved}
        out += [
            Case("RotaryEmbedding", (X, at, COS, SIN), 1, made, positions),
            Case("RotaryEmbedding", (In((2, 3, 5, 4)), start, COS, SIN), 1, made),
            Case(
                "RotaryEmbedding",
                (In((2, 5, 12)), at, COS, SIN),
                1,
                {**made, "num_heads": 2, "rotary_embedding_dim": 4},
                positions,
            ),
        ]
    return out


def product_cases() -> list[Case]:
    out: list[Case] = []
    for bits, block, zero in ((4, 16, True), (4, 32, False), (8, 16, True), (8, 32, False)):
        rows, columns = 6, 48
        blocks = -(-columns // block)
        packed = codes(np.uint8, rows, blocks, block * bits // 8)
        args: list[Any] = [In((3, columns)), packed, w(rows, blocks)]
        if zero:
            args.append(codes(np.uint8, rows, -(-blocks * bits // 8)))
        made = {"K": columns, "N": rows, "bits": bits, "block_size": block}
        out.append(Case("MatMulNBits", tuple(args), 1, made))
    for dtype in (np.int8, np.uint8):
        weights, zero_point = codes(dtype, 8, 6), codes(dtype, 1)
        scale, scales = np.array([0.02], F32), RNG.uniform(0.01, 0.1, 6).astype(np.float32)
        out += [
            Case("DynamicQuantizeMatMul", (In((4, 8)), weights, scale, zero_point)),
            Case("DynamicQuantizeMatMul", (In((2, 4, 8)), weights, scales, None, w(6))),
            Case(
                "MatMulIntegerToFloat",
                (In((4, 8), np.uint8), weights, scale, scales, codes(np.uint8, 1), None, w(6)),
            ),
        ]
    out.append(
        Case(
            "QAttention",
            (
                In((2, 5, 8), np.uint8), codes(np.int8, 8, 24), w(24), np.array(0.01, F32),
                np.array(0.02, F32), MASKS["raw"], np.array(120, np.uint8), np.array(0, np.int8),
            ),
            1,
            {"num_heads": 2},
        )
    )  # fmt: skip
    return out


CASES = [*attention_cases(), *grouped_cases(), *layer_cases(), *product_cases()]


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_means_what_onnxruntime_computes(case: Case) -> None:
    check(case._replace(domain="com.microsoft"))
