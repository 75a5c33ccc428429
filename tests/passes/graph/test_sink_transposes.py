from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from support.random_graphs import assert_same_meaning, graph_modules

from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.convert_layout import ConvertLayoutPass
from tilewright.passes.graph.sink_transposes import SinkTransposesPass


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph_modules())
def test_meaning_is_preserved(case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    ConvertLayoutPass().apply(ctx, module)
    assert_same_meaning(module, store, inputs, lambda: SinkTransposesPass().apply(ctx, module))
