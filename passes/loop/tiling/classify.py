"""What a nest computes, in terms of the machine's units.

A nest is a reduction (or none) followed by a chain of elementwise stages (`chain`):

    matmul   sum of (a - za) * (b - zb), free dimensions on both sides   matrix unit
    vmac     the same with the innermost output dimension in both       vector unit (depthwise)
    vsum     sum of (a - za)                                           vector unit (average pool)
    vsquare  sum of (a - za)^2                                         vector unit (normalisation)
    vsumexp  sum of table[b - a], b a result of the maximum of a       vector unit (softmax)
    vmax     maximum of a                                               vector unit (max pooling)
    none     no reduction: the chain alone

vmac, vsum and vmax run on the matrix unit of machines whose array takes windows (`takes_windows`).
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
from ....dialects.loop import ApplyOp, ExtractOp, Linear, NestOp, ScalarYieldOp
from ....dialects.npu.isa import ON_ARRAY
from ....dialects.sparsity import GROUP
from ....dialects.types import element_of, shape_of
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

    @property
    def neutral(self) -> dict[int, int]:
        """Per operand the value that leaves the result as it is: where a ragged last tile ends."""
        if self.kind in ("none", "vsumexp"):  # table entries are never 0
            return {}
        a = {self.a: -128 if self.kind == "vmax" else self.a_zp}
        return a if self.b is None else a | {self.b: self.b_zp}


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
            if x is not None and op.args[0] is op.args[1]:
                return Reduction("vsquare", x[0], None, x[1])
            if x is not None and y is not None and x[0] != y[0]:
                return _contraction(nest, x, y)
        power = powers(value, block)
        if power is not None and power.b is not None:
            used = depends(nest.linear_maps[power.b])
            if not any(used[d] for d in nest.reduced):
                return power
    raise unsupported(nest, f"no unit reduces by {kind!r} with this body")


def powers(value: SSAValue, block: Block) -> Reduction | None:
    """Positions of a and b where `value` is table[widen(b) - widen(a)] with a table of 32 bits."""
    op = value.owner
    if not isinstance(op, ExtractOp) or len(op.indices) != 1 or element_of(op.source) != i32:
        return None
    below = op.indices[0].owner
    if not isinstance(below, ApplyOp) or below.fn.data != "sub":
        return None
    b, a = (_widened(arg, block) for arg in below.args)
    if a is None or b is None or a[1] or b[1]:
        return None
    return Reduction("vsumexp", a[0], b[0])


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


SPARSE = "sparse"
"""Attribute of nests whose weights are 2:4 sparse along `weights_axis` (find-sparsity)."""


def weights_axis(nest: NestOp, reduction: Reduction) -> tuple[int, int] | None:
    """(dimension, axis of the weights) along which weights of a product can be 2:4 compressed.

    The innermost reduction dimension, if it runs along a whole axis alone, a multiple of 8 long.
    None if there is no such axis, or zero is not what the weights' zeros stand for.
    """
    wide = [d for d in nest.reduced if nest.sizes[d] > 1]
    if reduction.kind != "matmul" or reduction.b is None or reduction.b_zp or not wide:
        return None
    dim, map, shape = wide[-1], nest.linear_maps[reduction.b], shape_of(nest.reads[reduction.b])
    rows = [r for r, row in enumerate(map.coeffs) if row[dim]]
    if len(rows) != 1 or shape[rows[0]] != nest.sizes[dim] or nest.sizes[dim] % GROUP:
        return None
    row = map.coeffs[rows[0]]
    alone = row[dim] == 1 and not map.consts[rows[0]] and sum(a != 0 for a in row) == 1
    return (dim, rows[0]) if alone else None


def takes_windows(kind: str, machine: Machine) -> bool:
    """Whether reductions of `kind` over windows run on the array."""
    return kind in ON_ARRAY and machine.matrix.window_channels > 0


def choose_unit(nest: NestOp, reduction: Reduction, machine: Machine) -> Reduction:
    """Run a contraction as vmac where that is at least as fast as a product of matrices."""
    if reduction.kind != "matmul":
        return reduction
    domain, part = nest.sizes, roles(nest, reduction)
    inner = innermost_dim(nest.linear_maps[-1], domain)
    if inner is None or inner not in part.batch:
        return reduction
    k, n = prod(domain[d] for d in part.k), prod(domain[d] for d in part.n)
    rate = min(k, machine.matrix.rows) * min(n, machine.matrix.columns) * machine.matrix.pixels
    # a matmul has one channel only: its streams are short, so the array must be twice as fast
    each = min(domain[inner], machine.vector.lanes) / machine.vector.mac
    if takes_windows("vmac", machine):
        each = min(domain[inner], machine.matrix.window_channels) * machine.matrix.pixels
    if each * 2 >= rate:
        return Reduction("vmac", reduction.a, reduction.b, reduction.a_zp, reduction.b_zp)
    return reduction
