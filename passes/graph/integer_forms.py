"""Integer forms: what `dequantize -> op -> quantize` computes on stored values.

conv, matmul      `integer_products.py`
average, mean     `integer_sums.py`
add, sub          graph.qadd: both operands at a common scale, then requantised
mul               graph.qmul
softmax, norms    `integer_rows.py`
linear resize     `integer_resize.py`
of a plugin       `integer_custom.py`
minimum, maximum  both operands in the result's encoding
"""

from __future__ import annotations

from xdsl.ir import Operation

from ...dialects import fixed_point
from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    ConvOp,
    CustomOp,
    MapOp,
    MatMulOp,
    PoolOp,
    QAddOp,
    QMulOp,
    ReduceOp,
    ResizeOp,
    SoftmaxOp,
)
from .integer_custom import integer_custom
from .integer_products import integer_convolution, integer_product
from .integer_resize import integer_resize
from .integer_rows import integer_norm, integer_softmax
from .integer_sums import integer_pool, integer_reduction
from .quantize_push import stored_form
from .requantization import Form, Target


def integer_form(op: Operation, target: Target, store: ConstantStore) -> Form | None:
    """The integer form of `op`; or why not; None if it is not of a kind that has one."""
    match op:
        case ConvOp():
            return integer_convolution(op, target, store)
        case MatMulOp():
            return integer_product(op, target, store)
        case PoolOp() if op.kind.data in ("average", "sum"):
            return integer_pool(op, target, store)
        case ReduceOp() if op.kind.data in ("mean", "sum"):
            return integer_reduction(op, target, store)
        case ResizeOp():
            return integer_resize(op, target)
        case CustomOp():
            return integer_custom(op, target, store)
        case SoftmaxOp():
            return integer_softmax(op, target, store)
        case MapOp() if (form := integer_norm(op, target, store)) is not None:
            return form
        case MapOp() if op.fn.data in ("add", "sub", "mul"):
            return _binary(op, target)
        case _:
            return None


def _binary(op: MapOp, target: Target) -> Form | None:
    forms = [stored_form(v) for v in op.args]
    if len(forms) != 2 or forms[0] is None or forms[1] is None:
        return None
    (a, a_encoding), (b, b_encoding) = forms[0], forms[1]
    if a_encoding.axis_index is not None or b_encoding.axis_index is not None:
        return "an operand is quantised per channel"
    za, zb, encoding = a_encoding.zero_point, b_encoding.zero_point, target.encoding
    try:
        if op.fn.data == "mul":
            ratio = a_encoding.scale * b_encoding.scale / encoding.scale
            multiplier, shift = fixed_point.quantize_multiplier(ratio)
            return [
                QMulOp(
                    a,
                    b,
                    encoding,
                    za=za,
                    zb=zb,
                    multiplier=multiplier,
                    shift=shift,
                    lo=target.lo,
                    hi=target.hi,
                )
            ]
        scales = a_encoding.scale, b_encoding.scale, encoding.scale
        ma, mb, multiplier, shift = fixed_point.add_multipliers(*scales)
    except ValueError as error:
        return str(error)
    mb = -mb if op.fn.data == "sub" else mb
    return [QAddOp(
        a, b, encoding, za=za, ma=ma, zb=zb, mb=mb, multiplier=multiplier, shift=shift,
        lo=target.lo, hi=target.hi,
    )]  # fmt: skip
