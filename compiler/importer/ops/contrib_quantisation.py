"""onnxruntime's quantised operators (domain `com.microsoft`): what its QOperator format is made of.

    y = QLinearAdd(a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp)
==>
    %y = graph.quantize (add (dequantize %a), (dequantize %b))

Each is imported as dequantize, the real operator by its own import rule, quantize: the same graph
as the QDQ format gives, which later passes turn into integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from xdsl.ir import SSAValue

from ....dialects.graph import MatMulOp, QuantAttr, QuantizeOp
from ....dialects.types import shape_of
from ..node import RULES, Node, Value, rule
from .quantisation import dequantize_linear, dequantized, encoding, quantize_linear, storage

DOMAIN = "com.microsoft."


def _encoding(node: Node, i: int, shape: tuple[int, ...], axis: int = 1) -> QuantAttr:
    """The encoding by input `i` (scale) and i + 1 (zero point, may be omitted)."""
    zero_point = node.static(i + 1, "the zero point") if node.has(i + 1) else None
    return encoding(node, node.static(i, "the scale"), zero_point, shape, axis)


def _real(node: Node, i: int) -> SSAValue:
    """Input `i` as f32, encoded by the two inputs after it."""
    return dequantized(node, i, _encoding(node, i + 1, node.shape(i)))


def _stored(node: Node, real: SSAValue, i: int) -> SSAValue:
    """`real` quantised by inputs `i` (scale) and i + 1 (zero point), stored like input 0's data."""
    dtype = node.dtype(i + 1) if node.has(i + 1) else np.dtype(np.uint8)
    return node.emit(QuantizeOp(real, _encoding(node, i, shape_of(real)), storage(node, dtype)))


def _standard(node: Node, op: str, inputs: Sequence[SSAValue]) -> SSAValue:
    """`node` as the standard operator `op` on real `inputs`."""
    rank = len(shape_of(inputs[0]))
    last = bool(node.integer("channels_last", 0)) and rank > 2
    if last:
        inputs = [node.transpose(x, (0, rank - 1, *range(1, rank - 1))) for x in inputs]
    opset = node.scope.opsets.get("", 1)
    result = RULES[op](replace(node, op=op, inputs=list(inputs), opset=opset))
    y = node.operand(result[0] if isinstance(result, list) else result)  # pyright: ignore[reportArgumentType]
    return node.transpose(y, (0, *range(2, rank), 1)) if last else y


UNARY = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
}
BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul"}


@rule(*(DOMAIN + op for op in UNARY))
def qlinear_unary(node: Node) -> Value:
    """An operator of one tensor."""
    return _stored(node, _standard(node, UNARY[node.op], [_real(node, 0)]), 3)


@rule(*(DOMAIN + op for op in BINARY))
def qlinear_binary(node: Node) -> Value:
    """Sum or product of two tensors."""
    return _stored(node, _standard(node, BINARY[node.op], [_real(node, 0), _real(node, 3)]), 6)


@rule(DOMAIN + "QLinearSoftmax")
def qlinear_softmax(node: Node) -> Value:
    """Softmax, by the rules of the opset its attribute names."""
    scope = replace(node.scope, opsets={**node.scope.opsets, "": node.integer("opset")})
    return _stored(node, _standard(replace(node, scope=scope), "Softmax", [_real(node, 0)]), 3)


@rule(DOMAIN + "QLinearConcat")
def qlinear_concat(node: Node) -> Value:
    """Concatenation of tensors with an encoding each."""
    if len(node.inputs) < 5 or len(node.inputs) % 3 != 2:
        raise node.error(f"has {len(node.inputs)} inputs, not 2 + 3 for each tensor")
    reals = [_real(node, i) for i in range(2, len(node.inputs), 3)]
    return _stored(node, _standard(node, "Concat", reals), 0)


@rule(DOMAIN + "QGemm")
def qgemm(node: Node) -> Value:
    """Alpha * A' B' + C, C in units of alpha * a_scale * b_scale; real without a result scale."""
    if len(node.shape(0)) != 2 or len(node.shape(3)) != 2:
        raise node.error("A and B must be matrices")
    trans_b, alpha = bool(node.integer("transB", 0)), node.real("alpha", 1.0)
    a_encoding = _encoding(node, 1, node.shape(0))
    b_encoding = _encoding(node, 4, node.shape(3), 0 if trans_b else 1)
    a, b = dequantized(node, 0, a_encoding), dequantized(node, 3, b_encoding)
    if node.integer("transA", 0):
        a = node.transpose(a, (1, 0))
    y = node.emit(MatMulOp(a, node.transpose(b, (1, 0)) if trans_b else b))
    if alpha != 1:
        y = node.map("mul", y, node.scalar(alpha, y))
    if node.has(6):
        scales = [alpha * a_encoding.scale * float(s) for s in b_encoding.scales.get_values()]
        axis = None if len(scales) == 1 else len(node.shape(6)) - 1
        y = node.map("add", y, dequantized(node, 6, QuantAttr.get(scales, [0] * len(scales), axis)))
    return _stored(node, y, 7) if node.has(7) else y


RULES[DOMAIN + "QuantizeLinear"] = quantize_linear
RULES[DOMAIN + "DequantizeLinear"] = dequantize_linear
