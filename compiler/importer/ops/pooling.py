"""Pooling."""

from __future__ import annotations

from ....dialects.graph import PoolOp, ReduceOp
from ....dialects.types import shape_of
from ..node import Node, Value, rule
from .unpool import max_indices
from .windows import Window, window


def _window(node: Node) -> Window:
    if len(node.shape()) < 3:
        raise node.error(f"input of shape {list(node.shape())} has no spatial axes")
    return window(node, node.shape()[2:], node.integers("kernel_shape"))


@rule("MaxPool", "AveragePool")
def pool(node: Node) -> list[Value]:
    """Maximum or average over a window; the second output is where the maximum lies."""
    frame = _window(node)
    y = node.emit(
        PoolOp(
            node.x(),
            "max" if node.op == "MaxPool" else "average",
            kernel=frame.kernel,
            strides=frame.strides,
            pads=frame.pads,
            dilations=frame.dilations,
            ceil_pads=frame.ceil_pads,
            count_include_pad=node.integer("count_include_pad", 0),
        )
    )
    if node.op == "MaxPool" and len(node.outputs) > 1 and node.outputs[1]:
        return [y, max_indices(node, node.x(), frame)]
    return [y]


def _order(node: Node) -> float:
    """The order of an Lp norm: a real in opset 1."""
    p = node.real("p", 2.0) if node.opset < 2 else node.integer("p", 2)
    if p < 1:
        raise node.error(f"attribute 'p' must be at least 1, not {p}")
    return p


@rule("LpPool")
def lp_pool(node: Node) -> Value:
    """(sum |x|^p)^(1/p) over a window."""
    frame, x, p = _window(node), node.x(), _order(node)
    powers = node.map("mul", x, x) if p == 2 else node.map("abs", x)
    if p not in (1, 2):
        powers = node.map("pow", powers, node.scalar(p, x))
    total = node.emit(
        PoolOp(
            powers,
            "sum",
            kernel=frame.kernel,
            strides=frame.strides,
            pads=frame.pads,
            dilations=frame.dilations,
            ceil_pads=frame.ceil_pads,
        )
    )
    match p:
        case 1:
            return total
        case 2:
            return node.map("sqrt", total)
        case _:
            return node.map("pow", total, node.scalar(1 / p, x))


@rule("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node) -> Value:
    """Reduction of all spatial axes."""
    axes = list(range(2, len(node.shape())))
    if not axes:
        raise node.error(f"input of shape {list(node.shape())} has no spatial axes")
    return node.emit(ReduceOp(node.x(), "mean" if node.op == "GlobalAveragePool" else "max", axes))


@rule("GlobalLpPool")
def global_lp_pool(node: Node) -> Value:
    """(sum |x|^p)^(1/p) over all spatial axes."""
    x, p = node.x(), _order(node)
    axes = list(range(2, len(shape_of(x))))
    if not axes:
        raise node.error(f"an input of shape {list(shape_of(x))} has no spatial axes")
    if p in (1, 2):
        return node.emit(ReduceOp(x, f"l{int(p)}", axes))
    total = node.emit(ReduceOp(node.map("pow", node.map("abs", x), node.scalar(p, x)), "sum", axes))
    return node.map("pow", total, node.scalar(1 / p, x))
