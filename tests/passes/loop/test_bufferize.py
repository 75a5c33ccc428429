"""Bufferisation keeps the meaning, and copies only where it must."""

from __future__ import annotations

from hypothesis import given, settings
from xdsl.dialects.builtin import ModuleOp

from support.loop_dags import dags
from support.loop_programs import Program, check_stages
from tilewright.dialects.graph import ConcatOp, ConvOp, MapOp
from tilewright.dialects.loop import AllocOp, NestOp
from tilewright.dialects.types import shape_of
from tilewright.passes.base import main_function


@settings(max_examples=150, deadline=None)
@given(dags())
def test_random_graphs_keep_their_meaning(made: tuple[Program, ModuleOp]) -> None:
    program, module = made
    check_stages(module, program.ctx, program.inputs)


def _counts(module: ModuleOp) -> tuple[int, int]:
    ops = list(main_function(module).body.block.ops)
    return sum(isinstance(o, NestOp) for o in ops), sum(isinstance(o, AllocOp) for o in ops)


def test_dense_blocks_live_in_one_buffer() -> None:
    """concat(concat(a, b), c), read in between by padded convolutions: no copies, one buffer."""
    p = Program()
    x = p.input(p.floats(1, 6, 6, 4))
    features = p.add(MapOp("relu", [x]))
    for _ in range(3):
        channels = shape_of(features)[-1]
        w = p.constant(p.floats(3, 3, channels, 2))
        new = p.add(
            ConvOp(features, w, strides=[1, 1], pads=[1] * 4, dilations=[1, 1], layout="NHWC")
        )
        features = p.add(ConcatOp([features, new], 3))
    module = check_stages(p.module([features]), p.ctx, p.inputs)
    assert _counts(module) == (4, 0)  # everything is written straight into the output


def test_returned_inputs_constants_and_repetitions_are_copied() -> None:
    p = Program()
    x = p.input(p.floats(2, 3))
    y = p.add(MapOp("neg", [x]))
    module = check_stages(p.module([x, y, y, p.constant(p.floats(4))]), p.ctx, p.inputs)
    assert _counts(module) == (4, 0)
