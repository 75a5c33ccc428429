"""Unsigned 8-bit storage becomes signed, so that integer operators only meet i8.

    %q = graph.quantize %x -> ui8, zero point z    %s = graph.quantize %x -> i8, z - 128
    %d = graph.dequantize %q                  ==>  %d = graph.dequantize %s

Data movement between them moves the signed values.  Only what crosses the function's boundary as
ui8 is converted there, by a table of 256 entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from xdsl.ir import Attribute, Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    ConstantOp,
    DequantizeOp,
    LookupOp,
    QuantAttr,
    QuantizeOp,
    constant_array,
    is_map,
    quantization,
)
from ...dialects.types import element_of, int_values, ui8
from ..rewriting import erase_dead, replace
from .movement import is_movement, moved_encoding, moved_operands, on_stored, pad_constant

OFFSET = 128


def _signed(encoding: QuantAttr) -> QuantAttr:
    """The encoding of the same reals after subtracting 128 from the stored values."""
    scales = [float(s) for s in encoding.scales.get_values()]
    return QuantAttr.get(
        scales, [z - OFFSET for z in int_values(encoding.zero_points)], encoding.axis_index
    )


def make_signed(ops: Sequence[Operation], store: ConstantStore) -> None:
    """Rewrite every ui8 quantize and dequantize of `ops` (in program order)."""
    twins: dict[SSAValue, SSAValue] = {}  # ui8 value -> the i8 value that stands for it
    leftovers: list[Operation] = []
    for op in ops:
        if (moved := _moved(op, twins)) is not None:
            back = _unsigned(moved, op.results[0].type, store)
            replace(op, [moved, *back])
            twins[back[-1].results[0]] = moved.results[0]
            leftovers += back
        elif is_map(op, "identity") and op.operands[0] in twins:
            twin = twins[op.operands[0]]
            encoding = quantization(op.results[0].type)
            if encoding is not None and _signed(encoding) == quantization(twin.type):
                twins[op.results[0]] = twin  # what gives the result of a movement its encoding
                leftovers.append(op)
        if isinstance(op, QuantizeOp) and element_of(op.result) == ui8:
            encoding = quantization(op.result.type)
            assert encoding is not None
            quantize = QuantizeOp(op.x, _signed(encoding))
            back = _unsigned(quantize, op.result.type, store)
            replace(op, [quantize, *back])
            twins[back[-1].results[0]] = quantize.result
            leftovers += back
        elif isinstance(op, DequantizeOp) and element_of(op.x) == ui8:
            encoding = quantization(op.x.type)
            assert encoding is not None
            new: list[Operation] = []
            twin = twins.get(op.x)
            if twin is None:
                new, twin = _shifted(op.x, _signed(encoding), store)
                twins[op.x] = twin
                if isinstance(op.x.owner, ConstantOp):
                    leftovers.append(op.x.owner)
            replace(op, [*new, DequantizeOp(twin)])
    erase_dead(leftovers)


def _moved(op: Operation, twins: Mapping[SSAValue, SSAValue]) -> Operation | None:
    """Data movement `op` on signed twins of what it moves, if these have one encoding."""
    if not is_movement(op) or pad_constant(op) is not None:
        return None
    found = [twins.get(o) for o in moved_operands(op)]
    operands = [v for v in found if v is not None]
    encodings = {quantization(v.type) for v in operands}
    if len(operands) < len(found) or len(encodings) != 1:
        return None
    encoding = encodings.pop()
    if encoding is None or (encoding := moved_encoding(op, encoding)) is None:
        return None
    return on_stored(op, operands, encoding)


def _unsigned(op: Operation, type: Attribute, store: ConstantStore) -> list[Operation]:
    """Operations that compute the result of `op` plus 128, encoded like `type`."""
    table = ConstantOp.from_array(np.arange(256, dtype=np.uint8), store)
    return [table, LookupOp(op.results[0], table.result, quantization(type))]


def _shifted(
    value: SSAValue, encoding: QuantAttr, store: ConstantStore
) -> tuple[list[Operation], SSAValue]:
    """Operations that compute `value` - 128 as i8, and their result."""
    array = constant_array(value, store)
    if array is not None:
        constant = ConstantOp.from_array(
            (array.astype(np.int16) - OFFSET).astype(np.int8), store, encoding=encoding
        )
        return [constant], constant.result
    table = ConstantOp.from_array(np.arange(-OFFSET, OFFSET, dtype=np.int8), store)
    lookup = LookupOp(value, table.result, encoding)
    return [table, lookup], lookup.result
