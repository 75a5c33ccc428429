"""The elementwise chain of a nest: what happens to each element after (or without) a reduction.

    add(acc, bias), requantize(_, m, s)  ->  vrequant acc, bias, m, s
    qadd(x, residual)                    ->  vadd
    widen(x) {zp = -128}, extract        ->  vlut
    clip, relu, minimum, maximum         ->  vclip
    requantize(table[top - x], r, s)     ->  vexp           (softmax)
    qnorm(x, ...)                        ->  vnorm
    qreciprocal(acc), qrsqrt(acc, x)     ->  vrecip, vrsqrt (results of 32 bits)

The chain is read from the epilogue, and from the body where there is no reduction.  All of it is on
i8, but for a single stage that keeps 32 bits; a sum that is the result itself is copied (vwide).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Block, SSAValue

from ....dialects.loop import ApplyOp, ExtractOp, NestOp, ScalarConstantOp, ScalarYieldOp
from ....dialects.scalar import SCALAR_FUNCTIONS
from ....dialects.types import element_of
from .classify import unsupported

WIDE = ("vwide", "vrecip", "vrsqrt")
"""Stages with 32-bit results."""
_ROWS = {"qreciprocal": "vrecip", "qrsqrt": "vrsqrt", "qnorm": "vnorm"}


@dataclass(frozen=True)
class Stage:
    """One elementwise stage: a command's mnemonic, its operands, its parameters.

    Operands are scalar SSA values of the nest: block arguments (memory operands), results of
    earlier stages, the accumulator, constants (of requantize), or a look-up's table (a memref).
    """

    kind: str
    operands: tuple[SSAValue | int, ...]
    result: SSAValue
    params: tuple[tuple[str, int], ...] = ()


def stages(nest: NestOp, kind: str) -> tuple[tuple[Stage, ...], SSAValue]:
    """The elementwise chain and the value it ends with; CapacityError for what no command does."""
    block = nest.epilogue_block
    out: list[Stage] = []
    sums: dict[SSAValue, tuple[SSAValue | int, SSAValue | int]] = {}  # accumulator + bias
    indices: dict[SSAValue, SSAValue] = {}  # value + 128 -> value
    same: dict[SSAValue, SSAValue] = {}
    number: dict[SSAValue, int] = {}
    start: SSAValue | None = None
    narrow_of: dict[SSAValue, SSAValue] = {}  # widened without zero point -> value
    below: dict[SSAValue, tuple[SSAValue, SSAValue]] = {}  # top - x -> (x, top)
    power: dict[SSAValue, tuple[SSAValue, SSAValue, SSAValue]] = {}  # -> (x, top, table)

    def resolve(value: SSAValue) -> SSAValue:
        while value in same:
            value = same[value]
        return value

    def operand(value: SSAValue) -> SSAValue | int:
        value = resolve(value)
        return number.get(value, value)

    def walk(block: Block) -> SSAValue:
        for op in block.ops:
            if isinstance(op, ScalarYieldOp):
                return resolve(op.args[0])
            if isinstance(op, ScalarConstantOp):
                number[op.result] = int(op.value.value.data)
            elif isinstance(op, ExtractOp) and len(op.indices) == 1 and op.indices[0] in indices:
                out.append(Stage("vlut", (indices[op.indices[0]], op.source), op.result))
            elif isinstance(op, ExtractOp) and len(op.indices) == 1 and op.indices[0] in below:
                power[op.result] = (*below[op.indices[0]], op.source)
            elif isinstance(op, ApplyOp) and not apply(op):
                raise unsupported(nest, f"no vector command computes {op.fn.data!r} here")
            elif not isinstance(op, ApplyOp):
                raise unsupported(nest, f"no vector command computes {op.name}")
        raise AssertionError("a block ends in loop.yield")

    def apply(op: ApplyOp) -> bool:
        fn, params = op.fn.data, _integers(op)
        args = [operand(a) for a in op.args]
        narrow = all(a.type == i8 for a in op.args)
        if fn == "identity":
            same[op.result] = op.args[0]
        elif fn == "add" and start is not None and start in args and op.result.type == i32:
            sums[op.result] = (start, args[1 - args.index(start)])
        elif fn == "requantize" and op.args[0] in power and isinstance(args[2], int):
            x, top, table = power[op.args[0]]
            given = (*params.items(), ("shift", args[2]))
            out.append(Stage("vexp", (x, top, args[1], table), op.result, given))
        elif fn in _ROWS and (fn == "qnorm" or (start is not None and args[0] is start)):
            out.append(Stage(_ROWS[fn], tuple(args), op.result, tuple(params.items())))
        elif fn == "widen" and narrow and not params.get("zp", 0) and isinstance(args[0], SSAValue):
            narrow_of[op.result] = args[0]
        elif fn == "sub" and all(a in narrow_of for a in op.args):
            below[op.result] = (narrow_of[op.args[1]], narrow_of[op.args[0]])
        elif (
            fn == "requantize" and start is not None and start.type == i32 and op.result.type == i8
        ):
            acc, bias = sums.get(resolve(op.args[0]), (args[0], 0))
            if acc is not start:
                return False
            out.append(
                Stage("vrequant", (acc, bias, args[1], args[2]), op.result, tuple(params.items()))
            )
        elif (
            fn == "widen"
            and narrow
            and params.get("zp", 0) == -128
            and isinstance(args[0], SSAValue)
        ):
            indices[op.result] = args[0]
        elif fn in ("qadd", "qmul") and narrow and op.result.type == i8:
            kind = "vadd" if fn == "qadd" else "vmul"
            out.append(Stage(kind, tuple(args), op.result, tuple(params.items())))
        elif fn in ("clip", "relu", "minimum", "maximum") and op.args[0].type == i8:
            bounds = _clip_bounds(fn, args, op)
            if bounds is None:
                return False
            out.append(
                Stage("vclip", (bounds[0],), op.result, (("lo", bounds[1]), ("hi", bounds[2])))
            )
        else:
            return False
        return True

    if kind == "none":
        value = walk(nest.body.block)
        if block is not None:
            same[block.args[0]] = value
            value = walk(block)
    else:
        start = reduced_value(nest)
        value = start if block is None else walk(block)
    if value is start and value.type == i32 and not out:
        out.append(Stage("vwide", (value,), value))
    kept = [stage.kind for stage in out] if any(stage.kind in WIDE for stage in out) else []
    element = i32 if len(kept) == 1 else i8
    if len(kept) > 1 or value.type != element or element_of(nest.output) != element:
        raise unsupported(nest, "its result is not 8-bit")
    return tuple(out), value


def assign_buffers(chain: Sequence[Stage], start: SSAValue | None) -> tuple[tuple[int, ...], int]:
    """(output-shaped scratchpad buffer of each stage, number of buffers).

    A stage works in place where it is the last to use a buffer; `start` is a reduction's result
    that already lies in buffer 0.
    """
    home: dict[SSAValue, int] = {} if start is None else {start: 0}
    last = {
        x: i for i, stage in enumerate(chain) for x in stage.operands if isinstance(x, SSAValue)
    }
    count, out = len(home), list[int]()
    for i, stage in enumerate(chain):
        free = [
            home[x]
            for x in stage.operands
            if isinstance(x, SSAValue) and x in home and last[x] == i
        ]
        slot = free[0] if free else count
        count = max(count, slot + 1)
        home[stage.result] = slot
        out.append(slot)
    return tuple(out), count


def reduced_value(nest: NestOp) -> SSAValue:
    """The scalar that stands for the result of the reduction in the chain."""
    if (block := nest.epilogue_block) is not None:
        return block.args[0]
    assert isinstance(nest.body.block.last_op, ScalarYieldOp)
    return nest.body.block.last_op.args[0]


def _integers(op: ApplyOp) -> dict[str, int]:
    """All parameters of an integer function, defaults included."""
    if op.fn.data not in ("widen", "requantize", "qadd", "qmul", *_ROWS):
        return {}
    return {
        k: int(v) for k, v in {**SCALAR_FUNCTIONS[op.fn.data].params, **op.param_values}.items()
    }


def _clip_bounds(
    fn: str, args: list[SSAValue | int], op: ApplyOp
) -> tuple[SSAValue, int, int] | None:
    """(operand, lowest, highest) of a clamp by constants within i8; None if it is not one."""
    low, high = -128, 127
    if fn == "relu":
        low = 0
    elif fn == "clip":
        values = op.param_values
        low, high = (
            int(min(max(float(values.get(k, d)), -128), 127))
            for k, d in (("min", -128), ("max", 127))
        )
    else:
        numbers = [a for a in args if isinstance(a, int)]
        args = [a for a in args if not isinstance(a, int)]
        if len(numbers) != 1 or len(args) != 1:
            return None
        low, high = (numbers[0], 127) if fn == "maximum" else (-128, numbers[0])
    return (args[0], low, high) if isinstance(args[0], SSAValue) else None
