"""Fast path of nests that sum products: one BLAS matrix product per slab of im2col rows.

Applies when the body is `mul` of two values, each a function of one operand (widened, cast or
plain).  Every dimension is then of one kind: batch (both operands and the result), row (left
only), column (right only) or inner (summed).  8-bit products are exact in f64 (|sum| < 2^53), wide
integers use numpy's integer matmul, which wraps as the definition does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import i8
from xdsl.ir import Block, BlockArgument, SSAValue

from ... import scalar
from ...constants import Array
from ...loop import ApplyOp, NestOp, ScalarYieldOp
from ...types import numpy_dtype, ui8

SLAB = 1 << 24
"""Elements of one gathered left matrix."""


def contract(nest: NestOp, views: Sequence[Array]) -> Array | None:
    """The sum of products over the parallel dimensions, or None if the nest is not one."""
    if nest.reduce.data != "add" or len(views) != 2:
        return None
    chains = _factors(nest.body.block)
    if chains is None:
        return None
    result = numpy_dtype(nest.accumulator)
    narrow = all(a.type in (i8, ui8) for a in nest.body.block.args)
    work = np.dtype(np.float64) if narrow and result.kind == "i" else result
    domain, parallel, reduced = nest.sizes, nest.parallel, nest.reduced
    a, b = views
    in_a, in_b = [n != 1 for n in a.shape], [n != 1 for n in b.shape]
    if any(domain[d] != 1 and (in_a[d] != in_b[d]) for d in reduced):
        return None
    if result.kind not in "iuf" or 0 in domain:
        return None
    batch = [d for d in parallel if in_a[d] and in_b[d]]
    rows = [d for d in parallel if d not in batch and not in_b[d]]
    columns = [d for d in parallel if d not in batch and in_b[d]]
    right = _matrix(_apply(chains[1], b).astype(work, copy=False), batch, reduced, columns, domain)
    acc = np.empty([domain[d] for d in (*batch, *rows, *columns)], result)
    flat = acc.reshape([*(domain[d] for d in batch), -1, right.shape[-1]])
    lead = max(rows, key=lambda d: domain[d], default=None)
    step = domain[lead] if lead is not None else 1
    volume = int(np.prod([domain[d] for d in (*batch, *rows, *reduced)], dtype=np.int64))
    while lead is not None and step > 1 and volume > SLAB:
        step, volume = (step + 1) // 2, volume // 2
    with np.errstate(all="ignore"):
        if lead is None or step >= domain[lead]:
            left = _matrix(
                _apply(chains[0], a).astype(work, copy=False), batch, rows, reduced, domain
            )
            flat[...] = _wrap(np.matmul(left, right), result)
        else:
            axis = len(batch) + rows.index(lead)
            for first in range(0, domain[lead], step):
                span = slice(first, min(first + step, domain[lead]))
                part = a[
                    tuple(span if d == lead and in_a[d] else slice(None) for d in range(a.ndim))
                ]
                sizes = [span.stop - span.start if d == lead else n for d, n in enumerate(domain)]
                left = _matrix(
                    _apply(chains[0], part).astype(work, copy=False), batch, rows, reduced, sizes
                )
                value = _wrap(np.matmul(left, right), result)
                acc[(slice(None),) * axis + (span,)] = value.reshape(
                    [sizes[d] for d in (*batch, *rows, *columns)]
                )
    order = [*batch, *rows, *columns]
    return acc.transpose([order.index(d) for d in parallel])


def _wrap(value: Array, result: np.dtype) -> Array:  # pyright: ignore[reportMissingTypeArgument]
    """Products as the accumulator's type; integers wrap."""
    if result.kind in "iu" and value.dtype.kind == "f":
        value = value.astype(np.int64)
    return value.astype(result, copy=False)


def _matrix(
    view: Array,
    batch: Sequence[int],
    left: Sequence[int],
    right: Sequence[int],
    domain: Sequence[int],
) -> Array:
    """[*batch, prod(left), prod(right)] from a broadcastable view of the domain."""
    order = [*batch, *left, *right]
    full = np.broadcast_to(view, [domain[d] if d in order else 1 for d in range(view.ndim)])
    rest = [d for d in range(view.ndim) if d not in order]
    moved = full.transpose([*order, *rest])
    extents = [[domain[d] for d in group] for group in (batch, left, right)]
    return moved.reshape(
        [
            *extents[0],
            int(np.prod(extents[1], dtype=np.int64)),
            int(np.prod(extents[2], dtype=np.int64)),
        ]
    )


Chain = list[ApplyOp]


def _factors(block: Block) -> tuple[Chain, Chain] | None:
    """The unary operations on each of the two arguments, if the block is their product."""
    last = block.last_op
    assert isinstance(last, ScalarYieldOp)
    product = last.args[0].owner
    if not isinstance(product, ApplyOp) or product.fn.data != "mul":
        return None
    chains = [_chain(a) for a in product.args]
    if chains[0] is None or chains[1] is None:
        return None
    (first, left), (second, right) = chains[0], chains[1]
    if {first.index, second.index} != {0, 1}:
        return None
    return (left, right) if first.index == 0 else (right, left)


def _chain(value: SSAValue) -> tuple[BlockArgument, Chain] | None:
    chain: Chain = []
    while not isinstance(value, BlockArgument):
        op = value.owner
        if not isinstance(op, ApplyOp) or len(op.args) != 1:
            return None
        chain.insert(0, op)
        value = op.args[0]
    return value, chain


def _apply(chain: Chain, x: Array) -> Array:
    for op in chain:
        x = scalar.evaluate(op.fn.data, [x], op.param_values, op.result.type)
    return x
