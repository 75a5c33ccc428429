"""Meaning of `graph.custom`: what the plugin's `evaluate` computes."""

from __future__ import annotations

from collections.abc import Sequence

from ...constants import Array, ConstantStore
from ...errors import PluginError
from ...graph import CustomOp
from ...locations import onnx_nodes
from ...plugins import unknown_operator


def custom(op: CustomOp, args: Sequence[Array], store: ConstantStore) -> Array:
    """The operation's output; PluginError if the plugin is not there, or fails."""
    node = " + ".join(onnx_nodes(op))
    operator = op.registered()
    if operator is None:
        reason, hint = unknown_operator(op.domain.data, op.operator.data)
        raise PluginError(reason, node=node, op=op.operator.data, hint=hint)
    return operator.run(args, op.attribute_values, node)[op.output.value.data]
