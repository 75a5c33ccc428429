from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from support.random_graphs import assert_same_meaning, graph_modules
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.dce import DcePass


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph_modules())
def test_meaning_is_preserved(case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: DcePass().apply(ctx, module))
