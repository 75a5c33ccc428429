from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from support.quantized import MACHINE, Graph, context, run
from support.random_graphs import Case, assert_same_meaning, graph_modules
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.graph import (
    ConstantOp,
    ConvOp,
    DequantizeOp,
    MapOp,
    QuantAttr,
    QuantizeOp,
    RequantizeOp,
    SliceOp,
    SoftmaxOp,
    TransposeOp,
    device_of,
)
from tilewright.dialects.locations import location
from tilewright.passes.base import main_function
from tilewright.passes.graph.assign_device import ISLAND
from tilewright.passes.graph.quantization_plan import single_user

ALL = ("quantize-insert", "quantize-push", "quantize-integer", "assign-device")


@settings(max_examples=30)
@given(graph_modules())
def test_everything_is_placed_and_accumulators_stay_with_their_requantisation(case: Case) -> None:
    module, store, inputs = case
    ctx = context(module, store, inputs)
    ctx.machine = MACHINE
    run(ctx, module, *ALL[:-1])
    assert_same_meaning(module, store, inputs, lambda: run(ctx, module, "assign-device"), 0.0)
    ops = [op for op in main_function(module).body.block.ops if not isinstance(op, ConstantOp)][:-1]
    assert all(device_of(op) in ("npu", "cpu") for op in ops)
    for op in ops:
        if isinstance(op, RequantizeOp):
            assert device_of(op) == device_of(op.x.owner)  # pyright: ignore[reportArgumentType]
        elif isinstance(op, ConvOp) and device_of(op) == "npu":
            assert isinstance(single_user(op.result), RequantizeOp)


def network() -> tuple[Graph, MapOp]:
    """conv -> relu, with names."""
    graph = Graph(ConstantStore(), (1, 4, 6, 6))
    weights = graph.constant(
        np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    )
    conv = ConvOp(graph.args[0], weights, strides=[1, 1], pads=[0] * 4, dilations=[1, 1])
    relu = MapOp("relu", [conv.result])
    conv.location, relu.location = location(["conv"]), location(["relu"])
    graph.add(conv)
    graph.add(relu)
    return graph, relu


def test_reasons_are_recorded_by_node() -> None:
    graph, relu = network()
    softmax = SoftmaxOp(relu.result, 1)
    softmax.location = location(["softmax"])
    module = graph.module(graph.add(softmax))
    ctx = context(module, graph.store, [np.ones((1, 4, 6, 6), np.float32)])
    ctx.machine = MACHINE
    run(ctx, module, *ALL)
    assert ctx.placement["softmax"] == "float32 softmax: the vector unit has no exponential"
    assert "conv" not in ctx.placement


def test_without_a_machine_all_is_on_the_cpu() -> None:
    graph, relu = network()
    module = graph.module(relu.result)
    ctx = context(module, graph.store, [np.ones((1, 4, 6, 6), np.float32)])
    run(ctx, module, *ALL)
    ops = [op for op in main_function(module).body.block.ops if not isinstance(op, ConstantOp)][:-1]
    assert {device_of(op) for op in ops} == {"cpu"}
    assert ctx.placement == {}


@pytest.mark.parametrize("fn", ["exp", "abs"])
def test_movement_between_cpu_operations_stays_there(fn: str) -> None:
    graph = Graph(ConstantStore(), (1, 3, 4))
    real = graph.add(MapOp(fn, [graph.args[0]]))
    moved = graph.add(TransposeOp(graph.quantized(real, QuantAttr.get([0.1], [0])), [0, 2, 1]))
    moved = SliceOp(moved, [0, 0, 0], [1, 2, 3])
    moved.location = location(["slice"])
    module = graph.module(graph.add(moved))
    ctx = context(module, graph.store, [np.ones((1, 3, 4), np.float32)])
    ctx.machine = MACHINE
    run(ctx, module, "quantize-push", "assign-device")
    assert {device_of(op) for op in module.walk() if isinstance(op, TransposeOp | SliceOp)} == {
        "cpu"
    }
    assert ctx.placement["slice"] == ISLAND


def test_conversions_at_the_border_are_not_nodes_on_the_cpu() -> None:
    graph, relu = network()
    module = graph.module(relu.result)
    ctx = context(module, graph.store, [np.ones((1, 4, 6, 6), np.float32)])
    ctx.machine = MACHINE
    run(ctx, module, "quantize-insert")
    pairs = [op for op in module.walk() if isinstance(op, QuantizeOp | DequantizeOp)]
    for i, op in enumerate(pairs):
        op.location = location([f"conversion{i}"])  # as if they were nodes of the model
    run(ctx, module, *ALL[1:])
    assert [op for op in module.walk() if isinstance(op, DequantizeOp) and device_of(op) == "cpu"]
    assert ctx.placement == {}


def test_conversions_between_cpu_operations_are() -> None:
    graph = Graph(ConstantStore(), (1, 3, 4))
    stored = QuantizeOp(graph.add(MapOp("exp", [graph.args[0]])), QuantAttr.get([0.1], [0]))
    stored.location = location(["q"])
    real = DequantizeOp(graph.add(stored))
    module = graph.module(graph.add(SoftmaxOp(graph.add(real), 1)))
    ctx = context(module, graph.store, [np.ones((1, 3, 4), np.float32)])
    ctx.machine = MACHINE
    run(ctx, module, "assign-device")
    assert ctx.placement["q"].startswith("conversion")
