"""Scalar bodies of vector commands compute what the commands do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import i8, i32
from xdsl.ir import Block

from support.segments import Segment
from tilewright.dialects.loop import ScalarYieldOp
from tilewright.dialects.npu.isa import BY_MNEMONIC
from tilewright.dialects.semantics.instructions import execute
from tilewright.dialects.semantics.loop.nest import evaluate_block
from tilewright.passes.loop.stage_ops import scalar_ops

INT32 = 2**31
COUNT = 24
OPERANDS = {"multiplier": (0, INT32 - 1), "shift": (20, 50)}
"""Least and greatest values of operands by name, where they are not those of the element type."""
PARAMS = {
    "shift": (20, 50), "multiplier": (0, INT32 - 1), "ma": (0, 2**20), "mb": (-(2**20), 2**20),
    "bits": (24, 40), "extra": (0, 4), "count": (1, 64), "epsilon": (0, 2**20),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["vrequant", "vadd", "vmul", "vlut", "vexp", "vclip", "vwide", "vrecip", "vrsqrt"]
)
@given(data=st.data())
def test_bodies_are_commands(kind: str, data: st.DataObject) -> None:
    instruction = BY_MNEMONIC[kind]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    *reads, destination = instruction.operands
    views: list[Any] = []
    for spec in reads:
        wide = spec.element == "i32"
        low, high = OPERANDS.get(spec.name, (-INT32, INT32 - 1) if wide else (-128, 127))
        size = 256 if spec.name == "table" else COUNT
        views.append(rng.integers(low, high, size, endpoint=True).astype("i4" if wide else "i1"))
    if kind == "vexp":
        views[1] = np.maximum(views[0], views[1])  # the maximum of a row
    params = {
        name: data.draw(st.integers(*PARAMS.get(name, (-128, 127)))) for name in instruction.params
    }
    if "lo" in params:
        params["lo"], params["hi"] = sorted((params["lo"], params["hi"]))
    result = np.zeros(COUNT, np.int32 if destination.element == "i32" else np.int8)
    execute(kind, [*views, result], params)

    arguments = [v for spec, v in zip(reads, views, strict=True) if spec.name != "table"]
    block = Block(arg_types=[i32 if v.dtype.itemsize == 4 else i8 for v in arguments])
    table = next((v for s, v in zip(reads, views, strict=True) if s.name == "table"), None)
    source = None if table is None else Segment().constant(table)
    ops = scalar_ops(kind, block, dict(params), source)
    block.add_ops([*ops, ScalarYieldOp([ops[-1].results[0]])])
    found = evaluate_block(block, arguments, [slice(COUNT)], {}, lambda _: table)  # pyright: ignore[reportArgumentType]
    assert (found == result).all()
