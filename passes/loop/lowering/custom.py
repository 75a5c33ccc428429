"""`graph.custom` as a loop nest: the plugin's `lower` starts it like any operator with a domain.

    def lower(kernel, op):                              # y = a * alpha + b
        shape = shape_of(op.result)
        nest = kernel.begin(shape, [{d: 1} for d in range(len(shape))])
        at = nest.rows([{d: 1} for d in range(len(shape))])
        a, b = (nest.read(kernel.whole(v), at) for v in op.args)
        scaled = nest.apply("mul", [a, nest.const(op.attribute_values["alpha"], f32)], f32)
        nest.acc = nest.apply("add", [scaled, b], f32)  # or nest.reduce(value)

Elementwise operations after it join its epilogue, as after a convolution.
"""

from __future__ import annotations

from ....dialects.errors import PluginError
from ....dialects.graph import CustomOp
from ....dialects.locations import onnx_nodes
from ....dialects.plugins import guarded, unknown_operator
from ....dialects.types import element_of
from .kernel import Kernel


def custom(k: Kernel, op: CustomOp) -> None:
    """Have the plugin start the nest; PluginError if it is not there, or fails."""
    node, operator = " + ".join(onnx_nodes(op)), op.registered()
    if operator is None or operator.lower is None:
        reason, hint = unknown_operator(op.domain.data, op.operator.data)
        if operator is not None:
            reason, hint = "the plugin gives it no loop nest", "give it lower"
        raise PluginError(reason, node=node, op=op.operator.data, hint=hint)
    with guarded(operator, "lower", node):
        operator.lower(k, op)
        acc = k.nest.acc
        if acc is None:
            raise ValueError("it must end with nest.reduce(value), or set nest.acc")
        if acc.type != element_of(op.result):
            raise TypeError(f"its nest computes {acc.type}, not {element_of(op.result)}")
