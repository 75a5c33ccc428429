"""Bit operations: one `graph.map` each."""

from __future__ import annotations

from ....dialects.types import element_of, element_type, is_float
from ..node import Node, Value, rule
from ..tensors import numpy_type
from .elementwise import aligned, same_type

_BINARY = {"BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor"}


@rule("BitShift", *_BINARY)
def bitwise(node: Node) -> Value:
    """An operation on the bits of two integers."""
    a, b = node.x(0), node.x(1)
    same_type(node, a, b)
    if is_float(element_of(a)):
        raise node.error(f"operands must be integers, not {element_of(a)}")
    if node.op == "BitShift":
        direction = node.text("direction")
        if direction not in ("LEFT", "RIGHT"):
            raise node.error(f"attribute 'direction' must be LEFT or RIGHT, not {direction!r}")
        return node.map(f"shift_{direction.lower()}", a, aligned(node, a, b))
    return node.map(_BINARY[node.op], a, b)


@rule("BitwiseNot")
def bitwise_not(node: Node) -> Value:
    """All bits inverted: x ^ -1."""
    x = node.x()
    if is_float(element_of(x)):
        raise node.error(f"the operand must be integers, not {element_of(x)}")
    return node.map("bit_xor", x, node.scalar(-1, x))


@rule("BitCast")
def bit_cast(node: Node) -> Value:
    """The same bits as another type of the same width."""
    to = numpy_type(node.integer("to"))
    if to.itemsize != node.dtype().itemsize:
        raise node.error(f"{node.dtype().name} and {to.name} have different widths")
    return node.map("bitcast", node.x(), element=element_type(to))
