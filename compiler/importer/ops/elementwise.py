"""Elementwise operators: one `graph.map` each where the scalar vocabulary has the function.

Operators of opset < 7 broadcast one way, at the attribute `axis`: their second operand is reshaped
to align from that axis.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from xdsl.dialects.builtin import i1
from xdsl.ir import Attribute, SSAValue

from ....dialects.types import (
    element_of,
    element_type,
    has_element_type,
    is_float,
    numpy_dtype,
    shape_of,
)
from ..node import Node, Value, rule
from ..tensors import numpy_type

_UNARY = {
    op: op.lower()
    for op in [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Cos",
        "Cosh",
        "Erf",
        "Exp",
        "Floor",
        "IsNaN",
        "Log",
        "Mish",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Round",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tan",
        "Tanh",
    ]
} | {"HardSwish": "hard_swish"}

_BINARY = {
    op: op.lower()
    for op in ["Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Equal", "Less", "Greater"]
} | {
    "LessOrEqual": "less_equal",
    "GreaterOrEqual": "greater_equal",
}

_VARIADIC = {"Sum": "add", "Max": "maximum", "Min": "minimum"}


@rule(*_UNARY)
def unary(node: Node) -> Value:
    """An operator of one operand without attributes."""
    return node.map(_UNARY[node.op], node.x())


def same_type(node: Node, *args: SSAValue) -> None:
    """ModelError unless all `args` have one element type."""
    types = list(dict.fromkeys(element_of(a) for a in args))
    if len(types) > 1:
        raise node.error(f"operands have different element types: {', '.join(map(str, types))}")


def aligned(node: Node, a: SSAValue, b: SSAValue) -> SSAValue:
    """`b` shaped to broadcast against `a` by the rules of opset < 7."""
    if node.opset >= 7 or not node.integer("broadcast", 0):
        return b
    rank, shape = len(shape_of(a)), shape_of(b)
    axis = node.axis(node.integer("axis", rank - len(shape)), rank, inclusive=True)
    if axis + len(shape) > rank:
        raise node.error(
            f"an operand of shape {list(shape)} does not fit at axis {axis} of rank {rank}"
        )
    return node.reshape(b, (*shape, *[1] * (rank - axis - len(shape))))


@rule(*_BINARY)
def binary(node: Node) -> Value:
    """An operator of two operands of one type."""
    a, b = node.x(0), node.x(1)
    same_type(node, a, b)
    if node.op in ("And", "Or", "Xor") and element_of(a) != i1:
        raise node.error(f"operands must be booleans, not {element_of(a)}")
    return node.map(_BINARY[node.op], a, aligned(node, a, b))


@rule(*_VARIADIC)
def variadic(node: Node) -> Value:
    """Sum, Max and Min of any number of operands."""
    args = node.all_x()
    same_type(node, *args)
    return reduce(lambda a, b: node.map(_VARIADIC[node.op], a, b), args)


@rule("Mean")
def mean(node: Node) -> Value:
    """Mean of any number of operands."""
    args = node.all_x()
    same_type(node, *args)
    total = reduce(lambda a, b: node.map("add", a, b), args)
    return node.map("div", total, node.scalar(len(args), total))


@rule("Pow")
def power(node: Node) -> Value:
    """X ** y in the type of x; squares are products."""
    x, y = node.x(0), node.x(1)
    exponent = node.array(1)
    if (
        exponent is not None
        and exponent.size == 1
        and exponent.ndim <= len(shape_of(x))
        and exponent.reshape(-1)[0] == 2
    ):
        return node.map("mul", x, x)
    if is_float(element_of(x)) or not is_float(element_of(y)):
        return node.map("pow", x, aligned(node, x, node.cast(y, element_of(x))))
    wide = node.map("pow", node.cast(x, element_of(y)), aligned(node, x, y))
    return node.cast(wide, element_of(x))


@rule("Mod")
def modulo(node: Node) -> Value:
    """Remainder with the sign of the divisor, or of the dividend for `fmod`."""
    a, b = node.x(0), node.x(1)
    same_type(node, a, b)
    return node.map("mod", a, b, fmod=node.integer("fmod", 0))


@rule("Where")
def where(node: Node) -> Value:
    """Select by condition."""
    condition, a, b = node.x(0), node.x(1), node.x(2)
    same_type(node, a, b)
    if element_of(condition) != i1:
        raise node.error(f"the condition must be boolean, not {element_of(condition)}")
    return node.map("select", condition, a, b)


@rule("IsInf")
def is_inf(node: Node) -> Value:
    """Infinities of the wanted signs."""
    return node.map(
        "isinf",
        node.x(),
        negative=node.integer("detect_negative", 1),
        positive=node.integer("detect_positive", 1),
    )


@rule("Cast")
def cast(node: Node) -> Value:
    """Conversion of elements."""
    if node.opset < 6 and node.has_attr("to") and node.attributes["to"].s:
        import onnx

        name = node.text("to").upper()
        if name not in list(onnx.TensorProto.DataType.keys()):
            raise node.error(f"{name!r} is not an ONNX element type")
        to = onnx.TensorProto.DataType.Value(name)
    else:
        to = node.integer("to")
    return _cast(node, element_type(numpy_type(to)))


@rule("CastLike")
def cast_like(node: Node) -> Value:
    """Conversion to the type of the second operand."""
    return _cast(node, element_of(node.x(1)))


def _cast(node: Node, to: Attribute) -> Value:
    value, dtype = node.value(), node.dtype()
    same = has_element_type(dtype) and element_type(dtype) == to
    return value if same else node.cast(node.x(), to)


@rule("Trilu")
def trilu(node: Node) -> Value:
    """The upper or lower triangle of the last two axes, zero elsewhere."""
    x, offset = node.x(), int(node.static_scalar(1, "k")) if node.has(1) else 0
    if len(shape_of(x)) < 2:
        raise node.error(f"the input must be matrices, not of shape {list(shape_of(x))}")
    rows, columns = shape_of(x)[-2:]
    node.bounded(rows * columns)
    mask = np.tri(rows, columns, offset - 1 if node.integer("upper", 1) else offset, dtype=bool)
    keep = node.constant(~mask if node.integer("upper", 1) else mask)
    return node.map("select", keep, x, node.scalar(0, x))


@rule("Identity", "Dropout")
def identity(node: Node) -> list[Value | None]:
    """The operand itself; Dropout drops nothing at inference, and its mask is all ones."""
    if node.op == "Dropout" and node.has(2) and bool(node.static_scalar(2, "training_mode")):
        ratio = float(node.static_scalar(1, "the ratio")) if node.has(1) else 0.5
        if ratio:
            raise node.unsupported("dropping at random", "export the model for inference")
    if node.op == "Identity" or len(node.outputs) < 2:
        return [node.value()]
    element = i1 if node.opset >= 10 else element_of(node.x())
    mask = np.ones((), numpy_dtype(element))
    return [node.value(), node.broadcast(node.constant(mask), node.shape())]
