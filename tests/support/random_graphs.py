"""Random small networks for property tests.

Two strategies, over the same kinds of layers (convolutions with strides, pads, dilations, groups;
pooling; elementwise with broadcasting; residual additions; concatenation, slices, reshapes,
transposes, resizes; reductions, softmax, matmul, batch normalisation; spelled-out activations):

- `onnx_models()`: an `onnx.ModelProto` (opset 17, checked, static shapes, f32 inputs), for
  properties of the importer and of whole compilations, with onnxruntime as the outer oracle
  (`run_onnx`, `random_inputs`).
- `graph_modules()`: the same models imported: (module, constant store, input arrays), for
  properties of graph passes, with the reference semantics as the oracle:

      @given(graph_modules())
      def test_meaning(case):
          module, store, inputs = case
          assert_same_meaning(module, store, inputs, lambda: CsePass().apply(ctx, module))

Weights are small and random (seeded by the drawn integer, so that failures shrink and replay);
values stay moderate through depth, so that a relative tolerance of 1e-4 is meaningful.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from hypothesis import HealthCheck
from hypothesis import strategies as st
from onnx import TensorProto, helper
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from support.oracle import session
from support.random_layers import LAYERS, MAX_ELEMENTS, Array, Builder, Shape, Value, unary
from tilewright.compiler.importer import import_model
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.semantics.graph import evaluate
from tilewright.dialects.types import element_of, numpy_dtype, shape_of, strings
from tilewright.passes.base import CompilerContext, main_function

Case = tuple[ModuleOp, ConstantStore, list[Array]]
"""A module, its constants, and values of its inputs."""
SLOW_DATA = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
"""Health checks that random networks may fail."""


@st.composite
def onnx_models(draw: Any, max_layers: int = 8) -> onnx.ModelProto:
    """A random model of up to `max_layers` layers, one or two inputs, one to three outputs."""
    b = Builder(draw, np.random.default_rng(draw(st.integers(0, 2**16))))
    shape = (b.pick([1, 1, 2]), b.number(1, 4), b.number(3, 8), b.number(3, 8))
    inputs = [Value("x", shape)]
    if b.pick([False, False, True]):
        inputs.append(Value("x2", (shape[0], shape[1], 1, 1)))
    b.values += inputs
    for _ in range(b.number(1, max_layers)):
        source = b.values[-1] if b.pick([True, True, True, False]) else b.pick(b.values)
        if math.prod(source.shape) > MAX_ELEMENTS or not source.shape:
            continue
        b.pick(LAYERS)(b, source)
    if not b.nodes:
        unary(b, inputs[0])
    used = {name for node in b.nodes for name in node.input}
    produced = b.values[len(inputs) :]
    outputs = [v for v in produced if v.name not in used][-3:] or produced[-1:]

    def info(values: Sequence[Value]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.shape) for v in values]

    graph = helper.make_graph(b.nodes, "random", info(inputs), info(outputs), b.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def random_inputs(shapes: Sequence[tuple[Shape, np.dtype[Any]]], seed: int = 0) -> list[Array]:
    """Standard normal floats, small integers."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal(shape).astype(dtype)
        if dtype.kind == "f"
        else rng.integers(-3, 4, shape).astype(dtype)
        for shape, dtype in shapes
    ]


def run_onnx(model: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    """Outputs by onnxruntime without its optimisations: the outer oracle."""
    run = session(model.SerializeToString())
    names = [i.name for i in run.get_inputs()]
    return [np.asarray(y) for y in run.run(None, dict(zip(names, inputs, strict=True)))]


@st.composite
def graph_modules(draw: Any, max_layers: int = 8) -> Case:
    """A random imported model: graph-level module, its constants, and inputs for it."""
    ctx = CompilerContext()
    module = import_model(draw(onnx_models(max_layers)), ctx)
    args = main_function(module).body.block.args
    shapes = [(shape_of(a), numpy_dtype(element_of(a))) for a in args]
    return module, ctx.constants, random_inputs(shapes, draw(st.integers(0, 99)))


def assert_same_meaning(
    module: ModuleOp,
    store: ConstantStore,
    inputs: list[Array],
    transform: Callable[[], object],
    tolerance: float = 1e-4,
) -> None:
    """Run `transform` on `module` and require verified IR with the same outputs as before."""
    before = evaluate(module, list(inputs), store)
    transform()
    module.verify()
    check_order(module)
    after = evaluate(module, list(inputs), store)
    for a, b in zip(before, after, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        finite = np.abs(a[np.isfinite(a)]) if a.dtype.kind == "f" else np.ones(())
        scale = max(1.0, float(np.max(finite, initial=0.0)))
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * scale)


def check_order(module: ModuleOp) -> None:
    """Every operand of `@main` is defined before it is used (verify() does not check this)."""
    block = main_function(module).body.block
    seen: set[SSAValue] = set(block.args)
    for op in block.ops:
        assert all(o in seen for o in op.operands), f"{op.name} uses a value before its definition"
        seen.update(op.results)


@st.composite
def quantised_modules(draw: Any, max_layers: int = 8) -> Case:
    """As `graph_modules`, brought to integer form by the quantisation passes.

    Calibrated on the very inputs returned.  For properties that must hold bit for bit.
    """
    from tilewright.passes.registry import find_pass

    module, store, inputs = draw(graph_modules(max_layers))
    func = main_function(module)
    names = strings(func.attributes["input_names"])
    samples = {name: np.stack([x, x / 2]) for name, x in zip(names, inputs, strict=True)}
    ctx = CompilerContext(constants=store, calibration=samples)
    for name in (
        "canonicalize",
        "constant-fold",
        "fold-batch-norm",
        "fuse-activations",
        "canonicalize",
        "quantize-insert",
        "quantize-push",
        "quantize-integer",
        "canonicalize",
        "cse",
        "dce",
    ):
        find_pass(name)().apply(ctx, module)
    return module, store, inputs
