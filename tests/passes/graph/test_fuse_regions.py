from __future__ import annotations

from hypothesis import given, settings

from support.random_graphs import (
    SLOW_DATA,
    Case,
    assert_same_meaning,
    graph_modules,
    quantised_modules,
)
from tilewright.dialects.graph import RegionOp
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.fuse_regions import REDUCING, FuseRegionsPass

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=SLOW_DATA)


@SETTINGS
@given(graph_modules())
def test_meaning_is_preserved_and_regions_are_one_nest(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(
        module, store, inputs, lambda: FuseRegionsPass(max_ops=4).apply(ctx, module), 0.0
    )
    for region in module.walk():
        if isinstance(region, RegionOp):
            assert 2 <= len(region.ops) <= 4
            assert sum(isinstance(op, REDUCING) for op in region.ops) <= 1
            assert {shape_of(op.results[0]) for op in region.ops} == {shape_of(region.res[0])}


@SETTINGS
@given(quantised_modules())
def test_integers_are_preserved_exactly(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: FuseRegionsPass().apply(ctx, module), 0.0)
