"""Clustering keeps the meaning and never adds a segment."""

from __future__ import annotations

from hypothesis import given, settings
from xdsl.dialects.builtin import ModuleOp

from support.loop_dags import dags
from support.loop_programs import Program, same
from tilewright.dialects.loop import NestOp
from tilewright.dialects.semantics import loop
from tilewright.passes.base import main_function
from tilewright.passes.loop.cluster_devices import ClusterDevicesPass, changes
from tilewright.passes.loop.lower_to_loop import LowerToLoopPass


def _segments(module: ModuleOp) -> int:
    nests = [o for o in main_function(module).body.block.ops if isinstance(o, NestOp)]
    return changes([n.device.data if n.device else "cpu" for n in nests])


@settings(max_examples=100, deadline=None)
@given(dags())
def test_random_graphs_keep_their_meaning(made: tuple[Program, ModuleOp]) -> None:
    program, module = made
    LowerToLoopPass().apply(program.ctx, module)
    want, before = loop.evaluate(module, program.inputs, program.ctx.constants), _segments(module)
    ClusterDevicesPass().apply(program.ctx, module)
    module.verify()
    same(loop.evaluate(module, program.inputs, program.ctx.constants), want, "cluster-devices")
    assert _segments(module) <= before
