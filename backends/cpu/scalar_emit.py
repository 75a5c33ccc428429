"""Applying a scalar function: the CPU's counterpart of `dialects.scalar.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...dialects.scalar import SCALAR_FUNCTIONS
from ...dialects.types import Param
from . import scalars, scalars_bits, scalars_math, scalars_quant
from .llvm_text import Function, Type, Value

EMITTERS: dict[str, scalars.Emitter] = {
    **scalars.EMITTERS,
    **scalars_bits.EMITTERS,
    **scalars_math.EMITTERS,
    **scalars_quant.EMITTERS,
}
"""An emitter for every function of `dialects.scalar`."""


def emit(
    f: Function, fn: str, args: Sequence[Value], params: Mapping[str, Param], result: Type
) -> Value:
    """Apply scalar function `fn`; arguments of fewer lanes are broadcast, the result has the most.

    `result` gives the element type.
    """
    lanes = max([a.type.lanes for a in args], default=1)
    if SCALAR_FUNCTIONS[fn].bits:
        return EMITTERS[fn](f, [f.broadcast(a, lanes) for a in args], params, result.wide(lanes))
    wide = [f.broadcast(scalars.widened(f, a), lanes) for a in args]
    out = EMITTERS[fn](f, wide, {**SCALAR_FUNCTIONS[fn].params, **params}, result.wide(lanes))
    return scalars.cast(f, out, result.wide(lanes))
