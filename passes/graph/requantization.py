"""Requantisation of an accumulator, and what an integer form is.

An integer form is made for a `Target`: operations of which the last yields the stored result, or a
reason, told to the user, why the operation has to stay in real arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects import fixed_point
from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, QuantAttr, RequantizeOp
from ...dialects.types import shape_of

INT32_MAX = 2**31 - 1

Form = list[Operation] | str
"""New operations in order, or why there are none."""


@dataclass(frozen=True)
class Target:
    """The result's encoding, and bounds on its stored value (a fused activation)."""

    encoding: QuantAttr
    lo: int
    hi: int


def requantized(acc: SSAValue, ratios: Array, target: Target, store: ConstantStore) -> Form:
    """Requantise `acc` by real `ratios`, which broadcast against it ([1] for a single one)."""
    if ratios.size == 1:
        ratios = ratios.reshape((1,) * min(1, len(shape_of(acc))))
    try:
        pairs = [fixed_point.quantize_multiplier(float(r)) for r in ratios.reshape(-1)]
    except ValueError as error:
        return str(error)
    multiplier, shift = (
        ConstantOp.from_array(
            np.array([p[i] for p in pairs], np.int32).reshape(ratios.shape), store
        )
        for i in (0, 1)
    )
    multiplier.result.name_hint, shift.result.name_hint = "multiplier", "shift"
    requantize = RequantizeOp(
        acc, multiplier.result, shift.result, target.encoding, lo=target.lo, hi=target.hi
    )
    return [multiplier, shift, requantize]
