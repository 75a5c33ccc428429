"""What an NPU can run: one rule per kind of operation, each a reason why not, in the user's terms.

`npu_reason(op, machine, store)` is None where the matrix, vector and DMA units together can run
`op` on stored 8-bit values.  Whether it is worth it is decided in `assign_device.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Operation, SSAValue

from ...backends.targets.machine import Machine
from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    BroadcastOp,
    ConcatOp,
    ConstantOp,
    ConvOp,
    CustomOp,
    DequantizeOp,
    LookupOp,
    MapOp,
    MatMulOp,
    PadOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QNormOp,
    QSoftmaxOp,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
    ReshapeOp,
    ResizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
    spatial_axes,
)
from ...dialects.types import element_of, int_values, numpy_dtype, shape_of

Rule = Callable[[Any, Machine, ConstantStore], str | None]


def _element_name(value: SSAValue) -> str:
    return numpy_dtype(element_of(value)).name


def _is_constant(value: SSAValue | None) -> bool:
    return value is None or isinstance(value.owner, ConstantOp)


def _not_i8(value: SSAValue) -> str | None:
    return (
        None
        if element_of(value) == i8
        else f"{_element_name(value)} data: the NPU computes on int8"
    )


def _conv(op: ConvOp, machine: Machine, store: ConstantStore) -> str | None:
    if why := _not_i8(op.x) or _not_i8(op.w):
        return why
    return None if _is_constant(op.b) else "convolution with a bias computed at run time"


def _matmul(op: MatMulOp, machine: Machine, store: ConstantStore) -> str | None:
    if why := _not_i8(op.a) or _not_i8(op.b):
        return why
    return None if _is_constant(op.bias) else "matrix product with a bias computed at run time"


def _pool(op: PoolOp, machine: Machine, store: ConstantStore) -> str | None:
    if why := _not_i8(op.x):
        return why
    if len(shape_of(op.x)) != 4:
        return f"{len(shape_of(op.x)) - 2}-D pooling: the vector unit takes 2-D windows"
    return None if op.kind.data in ("max", "sum") else f"{op.kind.data} pooling"


def _reduce(op: ReduceOp, machine: Machine, store: ConstantStore) -> str | None:
    if why := _not_i8(op.x):
        return why
    if op.kind.data not in ("sum", "max"):
        return f"reduction {op.kind.data!r}: the vector unit takes sums and maxima"
    return None


def _requantize(op: RequantizeOp, machine: Machine, store: ConstantStore) -> str | None:
    if element_of(op.x) != i32 or element_of(op.result) != i8:
        return f"requantisation from {_element_name(op.x)} to {_element_name(op.result)}"
    if not _is_constant(op.multiplier) or not _is_constant(op.shift):
        return "requantisation by multipliers computed at run time"
    shape = shape_of(op.multiplier)
    if sum(d != 1 for d in shape) > 1:
        return "requantisation with a multiplier per position (windows of unequal size)"
    return None


def _binary(op: QAddOp | QMulOp, machine: Machine, store: ConstantStore) -> str | None:
    return _not_i8(op.a) or _not_i8(op.b)


def _lookup(op: LookupOp, machine: Machine, store: ConstantStore) -> str | None:
    if not _is_constant(op.table):
        return "table computed at run time"
    return _not_i8(op.x) or _not_i8(op.result)


def _move(op: Operation, machine: Machine, store: ConstantStore) -> str | None:
    return next((why for operand in op.operands if (why := _not_i8(operand))), None)


def _pad(op: PadOp, machine: Machine, store: ConstantStore) -> str | None:
    if op.mode.data != "constant":
        return f"padding in {op.mode.data!r} mode: the DMA engine fills with constants"
    return _move(op, machine, store)


def _slice(op: SliceOp, machine: Machine, store: ConstantStore) -> str | None:
    if any(s < 0 for s in int_values(op.steps)):
        return "slice with a negative step"
    return _move(op, machine, store)


def whole_factors(op: ResizeOp) -> tuple[int, ...] | None:
    """Factors f such that a nearest `op` is y[o] = x[o // f] along each spatial axis, else None.

    Checked against the coordinate rules themselves, which differ in their rounding.
    """
    if op.mode.data != "nearest":
        return None
    x, y = shape_of(op.x), shape_of(op.result)
    factors: list[int] = []
    for axis, scale in zip(
        spatial_axes(len(x), op.layout.data), op.scales.get_values(), strict=True
    ):
        factor, rest = divmod(y[axis], x[axis])
        if rest or factor < 1 or abs(float(scale) - factor) > 1e-6:
            return None
        if not _selects_by_division(op.coordinates.data, op.nearest.data, factor, x[axis]):
            return None
        factors.append(factor)
    return tuple(factors)


def _selects_by_division(coordinates: str, nearest: str, factor: int, extent: int) -> bool:
    """Whether nearest resizing by `factor` picks element o // factor for every output o."""
    if factor == 1 or extent == 1:
        return True
    if coordinates == "asymmetric":
        return nearest == "floor" or (nearest == "round_prefer_floor" and factor == 2)
    if coordinates in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        return nearest in ("round_prefer_floor", "round_prefer_ceil")
    return False


def _resize(op: ResizeOp, machine: Machine, store: ConstantStore) -> str | None:
    if why := _not_i8(op.x):
        return why
    if op.mode.data != "nearest":
        return f"{op.mode.data} resize: no interpolation unit"
    return None if whole_factors(op) is not None else "nearest resize by other than whole factors"


def _softmax(op: SoftmaxOp, machine: Machine, store: ConstantStore) -> str | None:
    return f"{_element_name(op.x)} softmax: the vector unit has no exponential"


def _row(op: QSoftmaxOp | QNormOp, machine: Machine, store: ConstantStore) -> str | None:
    if not all(map(_is_constant, op.operands[1:])):
        return "a table or factors computed at run time"
    return _not_i8(op.x)


def _map(op: MapOp, machine: Machine, store: ConstantStore) -> str | None:
    return f"{_element_name(op.args[-1])} {op.fn.data}: the vector unit computes on int8"


def _conversion(
    op: QuantizeOp | DequantizeOp, machine: Machine, store: ConstantStore
) -> str | None:
    names = f"{_element_name(op.x)} to {_element_name(op.result)}"
    return f"conversion from {names}: the NPU has no floating point"


def _custom(op: CustomOp, machine: Machine, store: ConstantStore) -> str | None:
    return f"{op.domain.data}.{op.operator.data}: its plugin gives it no form on stored values here"


RULES: dict[type[Operation], Rule] = {
    ConvOp: _conv,
    MatMulOp: _matmul,
    PoolOp: _pool,
    ReduceOp: _reduce,
    RequantizeOp: _requantize,
    QAddOp: _binary,
    QMulOp: _binary,
    LookupOp: _lookup,
    TransposeOp: _move,
    ReshapeOp: _move,
    BroadcastOp: _move,
    ConcatOp: _move,
    SliceOp: _slice,
    PadOp: _pad,
    ResizeOp: _resize,
    SoftmaxOp: _softmax,
    QSoftmaxOp: _row,
    QNormOp: _row,
    MapOp: _map,
    QuantizeOp: _conversion,
    DequantizeOp: _conversion,
    CustomOp: _custom,
}
"""Rules by operation class; a class that is absent has no NPU form."""


def npu_reason(op: Operation, machine: Machine, store: ConstantStore) -> str | None:
    """Why `op` cannot run on `machine`, or None if it can."""
    rule = RULES.get(type(op))
    if rule is None:
        return f"{op.name.removeprefix('graph.')}: the NPU has no such operation"
    if any(0 in shape_of(v) for v in (*op.operands, *op.results)):
        return "an empty tensor"
    return rule(op, machine, store)
