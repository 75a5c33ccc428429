from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper
from xdsl.dialects.builtin import ModuleOp, i8
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region

from support.random_graphs import (
    SLOW_DATA,
    Case,
    assert_same_meaning,
    graph_modules,
    quantised_modules,
)
from tilewright.compiler.importer import import_model
from tilewright.dialects.graph import (
    ConstantOp,
    ConvOp,
    QuantAttr,
    RequantizeOp,
    ReshapeOp,
    TransposeOp,
    device_of,
    place,
)
from tilewright.dialects.types import int_values, tensor
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.graph.convert_layout import ConvertLayoutPass
from tilewright.passes.graph.sink_transposes import SinkTransposesPass

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=SLOW_DATA)


@SETTINGS
@given(graph_modules())
def test_meaning_is_preserved(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)
    ConvertLayoutPass().apply(ctx, module)
    before = count(module)
    assert_same_meaning(module, store, inputs, lambda: SinkTransposesPass().apply(ctx, module))
    assert count(module) <= 2 * before + 1


@SETTINGS
@given(quantised_modules())
def test_integers_are_preserved_exactly(case: Case) -> None:
    module, store, inputs = case
    ctx = CompilerContext(constants=store)

    def transform() -> None:
        ConvertLayoutPass().apply(ctx, module)
        SinkTransposesPass().apply(ctx, module)

    assert_same_meaning(module, store, inputs, transform, tolerance=1e-6)


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW_DATA)
@given(graph_modules())
def test_every_operation_keeps_a_device(case: Case) -> None:
    module, store, _ = case
    ctx = CompilerContext(constants=store)
    for op in main_function(module).body.block.ops:
        if op.name.startswith("graph."):
            place(op, "npu")
    ConvertLayoutPass().apply(ctx, module)
    SinkTransposesPass().apply(ctx, module)
    for op in main_function(module).body.block.ops:
        if op.name.startswith("graph.") and op.name != "graph.constant":
            assert device_of(op) in ("npu", "cpu")


def test_channel_shuffle_on_the_npu_is_an_exact_convolution() -> None:
    ctx, encoding = CompilerContext(), QuantAttr.get([0.1], [-7])
    block = Block(arg_types=[tensor((1, 3, 5, 6), i8, encoding)])
    split = ReshapeOp(block.args[0], (1, 3, 5, 2, 3))
    swap = TransposeOp(split.result, [0, 1, 2, 4, 3])
    merge = ReshapeOp(swap.result, (1, 3, 5, 6))
    for op in (split, swap, merge):
        place(op, "npu")
    block.add_ops([split, swap, merge, ReturnOp(merge.result)])
    func = FuncOp("main", ([block.args[0].type], [merge.result.type]), Region(block))
    module = ModuleOp([func])
    x = np.random.default_rng(0).integers(-128, 128, (1, 3, 5, 6)).astype(np.int8)
    assert_same_meaning(
        module, ctx.constants, [x], lambda: SinkTransposesPass().apply(ctx, module), 0.0
    )
    left = [op for op in block.ops if not isinstance(op, ConstantOp | ReturnOp)]
    assert [type(op) for op in left] == [ConvOp, RequantizeOp]
    assert all(device_of(op) == "npu" for op in left)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_moves_whole_rows_of_channels(mode: str) -> None:
    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.random((12, 4, 1, 1)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("DepthToSpace", ["r"], ["y"], blocksize=2, mode=mode),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 3, 5])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 6, 10])
    graph = helper.make_graph(nodes, "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    ctx = CompilerContext()
    module = import_model(model, ctx)
    inputs = [rng.random((1, 4, 3, 5)).astype(np.float32)]

    def transform() -> None:
        ConvertLayoutPass().apply(ctx, module)
        SinkTransposesPass().apply(ctx, module)

    assert_same_meaning(module, ctx.constants, inputs, transform, 1e-6)
    perms = [int_values(op.perm) for op in module.walk() if isinstance(op, TransposeOp)]
    assert perms == [(0, 2, 3, 1), (0, 1, 3, 2, 4, 5), (0, 3, 1, 2)]


def count(module: ModuleOp) -> int:
    return sum(isinstance(op, TransposeOp) for op in module.walk())


@pytest.mark.parametrize(("width", "kept"), [(16, True), (64, True), (2, False)])
def test_heads_are_merged_in_rows(width: int, kept: bool) -> None:
    """[heads, tokens, width] to [tokens, heads x width] moves rows, if they are long enough."""
    ctx = CompilerContext()
    block = Block(arg_types=[tensor((1, 4, 8, width), i8)])
    swap = TransposeOp(block.args[0], [0, 2, 1, 3])
    merge = ReshapeOp(swap.result, (1, 8, 4 * width))
    block.add_ops([swap, merge, ReturnOp(merge.result)])
    func = FuncOp("main", ([block.args[0].type], [merge.result.type]), Region(block))
    module = ModuleOp([func])
    x = np.random.default_rng(0).integers(-128, 128, (1, 4, 8, width)).astype(np.int8)
    assert_same_meaning(
        module, ctx.constants, [x], lambda: SinkTransposesPass().apply(ctx, module), 0.0
    )
    perms = [int_values(op.perm) for op in module.walk() if isinstance(op, TransposeOp)]
    assert (perms == [(0, 2, 1, 3)]) is kept
