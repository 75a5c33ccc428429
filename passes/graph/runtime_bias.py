"""Biases computed at run time, taken out of convolutions and matrix products.

    conv(x, w, b)   ==>   conv(x, w) + reshape(b, [C, 1, 1])

An accumulator is stored in 8 bits before anything else is added to it, so that only a constant bias
can be part of an integer product.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects.builtin import f32
from xdsl.ir import Operation

from ...dialects.graph import ConvOp, MapOp, MatMulOp, ReshapeOp
from ...dialects.types import element_of, shape_of
from ..rewriting import replace
from .quantization_plan import is_constant


def split_biases(ops: Iterable[Operation]) -> None:
    """Rewrite every real convolution and product of `ops` with such a bias, as above."""
    for op in ops:
        if not isinstance(op, ConvOp | MatMulOp) or element_of(op.result) != f32:
            continue
        bias = op.b if isinstance(op, ConvOp) else op.bias
        if bias is None or is_constant(bias):
            continue
        plain = type(op).create(
            operands=op.operands[:2], result_types=[op.result.type], properties=dict(op.properties)
        )
        after = len(shape_of(op.result)) - 2 if _channels_first(op) else 0
        aligned = ReshapeOp(bias, (*shape_of(bias), *[1] * after))
        replace(op, [plain, aligned, MapOp("add", [plain.results[0], aligned.result])])


def _channels_first(op: ConvOp | MatMulOp) -> bool:
    return isinstance(op, ConvOp) and op.layout.data == "NCHW"
