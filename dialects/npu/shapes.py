"""Which operand shapes and parameter values each instruction accepts.

One check for commands in the IR, before encoding and after decoding, so that nothing malformed
reaches the arithmetic of `semantics/instructions.py`:

    misfit("matmul", [(4, 16), (16, 8), (4, 9)], {"m_rank": 1, ...})
    ->  "acc has shape (4, 9), not (4, 8)"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..sparsity import GROUP, index_shape, values_shape
from .isa import (
    BY_MNEMONIC,
    MAX_CORES,
    MAX_DIMS,
    MAX_TENSOR_DIMS,
    PARAM_RANGES,
    PRODUCTS,
    WINDOWS,
)

Shape = tuple[int, ...]


def _matmul(shapes: Sequence[Shape], params: Mapping[str, int]) -> list[Shape | None]:
    a, b, *_ = shapes
    m = params["m_rank"]
    return [None, (*a[m:], *b[-1:]), (*a[:m], *b[-1:])]


def _smatmul(shapes: Sequence[Shape], params: Mapping[str, int]) -> list[Shape | None]:
    a, weights, acc = _matmul(shapes, params)
    assert weights is not None
    axis = len(weights) - 2
    return [a, values_shape(weights, axis), acc, index_shape(weights, axis)]


def _taps(shapes: Sequence[Shape], params: Mapping[str, int]) -> list[Shape | None]:
    a, p = shapes[0], params["p_rank"]
    if len(a) != p + params["t_rank"] + 1:
        return [(1,) * (p + params["t_rank"] + 1)]
    out = (*a[:p], a[-1])
    if len(shapes) == 4:  # the maxima and a table
        return [None, out, None, out]
    weights = [a[p:]] if len(shapes) == 3 else []
    return [None, *weights, out]


def table_operand(mnemonic: str) -> int | None:
    """Position of the operand that is a table of 256 entries, if there is one."""
    names = [o.name for o in BY_MNEMONIC[mnemonic].operands]
    return names.index("table") if "table" in names else None


def _expected(
    mnemonic: str, shapes: Sequence[Shape], params: Mapping[str, int]
) -> list[Shape | None]:
    """The shape each operand must have, None where it is free."""
    if mnemonic == "matmul":
        return _matmul(shapes, params)
    if mnemonic == "smatmul":
        return _smatmul(shapes, params)
    if mnemonic in WINDOWS:
        return _taps(shapes, params)
    if (table := table_operand(mnemonic)) is not None:
        return [None if i in (0, table) else shapes[0] for i in range(len(shapes))]
    return [None] + [shapes[0]] * (len(shapes) - 1)


def misfit(mnemonic: str, shapes: Sequence[Shape], params: Mapping[str, int]) -> str | None:
    """What is wrong with the operands' shapes or the parameters; None when they fit.

    `shapes` has one shape per operand of the instruction, `params` all its parameters.
    """
    spec = BY_MNEMONIC[mnemonic]
    for name in spec.params:
        low, high = PARAM_RANGES[name]
        if not low <= params[name] <= high:
            return f"{name} = {params[name]} is outside [{low}, {high}]"
    if "element" in spec.params:
        if params["element"] not in (1, 2, 4, 8):
            return f"element = {params['element']} is not 1, 2, 4 or 8 bytes"
        if abs(2 * params.get("fill", 0) + 1) >= 1 << (8 * params["element"]):
            return f"fill = {params['fill']} does not fit {params['element']} bytes"
    if mnemonic == "cores" and params["count"] > MAX_CORES:
        return f"count = {params['count']} is outside [1, {MAX_CORES}]"
    if mnemonic == "cores" and params["count"] % params["inner"]:
        return f"inner = {params['inner']} does not divide {params['count']} cores"
    if len(shapes) != len(spec.operands):
        return f"has {len(shapes)} operands, not {len(spec.operands)}"
    for operand, shape in zip(spec.operands, shapes, strict=True):
        limit = MAX_TENSOR_DIMS if mnemonic in ("load", "store") else MAX_DIMS
        if not 1 <= len(shape) <= limit:
            return f"{operand.name} has {len(shape)} dimensions, not 1 to {limit}"
        if min(shape) < 1:
            return f"{operand.name} has an empty dimension: {shape}"
    table = table_operand(mnemonic)
    if table is not None and math.prod(shapes[table]) != 256:
        return f"table has {math.prod(shapes[table])} entries, not 256"
    if mnemonic in PRODUCTS and params["m_rank"] >= len(shapes[0]):
        return "a has no reduction dimension"
    if mnemonic == "smatmul" and shapes[0][-1] % GROUP:
        return f"the last reduction dimension is {shapes[0][-1]} long, not a multiple of {GROUP}"
    if shapes:
        for operand, shape, want in zip(
            spec.operands, shapes, _expected(mnemonic, shapes, params), strict=False
        ):
            if want is not None and shape != want:
                return f"{operand.name} has shape {shape}, not {want}"
    return None
