"""Scalar bodies of vector commands: what a stage computes on one element, as loop-level operations.

vrequant    %t = loop.apply "add" %acc, %bias;  loop.apply "requantize" %t, %m, %s
vlut        %i = loop.apply "widen" %x {zp = -128};  loop.extract %table[%i]
"""

from __future__ import annotations

from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Block, Operation, SSAValue

from ...dialects.loop import ApplyOp, ExtractOp, ScalarConstantOp

_ROW_FUNCTIONS = {
    "vwide": ("identity", i32), "vrecip": ("qreciprocal", i32), "vrsqrt": ("qrsqrt", i32),
    "vnorm": ("qnorm", i8),
}  # fmt: skip


def scalar_ops(
    kind: str, block: Block, params: dict[str, int], table: SSAValue | None
) -> list[Operation]:
    """The scalar body of a vector command."""
    args = list(block.args)
    if kind == "vrequant":
        total = ApplyOp("add", args[:2], i32)
        return [total, ApplyOp("requantize", [total.result, args[2], args[3]], i8, dict(params))]
    if kind == "vlut":
        assert table is not None
        index = ApplyOp("widen", args, i32, {"zp": -128})
        return [index, ExtractOp(table, [index.result])]
    if kind == "vexp":
        assert table is not None
        shift = ScalarConstantOp(params.pop("shift"), i32)
        top, x = ApplyOp("widen", args[1:2], i32), ApplyOp("widen", args[:1], i32)
        below = ApplyOp("sub", [top.result, x.result], i32)
        power = ExtractOp(table, [below.result])
        scaled = ApplyOp("requantize", [power.result, args[2], shift.result], i8, dict(params))
        return [shift, top, x, below, power, scaled]
    if kind in _ROW_FUNCTIONS:
        fn, element = _ROW_FUNCTIONS[kind]
        return [ApplyOp(fn, args, element, dict(params))]
    if kind == "vclip":
        return [ApplyOp("clip", args, i8, {"min": params["lo"], "max": params["hi"]})]
    return [ApplyOp("qadd" if kind == "vadd" else "qmul", args, i8, dict(params))]
