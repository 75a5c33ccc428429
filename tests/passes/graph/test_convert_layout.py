from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from support.random_graphs import assert_same_meaning, graph_modules
from tilewright.dialects.graph import ConvOp, PoolOp, ResizeOp
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.convert_layout import ConvertLayoutPass


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph_modules())
def test_meaning_is_preserved_and_all_is_channels_last(case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: ConvertLayoutPass().apply(ctx, module))
    for op in module.walk():
        if isinstance(op, ConvOp | PoolOp | ResizeOp):
            assert op.layout.data == "NHWC"
