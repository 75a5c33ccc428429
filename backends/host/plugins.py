"""Operators of plugins on the host: their `evaluate`, on what a call holds."""

from __future__ import annotations

import numpy as np

from ...dialects.plugins import Operator
from .registry import Call, HostError, Value


def run_plugin(call: Call, operator: Operator) -> list[Value]:
    """The outputs of `operator`; HostError for inputs that are no tensors, PluginError if it fails.

    Omitted inputs are None, those at the end are left out.
    """
    count = max((i + 1 for i, v in enumerate(call.inputs) if v is not None), default=0)
    inputs = [call.optional(i) for i in range(count)]
    node = call.node.name or next((name for name in call.node.output if name), "")
    outputs = operator.run(inputs, call.attributes, node)
    if missing := [n for n in call.node.output[len(outputs) :] if n]:
        raise HostError(f"it has {len(outputs)} outputs, so that {missing[0]!r} is not one of them")
    return [np.asarray(value) for value in outputs]
