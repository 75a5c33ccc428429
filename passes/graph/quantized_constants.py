"""Constant operands as dequantised 8-bit constants.

%y = graph.conv %x, %w        ==>      %wd = graph.dequantize %wq : i8, a scale per channel
%y = graph.conv %x, %wd
"""

from __future__ import annotations

from xdsl.ir import Block, Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import (
    ConstantOp,
    ConvOp,
    DequantizeOp,
    MatMulOp,
    QuantAttr,
    constant_array,
    quantization,
)
from ...dialects.locations import inherit
from ...dialects.types import shape_of
from .encodings import quantize_array, weight_scales
from .movement import is_movement
from .quantization_plan import has_constant_weights


def quantize_constant(
    op: Operation, index: int, array: Array, encoding: QuantAttr, store: ConstantStore
) -> None:
    """Make operand `index` of `op`, whose contents are `array`, a dequantised 8-bit constant."""
    source, block = op.operands[index].owner, op.parent_block()
    assert block is not None
    constant = ConstantOp.from_array(quantize_array(array, encoding), store, encoding=encoding)
    dequantize = DequantizeOp(constant.result)
    constant.result.name_hint = dequantize.result.name_hint = op.operands[index].name_hint
    for new in (constant, dequantize):
        if isinstance(source, Operation):
            inherit(new, source)
    block.insert_ops_before([constant, dequantize], op)
    op.operands[index] = dequantize.result


def quantize_weights(
    op: ConvOp | MatMulOp, x_scale: float, per_channel: bool, store: ConstantStore
) -> None:
    """Quantise the constant weights of `op`, whose input has scale `x_scale`, symmetrically."""
    if isinstance(op, ConvOp):
        bias, axis = op.b, 0 if op.layout.data == "NCHW" else len(shape_of(op.w)) - 1
    else:
        bias, axis = op.bias, len(shape_of(op.b)) - 1
    weights = constant_array(op.operands[1], store)
    assert weights is not None
    bias_array = constant_array(bias, store) if bias is not None else None
    channels = axis if per_channel else None
    scales = [float(s) for s in weight_scales(weights, channels, bias_array, x_scale)]
    encoding = QuantAttr.get(scales, [0] * len(scales), channels)
    quantize_constant(op, 1, weights, encoding, store)


def _scale(value: SSAValue) -> float | None:
    """The scale of the stored tensor whose real value `value` is, perhaps moved."""
    while isinstance(owner := value.owner, Operation) and is_movement(owner):
        value = owner.operands[0]
    encoding = quantization(owner.x.type) if isinstance(owner, DequantizeOp) else None
    return encoding.scale if encoding is not None and encoding.axis_index is None else None


def restore_weights(block: Block, per_channel: bool, store: ConstantStore) -> None:
    """Quantise weights of a quantised model that constant folding has made real.

    The new scales are the model's own where its largest weight is stored as 127, as is usual.
    """
    for op in list(block.ops):
        if isinstance(op, ConvOp | MatMulOp) and has_constant_weights(op):
            scale = _scale(op.operands[0])
            if scale is not None:
                quantize_weights(op, scale, per_channel, store)
