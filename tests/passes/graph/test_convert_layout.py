from __future__ import annotations

from hypothesis import given, settings

from support.random_graphs import SLOW_DATA, Case, assert_same_meaning, graph_modules
from tilewright.dialects.graph import ConvOp, PoolOp, ResizeOp
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.convert_layout import ConvertLayoutPass


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW_DATA)
@given(graph_modules())
def test_meaning_is_preserved_and_all_is_channels_last(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: ConvertLayoutPass().apply(ctx, module))
    for op in module.walk():
        if isinstance(op, ConvOp | PoolOp | ResizeOp):
            assert op.layout.data == "NHWC"
