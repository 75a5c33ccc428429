"""Products and convolutions of dynamically quantised models, as the real products they stand for.

    %q = round(%x / %s) + %z                             %s, %z from the range of %x at run time
    %p = graph.matmul (i32(%q) - %z), %w                 i32
    %y = f32(%p) * (%s * %ws)                    ==>     %y = graph.matmul %x, (%w * %ws)

Encodings computed at run time need 32-bit results and real arithmetic around every product.  When
quantising with calibrated ranges, %x is encoded anew, so that its dynamic encoding is in the way.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.graph import CastOp, ConstantOp, ConvOp, MapOp, MatMulOp, constant_array
from ...dialects.types import element_of, shape_of
from ...dialects.types import integer as make_integer
from ..rewriting import replace
from .quantization_plan import single_user

NO_OFFSET = make_integer(0)


def restore_products(ops: Iterable[Operation], store: ConstantStore) -> None:
    """Rewrite every such product of `ops`, as above, with a constant bias added to it."""
    for op in ops:
        if op.parent is None or not isinstance(op, MapOp) or (product := _scaled(op)) is None:
            continue
        integer, scale = product
        weights = constant_array(integer.operands[1], store)
        source, factor = _source(integer.operands[0]), _factor(scale, store)
        if weights is None or source is None or factor is None or source[1] is not factor[0]:
            continue
        per_channel = isinstance(integer, MatMulOp) and factor[1].shape == weights.shape[-1:]
        if factor[1].size != 1 and not per_channel:
            continue
        real = (weights * factor[1].reshape(-1)).astype(np.float32)
        constant = ConstantOp.from_array(np.ascontiguousarray(real), store)
        user, bias = single_user(op.results[0]), None
        if isinstance(integer, MatMulOp) and isinstance(user, MapOp) and user.fn.data == "add":
            bias = next((v for v in user.args if constant_array(v, store) is not None), None)
            if bias is not None and shape_of(bias) != weights.shape[-1:]:
                bias = None
        new = type(integer).create(
            operands=[source[0], constant.result, *([] if bias is None else [bias])],
            result_types=[op.result.type],
            properties=dict(integer.properties),
        )
        if bias is None or user is None:
            replace(op, [constant, new])
            continue
        replace(user, [constant, new])
        op.detach()
        op.erase()


def _scaled(op: MapOp) -> tuple[ConvOp | MatMulOp, SSAValue] | None:
    """(the product in i32, the scale) if `op` scales such a product."""
    if op.fn.data != "mul" or element_of(op.result) != f32:
        return None
    for value, scale in (op.args, op.args[::-1]):
        if not isinstance(cast := value.owner, CastOp):
            continue
        integer = cast.x.owner
        if not isinstance(integer, ConvOp | MatMulOp) or len(integer.operands) > 2:
            continue
        properties = integer.properties
        centred = not any(k.endswith("_zp") and v != NO_OFFSET for k, v in properties.items())
        if centred and element_of(cast.x) == i32 and shape_of(op.result) == shape_of(cast.x):
            return integer, scale
    return None


def _source(value: SSAValue) -> tuple[SSAValue, SSAValue] | None:
    """(x, its scale) if `value` is round(x / scale), plus and minus the same zero point."""
    value, removed = _cast(value), None
    if isinstance(op := value.owner, MapOp) and op.fn.data == "sub":
        value, removed = _cast(op.args[0]), _cast(op.args[1])
    added: SSAValue | None = None
    while isinstance(op := value.owner, MapOp):
        if op.fn.data == "div":
            return (op.args[0], op.args[1]) if added is removed else None
        if op.fn.data == "add" and added is None:
            added = _cast(op.args[1])
        elif op.fn.data not in ("round", "clip"):
            return None
        value = _cast(op.args[0])
    return None


def _cast(value: SSAValue) -> SSAValue:
    """What `value` is a conversion of, or itself."""
    while isinstance(value.owner, CastOp):
        value = value.owner.x
    return value


def _factor(scale: SSAValue, store: ConstantStore) -> tuple[SSAValue, np.ndarray] | None:
    """(the scale of the left operand, that of the weights) of their product `scale`."""
    op = scale.owner
    if not isinstance(op, MapOp) or op.fn.data != "mul":
        return None
    for left, right in (op.args, op.args[::-1]):
        if (array := constant_array(right, store)) is not None:
            return left, array
    return None
