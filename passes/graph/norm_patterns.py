"""Normalisation of rows, recognised in the elementwise operations it is written in.

    d = sub(x, mean(x))                          layer norm; RMS norm has d = x
    y = div(d, sqrt(add(mean(mul(d, d)), e)))    or d times rsqrt, or reciprocal of sqrt; pow(d, 2)
    z = add(mul(y, gain), offset)                constants, either may be absent

Means are over the same axes, with keepdims.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import MapOp, ReduceOp, constant_array
from ...dialects.types import int_values, shape_of


@dataclass(frozen=True)
class Norm:
    """A normalisation of `x` over `axes`; `core` is the division, `gain` and `offset` constants.

    `readers` are the operations of it that read x.
    """

    x: SSAValue
    axes: tuple[int, ...]
    epsilon: float
    centred: bool
    core: Operation
    readers: tuple[Operation, ...]
    gain: Array | None = None
    offset: Array | None = None


def _map(value: SSAValue, *fns: str) -> MapOp | None:
    owner = value.owner
    return owner if isinstance(owner, MapOp) and owner.fn.data in fns else None


def _owner(value: SSAValue) -> tuple[Operation, ...]:
    return (value.owner,) if isinstance(value.owner, Operation) else ()


def _number(value: SSAValue, store: ConstantStore) -> float | None:
    array = constant_array(value, store)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _with_constant(op: MapOp | None, store: ConstantStore) -> tuple[SSAValue, Array] | None:
    """(other operand, constant) of a commutative operation with one constant operand."""
    if op is None:
        return None
    for value, other in (tuple(op.args), tuple(op.args)[::-1]):
        if (array := constant_array(other, store)) is not None:
            return value, array
    return None


def _mean(value: SSAValue) -> ReduceOp | None:
    owner = value.owner
    if isinstance(owner, ReduceOp) and owner.kind.data == "mean" and owner.keepdims.value.data:
        return owner
    return None


def _spread(value: SSAValue, store: ConstantStore) -> tuple[SSAValue, ReduceOp, float] | None:
    """(d, mean, epsilon) if `value` is mean(d * d) + epsilon."""
    epsilon = 0.0
    if (added := _with_constant(_map(value, "add"), store)) is not None:
        value, array = added
        if array.size != 1:
            return None
        epsilon = float(array.reshape(-1)[0])
    mean = _mean(value)
    if mean is None or epsilon < 0:
        return None
    if (square := _map(mean.x, "mul")) is not None and square.args[0] is square.args[1]:
        return square.args[0], mean, epsilon
    if (power := _map(mean.x, "pow")) is not None and _number(power.args[1], store) == 2:
        return power.args[0], mean, epsilon
    return None


def _core(op: MapOp, store: ConstantStore) -> Norm | None:
    """The division by the deviation."""
    candidates: list[tuple[SSAValue, SSAValue]] = []
    if op.fn.data == "div":
        if (root := _map(op.args[1], "sqrt")) is not None:
            candidates.append((op.args[0], root.args[0]))
    elif op.fn.data == "mul":
        for d, factor in (tuple(op.args), tuple(op.args)[::-1]):
            if (
                (root := _map(factor, "rsqrt")) is not None
                or (
                    (inverse := _map(factor, "reciprocal")) is not None
                    and (root := _map(inverse.args[0], "sqrt"))
                )
                or (
                    (quotient := _map(factor, "div")) is not None
                    and _number(quotient.args[0], store) == 1
                    and (root := _map(quotient.args[1], "sqrt"))
                )
            ):
                candidates.append((d, root.args[0]))
    for d, value in candidates:
        spread = _spread(value, store)
        if spread is None or spread[0] is not d:
            continue
        axes, x, centred = int_values(spread[1].axes), d, False
        readers: tuple[Operation, ...] = (op, *_owner(spread[1].x))
        if (difference := _map(d, "sub")) is not None:
            mean = _mean(difference.args[1])
            if mean is not None and mean.x is difference.args[0] and int_values(mean.axes) == axes:
                x, centred, readers = mean.x, True, (mean, difference)
        if shape_of(op.result) == shape_of(x):
            return Norm(x, axes, spread[2], centred, op, readers)
    return None


def norm_of(op: Operation, store: ConstantStore) -> Norm | None:
    """The normalisation whose result `op` yields, if it is one; gain and offset included."""
    if not isinstance(op, MapOp) or op.fn.data not in ("add", "mul", "div"):
        return None
    if (core := _core(op, store)) is not None:
        return core
    current, gain, offset = op, None, None
    if current.fn.data == "add":
        added = _with_constant(current, store)
        if added is None:
            return None
        offset, inner = added[1], added[0].owner
        if not isinstance(inner, MapOp) or not added[0].has_one_use():
            return None
        current = inner
    core = _core(current, store)
    if core is None and current.fn.data == "mul":
        scaled = _with_constant(current, store)
        if scaled is None or not scaled[0].has_one_use():
            return None
        gain, inner = scaled[1], scaled[0].owner
        core = _core(inner, store) if isinstance(inner, MapOp) else None
    if core is None or shape_of(op.result) != shape_of(core.x):
        return None
    return replace(core, gain=gain, offset=offset)


def norms(ops: Iterable[Operation], store: ConstantStore) -> dict[Operation, Norm]:
    """Every normalisation among `ops` (program order), by the operation that yields its result."""
    found: dict[Operation, tuple[Operation, Norm]] = {}
    for op in ops:
        if (norm := norm_of(op, store)) is not None:
            found[norm.core] = (op, norm)  # the last one includes those before it
    return dict(found.values())
