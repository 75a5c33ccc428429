"""Matrix products: MatMul, Gemm and integer products."""

from __future__ import annotations

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....dialects.graph import MatMulOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .elementwise import same_type


@rule("MatMul")
def matmul(node: Node) -> Value:
    """numpy.matmul."""
    same_type(node, node.x(0), node.x(1))
    return product(node, node.x(0), node.x(1))


def product(node: Node, a: SSAValue, b: SSAValue) -> SSAValue:
    """numpy.matmul of any ranks: vectors become matrices and back."""
    shape_a, shape_b = shape_of(a), shape_of(b)
    if not shape_a or not shape_b:
        raise node.error("operands must not be scalars")
    if shape_a[-1] != shape_b[-2 if len(shape_b) > 1 else 0]:
        raise node.error(f"inner extents of {list(shape_a)} and {list(shape_b)} differ")
    result = node.emit(
        MatMulOp(
            node.reshape(a, (1, *shape_a)) if len(shape_a) == 1 else a,
            node.reshape(b, (*shape_b, 1)) if len(shape_b) == 1 else b,
        )
    )
    shape = list(shape_of(result))
    if len(shape_b) == 1:
        shape.pop()
    if len(shape_a) == 1:
        shape.pop(-1 if len(shape_b) == 1 else -2)
    return node.reshape(result, shape)


@rule("Gemm")
def gemm(node: Node) -> Value:
    """Alpha * A' B' + beta * C; constant operands are transposed and scaled here, in the store."""
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    same_type(node, node.x(0), node.x(1), *([node.x(2)] if node.has(2) else []))
    for i in range(2):
        if len(node.shape(i)) != 2 and not (node.opset < 7 and i == 0):
            raise node.error(f"input {i} must be a matrix, not of shape {list(node.shape(i))}")
    a = _transposed(node, 0, bool(node.integer("transA", 0)))
    weights = node.array(1)
    if weights is not None:
        scaled = weights.T if node.integer("transB", 0) else weights
        if alpha != 1:
            scaled = (scaled * weights.dtype.type(alpha)).astype(weights.dtype)
        b = node.constant(np.ascontiguousarray(scaled)) if scaled is not weights else node.x(1)
        alpha = 1.0
    else:
        b = _transposed(node, 1, bool(node.integer("transB", 0)))
    if shape_of(a)[-1] != shape_of(b)[0]:
        raise node.error(f"inner extents {shape_of(a)[-1]} and {shape_of(b)[0]} differ")
    columns = shape_of(b)[1]
    bias = _bias(node, beta, columns) if alpha == 1 else None
    result = node.emit(MatMulOp(a, b, bias))
    if alpha != 1:
        result = node.map("mul", result, node.scalar(alpha, result))
    if node.has(2) and bias is None and beta != 0:
        c = node.x(2)
        if beta != 1:
            c = node.map("mul", c, node.scalar(beta, c))
        shape = shape_of(result)
        result = node.map("add", result, c)
        if shape_of(result) != shape:
            raise node.error(
                f"C of shape {list(node.shape(2))} does not broadcast to {list(shape)}"
            )
    return result


def _transposed(node: Node, i: int, wanted: bool) -> SSAValue:
    x = node.x(i)
    if len(shape_of(x)) != 2:
        x = node.reshape(
            x, (shape_of(x)[0], -1 if 0 in shape_of(x) else int(np.prod(shape_of(x)[1:])))
        )
    return node.transpose(x, (1, 0)) if wanted else x


def _bias(node: Node, beta: float, columns: int) -> SSAValue | None:
    """C as a vector of `columns`, if it is constant and the same for all rows."""
    c = node.array(2)
    if (
        c is None
        or beta == 0
        or c.size not in (1, columns)
        or (c.size == columns and c.shape[-1:] != (columns,) and c.size > 1)
    ):
        return None
    if beta == 1 and c.shape == (columns,):
        return node.x(2)
    scaled = c if beta == 1 else (c * c.dtype.type(beta)).astype(c.dtype)
    return node.constant(np.ascontiguousarray(np.broadcast_to(scaled.reshape(-1), (columns,))))


@rule("MatMulInteger")
def matmul_integer(node: Node) -> Value:
    """Product of 8-bit operands minus their zero points, in i32."""
    return product(node, centred(node, 0, 2, -1), centred(node, 1, 3, -2))


def centred(node: Node, i: int, zero_point: int, axis: int) -> SSAValue:
    """Input `i` in i32, minus its zero point (one, or a vector along all axes but `axis`)."""
    x = node.cast(node.x(i), i32)
    if not node.has(zero_point):
        return x
    zp = node.cast(node.x(zero_point), i32)
    shape = shape_of(zp)
    if len(shape) == 1 and shape[0] != 1:
        zp = node.reshape(zp, (shape[0], 1) if axis == -1 else (1, shape[0]))
    return node.map("sub", x, zp)
