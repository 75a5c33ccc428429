"""What a nest computes, in terms of the machine's units.

A nest is a reduction (or none) followed by a chain of elementwise stages:

    matmul   sum of (a - za) * (b - zb), free dimensions on both sides   matrix unit
    vmac     the same with the innermost output dimension in both       vector unit (depthwise)
    vsum     sum of (a - za)                                           vector unit (average pool)
    vmax     maximum of a                                               vector unit (max pooling)
    none     no reduction: the chain alone

The chain is read from the epilogue (and from the body where there is no reduction): requantize with
an optional bias before it, qadd, qmul, clip and table look-ups, all on i8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Block, SSAValue

from ....backends.targets.machine import Machine
from ....dialects.errors import CapacityError
from ....dialects.locations import onnx_nodes
from ....dialects.loop import ApplyOp, ExtractOp, Linear, NestOp, ScalarConstantOp, ScalarYieldOp
from ....dialects.scalar import SCALAR_FUNCTIONS
from ....dialects.types import element_of
from .footprint import depends


@dataclass(frozen=True)
class Roles:
    """Domain dimensions of a contraction: in both operands and the output, in a, in b, reduced."""

    batch: tuple[int, ...]
    m: tuple[int, ...]
    n: tuple[int, ...]
    k: tuple[int, ...]


@dataclass(frozen=True)
class Reduction:
    """The reduction of a nest: its kind, the positions of its operands among `ins`, zero points."""

    kind: str
    a: int = 0
    b: int | None = None
    a_zp: int = 0
    b_zp: int = 0


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


def unsupported(nest: NestOp, why: str) -> CapacityError:
    """The error of a nest that the NPU cannot run; names the ONNX node."""
    return CapacityError(
        f"the NPU cannot run this operation: {why}",
        node=" + ".join(onnx_nodes(nest)) or None,
        op=nest.name,
        hint="this should have been assigned to the CPU; please report the model",
    )


def _widened(value: SSAValue, block: Block) -> tuple[int, int] | None:
    """(position of the block argument, zero point) if `value` is a widened i8 argument."""
    op = value.owner
    if (
        isinstance(op, ApplyOp)
        and op.fn.data == "widen"
        and op.args[0].owner is block
        and op.args[0].type == i8
    ):
        position = next(i for i, arg in enumerate(block.args) if arg is op.args[0])
        return position, int(op.param_values.get("zp", 0))
    return None


def reduction_of(nest: NestOp) -> Reduction:
    """Read the body; CapacityError if it is no reduction the machine has."""
    block = nest.body.block
    kind = nest.reduce.data
    if kind == "none":
        return Reduction("none")
    assert isinstance(block.last_op, ScalarYieldOp)
    value = block.last_op.args[0]
    if kind == "max" and value.owner is block and value.type == i8:
        return Reduction("vmax", next(i for i, arg in enumerate(block.args) if arg is value))
    if kind == "add" and value.type == i32:
        if (single := _widened(value, block)) is not None:
            return Reduction("vsum", single[0], None, single[1])
        op = value.owner
        if isinstance(op, ApplyOp) and op.fn.data == "mul":
            x, y = (_widened(arg, block) for arg in op.args)
            if x is not None and y is not None and x[0] != y[0]:
                return _contraction(nest, x, y)
    raise unsupported(nest, f"no unit reduces by {kind!r} with this body")


def _contraction(nest: NestOp, x: tuple[int, int], y: tuple[int, int]) -> Reduction:
    """Name the operands: b (weights) varies along the innermost output dimension."""
    maps = nest.linear_maps
    domain = nest.sizes
    in_x, in_y = depends(maps[x[0]]), depends(maps[y[0]])
    inner = innermost_dim(maps[-1], domain)
    if inner is not None and in_x[inner] and not in_y[inner]:
        x, y = y, x
    return Reduction("matmul", x[0], y[0], x[1], y[1])


def innermost_dim(output: Linear, domain: Sequence[int]) -> int | None:
    """The dimension that runs fastest in the output's memory; None for a single element."""
    for row in reversed(output.coeffs):
        dims = [(abs(a), d) for d, a in enumerate(row) if a and domain[d] > 1]
        if dims:
            return min(dims)[1]
    return None


def roles(nest: NestOp, reduction: Reduction) -> Roles:
    """Sort the domain dimensions of a contraction (a missing b has no dimensions)."""
    maps = nest.linear_maps
    in_a = depends(maps[reduction.a])
    in_b = depends(maps[reduction.b]) if reduction.b is not None else (False,) * len(in_a)
    parallel = nest.parallel
    return Roles(
        tuple(d for d in parallel if in_a[d] and in_b[d]),
        tuple(d for d in parallel if not in_b[d]),
        tuple(d for d in parallel if in_b[d] and not in_a[d]),
        nest.reduced,
    )


def choose_unit(nest: NestOp, reduction: Reduction, machine: Machine) -> Reduction:
    """Run a contraction as vmac where the vector unit is at least as fast as the matrix unit."""
    if reduction.kind != "matmul":
        return reduction
    domain, part = nest.sizes, roles(nest, reduction)
    inner = innermost_dim(nest.linear_maps[-1], domain)
    if inner is None or inner not in part.batch:
        return reduction
    k, n = prod(domain[d] for d in part.k), prod(domain[d] for d in part.n)
    rate = min(k, machine.matrix.rows) * min(n, machine.matrix.columns) * machine.matrix.pixels
    # a matmul has one channel only: its streams are short, so the array must be twice as fast
    if min(domain[inner], machine.vector.lanes) / machine.vector.mac * 2 >= rate:
        return Reduction("vmac", reduction.a, reduction.b, reduction.a_zp, reduction.b_zp)
    return reduction


def stages(nest: NestOp, kind: str) -> tuple[tuple[Stage, ...], SSAValue]:
    """The elementwise chain and the value it ends with; CapacityError for what no command does."""
    block = nest.epilogue_block
    out: list[Stage] = []
    sums: dict[SSAValue, tuple[SSAValue | int, SSAValue | int]] = {}  # accumulator + bias
    indices: dict[SSAValue, SSAValue] = {}  # value + 128 -> value
    same: dict[SSAValue, SSAValue] = {}
    number: dict[SSAValue, int] = {}
    start: SSAValue | None = None

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
    if value.type != i8 or element_of(nest.output) != i8:
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
    if op.fn.data not in ("widen", "requantize", "qadd", "qmul"):
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
