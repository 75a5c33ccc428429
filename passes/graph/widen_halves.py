"""Half-precision graphs computed in f32, so that there is one real type to quantise from.

    func @main(%x: f16) { %y = conv %x : f16 ; return %y }
==>
    func @main(%x: f16) { %w = cast %x : f32 ; %y = conv %w : f32 ; %r = cast %y : f16 ; return %r }

Every f16 and bf16 value inside the function becomes f32 (constants exactly, results with less
rounding than the model asked for); the types of the function itself and of operators of plugins
stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.rewriter import Rewriter

from ...dialects.constants import ConstantStore
from ...dialects.graph import CastOp, ConstantOp, CustomOp
from ...dialects.locations import inherit
from ...dialects.types import element_of, shape_of, tensor

HALVES = (f16, bf16)


def _is_half(value: SSAValue) -> bool:
    return element_of(value) in HALVES


def widen_halves(block: Block, store: ConstantStore) -> None:
    """Rewrite `block` (of a function) as above."""
    last = block.last_op
    assert last is not None
    # Only its plugin knows how the types of an operator depend on one another.
    taken = {
        op: [element_of(o) for o in op.operands] for op in block.ops if isinstance(op, CustomOp)
    }
    returned = [(i, element_of(v)) for i, v in enumerate(last.operands) if _is_half(v)]
    for op in list(block.ops):
        if isinstance(op, CustomOp):
            continue
        if isinstance(op, ConstantOp) and _is_half(op.result):
            wide = ConstantOp.from_array(op.array(store).astype("float32"), store)
            wide.result.name_hint = op.result.name_hint
            inherit(wide, op)
            block.insert_op_before(wide, op)
            op.result.replace_all_uses_with(wide.result)
            op.detach()
            op.erase()
            continue
        for result in op.results:
            if _is_half(result):
                Rewriter.replace_value_with_new_type(result, tensor(shape_of(result), f32))
    first = block.first_op
    assert first is not None
    for arg in block.args:
        if _is_half(arg):
            cast = CastOp(arg, f32)
            block.insert_op_before(cast, first)
            _replace_other_uses(arg, cast)
    for index, element in returned:
        cast = CastOp(last.operands[index], element)
        owner = last.operands[index].owner
        if isinstance(owner, Operation):
            inherit(cast, owner)
        block.insert_op_before(cast, last)
        last.operands[index] = cast.result
    for op, elements in taken.items():
        _keep_types(op, elements, block)


def _replace_other_uses(value: SSAValue, cast: CastOp) -> None:
    value.replace_uses_with_if(cast.result, lambda use: use.operation is not cast)


def _keep_types(op: CustomOp, taken: Sequence[Attribute], block: Block) -> None:
    """Cast what `op` reads back to the types it has `taken`, and what it makes to f32."""
    for index, (operand, element) in enumerate(zip(op.operands, taken, strict=True)):
        if element_of(operand) != element:
            cast = CastOp(operand, element)
            inherit(cast, op)
            block.insert_op_before(cast, op)
            op.operands[index] = cast.result
    if _is_half(op.result):
        cast = CastOp(op.result, f32)
        inherit(cast, op)
        block.insert_op_after(cast, op)
        _replace_other_uses(op.result, cast)
