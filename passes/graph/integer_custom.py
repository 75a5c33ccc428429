"""Integer forms of `graph.custom`: what the plugin's `quantize` makes of quantised operands.

    def quantize(call):                                 # y = f(x), elementwise
        return call.table(0, f)

    def quantize(call):
        (a, a_encoding), (b, b_encoding) = call.stored(0), call.stored(1)
        ...
        return call.emit(QAddOp(a, b, call.encoding, ...))

The operations it emits are those of `dialects/graph/quant.py` and other operations on i8, which
run on the NPU where `capabilities.py` says so, and on the CPU end.  A str it returns is the reason
why the operation stays real.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import i8
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import Array, ConstantStore
from ...dialects.graph import ConstantOp, CustomOp, LookupOp, QuantAttr, constant_array
from ...dialects.locations import onnx_nodes
from ...dialects.plugins import guarded
from ...dialects.types import shape_of, tensor
from .encodings import QMAX, QMIN, all_values, quantize_array
from .quantization_plan import has_integer_form
from .quantize_push import stored_form
from .requantization import Form, Target


@dataclass
class QuantizeCall:
    """One `graph.custom` whose operands are quantised, for the plugin's `quantize`.

    `encoding` is that of the result; `attributes` are the node's.
    """

    op: CustomOp
    encoding: QuantAttr
    store: ConstantStore
    attributes: dict[str, Any]
    ops: list[Operation] = field(default_factory=list[Operation])

    def stored(self, index: int) -> tuple[SSAValue, QuantAttr]:
        """The stored i8 tensor of an operand, and its encoding; ValueError if it is a constant."""
        found = stored_form(self.op.args[index])
        if found is None:
            raise ValueError(f"operand {index} is not quantised: it is call.array({index})")
        return found

    def array(self, index: int) -> Array | None:
        """The reals of an operand that is a constant."""
        return constant_array(self.op.args[index], self.store)

    def constant(self, array: Array) -> SSAValue:
        """A constant operand."""
        return self.emit(ConstantOp.from_array(np.asarray(array), self.store))

    def emit(self, op: Operation) -> SSAValue:
        """Verify and add `op`; its result."""
        op.verify_()
        self.ops.append(op)
        return op.results[0]

    def table(self, index: int, function: Callable[[Array], Array]) -> SSAValue:
        """`function` of an operand, elementwise, as the table of its 256 cases."""
        value, encoding = self.stored(index)
        entries = quantize_array(np.asarray(function(all_values(encoding))), self.encoding)
        return self.emit(LookupOp(value, self.constant(entries), self.encoding))


def integer_custom(op: CustomOp, target: Target, store: ConstantStore) -> Form | None:
    """The plugin's integer form of `op`; None if it has none, or its operands are not quantised."""
    operator, node = op.registered(), " + ".join(onnx_nodes(op))
    if not has_integer_form(op) or operator is None or operator.quantize is None:
        return None
    forms = [stored_form(v) for v in op.args if not isinstance(v.owner, ConstantOp)]
    if not forms or None in forms:
        return None
    if any(form is not None and form[1].axis_index is not None for form in forms):
        return "an operand is quantised per channel"
    call = QuantizeCall(op, target.encoding, store, op.attribute_values)
    with guarded(operator, "quantize", node):
        result = operator.quantize(call)
        if isinstance(result, str):
            return result
        if not call.ops or result is not call.ops[-1].results[0]:
            raise ValueError("it must return the result of the last operation it emits")
        wanted = tensor(shape_of(op.result), i8, target.encoding)
        if result.type != wanted:
            raise TypeError(f"its result is {result.type}, not {wanted}")
    if (target.lo, target.hi) == (QMIN, QMAX):
        return call.ops
    clamp = np.clip(np.arange(QMIN, QMAX + 1), target.lo, target.hi).astype(np.int8)
    call.emit(LookupOp(result, call.constant(clamp), target.encoding))
    return call.ops
