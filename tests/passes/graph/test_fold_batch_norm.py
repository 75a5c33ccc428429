from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region

from support.random_graphs import SLOW_DATA, Case, assert_same_meaning, graph_modules
from tilewright.dialects.graph import BatchNormOp, ConstantOp, ConvOp, MapOp
from tilewright.dialects.locations import location, onnx_nodes
from tilewright.dialects.types import tensor
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.fold_batch_norm import FoldBatchNormPass


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW_DATA)
@given(graph_modules())
def test_meaning_is_preserved(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    assert_same_meaning(module, store, inputs, lambda: FoldBatchNormPass().apply(ctx, module))
    assert not any(isinstance(op, BatchNormOp) for op in module.walk())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_everything_around_a_convolution_folds_into_it(layout: str, group: int) -> None:
    ctx, rng, first = CompilerContext(), np.random.default_rng(0), layout == "NCHW"
    shape = (1, 4, 5, 5) if first else (1, 5, 5, 4)

    def constant(*extents: int) -> ConstantOp:
        op = ConstantOp.from_array(rng.random(extents).astype(np.float32) + 0.5, ctx.constants)
        block.add_op(op)
        return op

    block = Block(arg_types=[tensor(shape, f32)])
    channel = (4, 1, 1) if first else (4,)
    scaled = MapOp("mul", [block.args[0], constant(*channel).result])
    moved = MapOp("add", [scaled.result, constant(1).result])
    weights = constant(8, 4 // group, 3, 3) if first else constant(3, 3, 4 // group, 8)
    conv = ConvOp(
        moved.result,
        weights.result,
        strides=[1, 1],
        pads=[0] * 4,
        dilations=[1, 1],
        group=group,
        layout=layout,
    )
    scale, bias, mean, var = (constant(8).result for _ in range(4))
    norm = BatchNormOp(conv.result, scale, bias, mean, var, 1e-3, 1 if first else 3)
    wide = (8, 1, 1) if first else (8,)
    after = MapOp("mul", [norm.result, constant(*wide).result])
    ops = [scaled, moved, conv, norm, after]
    for op, name in zip(ops, ("scale", "move", "conv", "norm", "after"), strict=True):
        op.location = location([name])
    block.add_ops([*ops, ReturnOp(after.result)])
    func = FuncOp("main", ([block.args[0].type], [after.result.type]), Region(block))
    module = ModuleOp([func])
    x = rng.random(shape).astype(np.float32)
    assert_same_meaning(
        module, ctx.constants, [x], lambda: FoldBatchNormPass().apply(ctx, module), 1e-5
    )
    left = [op for op in block.ops if not isinstance(op, ConstantOp | ReturnOp)]
    assert [type(op) for op in left] == [ConvOp]
    assert set(onnx_nodes(left[0])) == {"scale", "move", "conv", "norm", "after"}
