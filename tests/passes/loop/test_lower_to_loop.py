"""Every operator means the same on the graph, on loops, on buffers and in the arena."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import f32
from xdsl.dialects.test import TestPureOp as PureOp
from xdsl.parser import Parser

from support.loop_cases import CASES
from support.loop_programs import Program, check_stages
from tilewright.dialects.errors import UnsupportedError
from tilewright.dialects.graph import MapOp, SoftmaxOp, place
from tilewright.dialects.locations import onnx_nodes
from tilewright.dialects.loop import NestOp
from tilewright.dialects.types import tensor
from tilewright.passes.base import main_function
from tilewright.passes.loop.lower_to_loop import LowerToLoopPass
from tilewright.passes.rewriting import tensor_name


@pytest.mark.parametrize("name", sorted(CASES))
def test_operator_keeps_its_meaning(name: str) -> None:
    program = Program(seed=len(name))
    outputs = CASES[name](program)
    tolerance = (
        1e-3 if "16" in name or "half" in name or "softmax" in name or "resize" in name else 1e-5
    )
    module = check_stages(program.module(outputs), program.ctx, program.inputs, tolerance)
    text = str(module)
    parsed = Parser(program.ctx, text).parse_module()
    parsed.verify()
    assert str(parsed) == text


def test_nests_carry_nodes_tensors_and_devices() -> None:
    program = Program()
    x = program.input(program.floats(2, 3))
    op = MapOp("relu", [x])
    place(op, "npu")
    relu = program.add(op)
    program.add(SoftmaxOp(relu, 1))
    module = program.module([relu, program.block.last_op.results[0]])  # pyright: ignore
    LowerToLoopPass().apply(program.ctx, module)
    nests = [o for o in main_function(module).body.block.ops if isinstance(o, NestOp)]
    assert [onnx_nodes(n) for n in nests] == [("n0",)] + [("n1",)] * 4
    assert [tensor_name(n) for n in nests] == ["n0:0", None, None, None, "n1:0"]
    assert nests[0].device is not None and nests[0].device.data == "npu"


def test_unknown_operators_are_named() -> None:
    program = Program()
    op = PureOp(result_types=[tensor([2], f32)])
    y = program.add(op)
    with pytest.raises(UnsupportedError, match="n0"):
        LowerToLoopPass().apply(program.ctx, program.module([y]))
