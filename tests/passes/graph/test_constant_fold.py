from __future__ import annotations

from hypothesis import given, settings

from support.random_graphs import SLOW_DATA, Case, assert_same_meaning, graph_modules
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.constant_fold import ConstantFoldPass


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW_DATA)
@given(graph_modules())
def test_meaning_is_preserved(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: ConstantFoldPass().apply(ctx, module))
