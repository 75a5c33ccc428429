"""Unsigned 8-bit storage becomes signed, so that integer operators only meet i8.

    %q = graph.quantize %x -> ui8, zero point z    %s = graph.quantize %x -> i8, z - 128
    %d = graph.dequantize %q                  ==>  %d = graph.dequantize %s

Only what crosses the function's boundary as ui8 is converted there, by a table of 256 entries.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import Operation, SSAValue

from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    ConstantOp,
    DequantizeOp,
    LookupOp,
    QuantAttr,
    QuantizeOp,
    constant_array,
    quantization,
)
from ...dialects.types import element_of, int_values, ui8
from ..rewriting import erase_dead, replace

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
        if isinstance(op, QuantizeOp) and element_of(op.result) == ui8:
            encoding = quantization(op.result.type)
            assert encoding is not None
            quantize = QuantizeOp(op.x, _signed(encoding))
            table = ConstantOp.from_array(np.arange(256, dtype=np.uint8), store)
            back = LookupOp(quantize.result, table.result, encoding)
            replace(op, [quantize, table, back])
            twins[back.result] = quantize.result
            leftovers += [table, back]
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
