"""`quantize-push`: let data movement run on stored 8-bit values.

    transpose(dequantize(x))            ==>  dequantize(transpose(x))      (downwards)
    quantize(transpose(y))              ==>  transpose(quantize(y))        (upwards, y real)
    quantize(dequantize(x))             ==>  x                             (equal encodings)
    quantize(dequantize(x))             ==>  lookup(x, table)              (different encodings)

All are exact: movement commutes with an elementwise, monotone map, and a table holds all 256
cases.  Upwards, a quantisation moves only through an operation nothing else reads, and not through
slices and gathers (it would convert elements nobody uses).  One walk down, then one walk up.
Unsigned storage becomes signed first (`signed_storage.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp, i8
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    ConcatOp,
    ConstantOp,
    DequantizeOp,
    GatherOp,
    LookupOp,
    QuantAttr,
    QuantizeOp,
    SliceOp,
    constant_array,
    quantization,
)
from ...dialects.locations import inherit
from ...dialects.semantics.graph import evaluate_op
from ...dialects.types import element_of, is_float
from ..base import CompilerContext, Pass, main_function
from ..rewriting import erase_dead, replace
from .constant_fold import within_bounds
from .encodings import all_values, quantize_array
from .movement import (
    is_movement,
    moved_encoding,
    moved_operands,
    on_stored,
    pad_constant,
    represents,
)
from .quantization_plan import single_user, users
from .signed_storage import make_signed


def stored_form(value: SSAValue) -> tuple[SSAValue, QuantAttr] | None:
    """(stored i8 tensor, encoding) if `value` is the real value of one."""
    owner = value.owner
    if (
        isinstance(owner, DequantizeOp)
        and element_of(owner.x) == i8
        and (encoding := quantization(owner.x.type))
    ):
        return owner.x, encoding
    return None


def target_encoding(op: QuantizeOp) -> QuantAttr:
    """The encoding `op` produces."""
    encoding = quantization(op.result.type)
    assert encoding is not None
    return encoding


def push_down(op: Operation, store: ConstantStore) -> list[Operation] | None:
    """Movement on stored values and one dequantize, if all that `op` moves has one encoding.

    Stored constants (weights that the model transposes) are moved at once.
    """
    forms = [stored_form(v) for v in moved_operands(op)]
    first = forms[0] if forms else None
    if first is None or any(f is None or f[1] != first[1] for f in forms):
        return None
    encoding = first[1]
    result = moved_encoding(op, encoding)
    if result is None:
        return None
    fill = pad_constant(op)
    if fill is not None and not represents(encoding, fill) and not _only_quantized_to(op, encoding):
        return None
    moved = on_stored(op, [f[0] for f in forms if f is not None], result)
    arrays = [a for o in moved.operands if (a := constant_array(o, store)) is not None]
    if len(arrays) == len(moved.operands) and within_bounds(moved, 1 << 24):
        value = np.ascontiguousarray(evaluate_op(moved, arrays, store)[0])
        moved = inherit(ConstantOp.from_array(value, store, encoding=result), moved)
    return [moved, DequantizeOp(moved.results[0])]


def _only_quantized_to(op: Operation, encoding: QuantAttr) -> bool:
    """Whether the result of `op` is only ever rounded to `encoding` (as i8)."""
    return all(
        isinstance(u, QuantizeOp) and element_of(u.result) == i8 and target_encoding(u) == encoding
        for u in users(op.results[0])
    )


def cancel(op: QuantizeOp, store: ConstantStore) -> tuple[list[Operation], SSAValue] | None:
    """quantize(dequantize(x)) as x or a table over x; None if `op` is no such pair."""
    form = stored_form(op.x)
    if form is None or element_of(op.result) != i8:
        return None
    source, encoding = form
    wanted = target_encoding(op)
    if encoding == wanted:
        return [], source
    if encoding.axis_index is not None or wanted.axis_index is not None:
        return None
    entries = quantize_array(all_values(encoding), wanted)
    table = ConstantOp.from_array(entries, store)
    lookup = LookupOp(source, table.result, wanted)
    return [table, lookup], lookup.result


def push_up(op: QuantizeOp) -> list[Operation] | None:
    """quantize(movement(y)) as movement(quantize(y)), where that converts no more elements."""
    owner, encoding = op.x.owner, target_encoding(op)
    if (
        not isinstance(owner, Operation)
        or not is_movement(owner)
        or isinstance(owner, SliceOp | GatherOp)
        or single_user(op.x) is not op
        or encoding.axis_index is not None
        or element_of(op.result) != i8
    ):
        return None
    operands = moved_operands(owner)
    if not all(is_float(element_of(v)) for v in operands):
        return None
    if isinstance(owner, ConcatOp) and not any(map(stored_form, operands)):
        return None
    quantized = [QuantizeOp(v, encoding) for v in operands]
    moved = on_stored(owner, [q.result for q in quantized], encoding)
    return [*quantized, moved]


@dataclass(frozen=True)
class QuantizePushPass(Pass):
    """Move quantize/dequantize through data movement, and cancel the pairs that meet."""

    name = "quantize-push"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Rewrite in place."""
        block, store = main_function(module).body.block, ctx.constants
        make_signed(list(block.ops), store)
        ops = list(block.ops)
        for op in ops:
            if is_movement(op) and (new := push_down(op, store)) is not None:
                replace(op, new)
        self._up([op for op in ops if isinstance(op, QuantizeOp)], store)
        erase_dead([op for op in block.ops if isinstance(op, DequantizeOp | ConstantOp)])

    @staticmethod
    def _up(quantizes: Sequence[QuantizeOp], store: ConstantStore) -> None:
        """Cancel, or move up and try again there; later operations first."""
        pending = list(quantizes)
        while pending:
            op = pending.pop()
            if (pair := cancel(op, store)) is not None:
                replace(op, pair[0], [pair[1]])
            elif (moved := push_up(op)) is not None:
                owner = op.x.owner
                replace(op, moved)
                assert isinstance(owner, Operation)
                erase_dead([owner])
                pending += [new for new in moved if isinstance(new, QuantizeOp)]


PASS = QuantizePushPass
