"""Slice and Split."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ..node import Node, Value, rule


@rule("Slice")
def slice_(node: Node) -> Value:
    """Python's slicing of some axes: negative counts from the end, clamped, any step but 0."""
    shape, rank = node.shape(), len(node.shape())
    if node.opset < 10:
        begins, ends = node.integers("starts"), node.integers("ends")
        axes, steps = node.integers("axes", range(len(begins))), [1] * len(begins)
    else:
        begins, ends = node.static_ints(1, "the starts"), node.static_ints(2, "the ends")
        axes = node.static_ints(3, "the axes") if node.has(3) else list(range(len(begins)))
        steps = node.static_ints(4, "the steps") if node.has(4) else [1] * len(begins)
    axes = [node.axis(a, rank) for a in axes]
    if (
        not len(begins) == len(ends) == len(axes) == len(steps)
        or len(set(axes)) != len(axes)
        or 0 in steps
    ):
        raise node.error(
            f"starts {begins}, ends {ends}, axes {axes} and steps {steps} do not fit {list(shape)}"
        )
    starts, sizes, strides = [0] * rank, list(shape), [1] * rank
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        taken = range(*slice(begin, end, step).indices(shape[axis]))
        sizes[axis] = len(taken)
        starts[axis], strides[axis] = (
            (taken.start, step) if len(taken) > 1 else (taken.start if taken else 0, 1)
        )
    if starts == [0] * rank and sizes == list(shape) and strides == [1] * rank:
        return node.value()
    return node.slice(node.x(), starts, sizes, strides)


@rule("Split")
def split(node: Node) -> list[SSAValue]:
    """Cut along an axis: at given sizes, or into equal parts (the last one smaller)."""
    shape = node.shape()
    axis = node.axis(node.integer("axis", 0), len(shape))
    if node.has_attr("split"):
        sizes = node.integers("split")
    elif node.has(1):
        if node.opset < 2:  # a list of the type of the data
            sizes = [int(v) for v in node.static(1, "the sizes").reshape(-1)]
        else:
            sizes = node.static_ints(1, "the sizes")
    else:
        parts = node.integer("num_outputs", len(node.outputs))
        if parts < 1 or parts > max(shape[axis], 1):
            raise node.error(f"an axis of extent {shape[axis]} cannot be split into {parts}")
        size = -(-shape[axis] // parts)
        sizes = [size] * (parts - 1) + [shape[axis] - size * (parts - 1)]
    if sum(sizes) != shape[axis] or min(sizes, default=0) < 0 or len(sizes) < len(node.outputs):
        raise node.error(
            f"an axis of extent {shape[axis]} cannot be split into {sizes} "
            f"for {len(node.outputs)} outputs"
        )
    x, begin = node.x(), 0
    out: list[SSAValue] = []
    for size in sizes[: len(node.outputs)]:
        out.append(node.slice_axis(x, axis, begin, size))
        begin += size
    return out
