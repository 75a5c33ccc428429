"""Sliding windows: strides, dilations, and padding resolved to explicit numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..node import Node


@dataclass(frozen=True)
class Window:
    """A resolved window.

    `pads` are all begins, then all ends; `ceil_pads` is the part of the ends that ceil mode adds.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    ceil_pads: list[int]


def window(node: Node, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of a Conv or pooling node over `spatial`; ModelError if it does not fit."""
    n = len(spatial)
    strides, dilations = node.integers("strides", [1] * n), node.integers("dilations", [1] * n)
    if [len(kernel), len(strides), len(dilations)] != [n, n, n] or min(
        *kernel, *strides, *dilations, 1
    ) < 1:
        raise node.error(
            f"kernel {list(kernel)}, strides {strides} and dilations {dilations} "
            f"must be {n} positive numbers each"
        )
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    auto_pad = node.text("auto_pad", "NOTSET")
    match auto_pad:
        case "NOTSET":
            pads = node.integers("pads", [0] * (2 * n))
            if len(pads) != 2 * n or min(pads) < 0:
                raise node.error(f"pads {pads} must be {2 * n} numbers, none negative")
        case "VALID":
            pads = [0] * (2 * n)
        case "SAME_UPPER" | "SAME_LOWER":
            totals = [
                max(0, (-(-d // s) - 1) * s + e - d)
                for d, s, e in zip(spatial, strides, extents, strict=True)
            ]
            small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
            pads = small + large if auto_pad == "SAME_UPPER" else large + small
        case _:
            raise node.error(f"unknown auto_pad {auto_pad!r}")
    ceil_pads = [0] * n
    for i in range(n):
        room = spatial[i] + pads[i] + pads[n + i] - extents[i]
        if node.op != "Conv" and node.integer("ceil_mode", 0) and room % strides[i]:
            last = -(-room // strides[i]) * strides[i]
            if (
                last < spatial[i] + pads[i]
            ):  # a window must begin inside the input or its left padding
                ceil_pads[i] = last - room
                room = last
        if room < 0:
            raise node.error(
                f"a window of extent {extents[i]} does not fit {spatial[i]} elements "
                f"padded by {pads[i]} and {pads[n + i]}"
            )
        pads[n + i] += ceil_pads[i]
    return Window(list(kernel), strides, dilations, pads, ceil_pads)
