from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.ir import SSAValue

from support.quantized import Graph, context
from support.random_graphs import Case, check_order, graph_modules
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.graph import ConvOp, MapOp
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext
from tilewright.passes.graph.bias_correction import MeanObserver, mean_shift
from tilewright.passes.graph.quantize_insert import QuantizeInsertPass


def _network(activation: str, seed: int) -> tuple[Graph, SSAValue]:
    """Two convolutions with an activation each, on 16 channels."""
    rng = np.random.default_rng(seed)
    graph = Graph(ConstantStore(), (1, 16, 10, 10))
    x = graph.args[0]
    for _ in range(2):
        w = graph.constant(rng.standard_normal((16, 16, 1, 1)).astype(np.float32))
        conv = ConvOp(x, w, strides=[1, 1], pads=[0] * 4, dilations=[1, 1])
        x = graph.add(MapOp(activation, [graph.add(conv)]))
    return graph, x


def _mean_errors(activation: str, seed: int, correct: bool) -> float:
    """Squared errors of the channel means of new samples."""
    graph, result = _network(activation, seed)
    module = graph.module(result)
    rng = np.random.default_rng(seed + 1)
    data = rng.random((16, 1, 16, 10, 10), np.float32)
    expected = [evaluate(module, [x], graph.store)[0] for x in data[8:]]
    ctx = CompilerContext(constants=graph.store, calibration={"arg0": data[:8]})
    QuantizeInsertPass(bias_correction=correct).run(ctx, module)
    module.verify()
    check_order(module)
    found = [evaluate(module, [x], graph.store)[0] for x in data[8:]]
    means = [(b - a).mean(axis=(0, 2, 3)) for a, b in zip(expected, found, strict=True)]
    return float(np.square(np.mean(means, axis=0)).sum())


@pytest.mark.parametrize("activation", ["relu", "silu", "leaky_relu"])
def test_means_of_new_samples_come_closer(activation: str) -> None:
    before = sum(_mean_errors(activation, seed, False) for seed in range(5))
    after = sum(_mean_errors(activation, seed, True) for seed in range(5))
    assert after < 0.2 * before


@settings(max_examples=25)
@given(graph_modules())
def test_only_biases_change(case: Case) -> None:
    module, store, inputs = case
    plain = module.clone()
    QuantizeInsertPass(bias_correction=False).run(context(plain, store, inputs), plain)
    QuantizeInsertPass().run(context(module, store, inputs), module)
    module.verify()
    check_order(module)
    kinds = [[op.name for op in m.walk() if op.name != "graph.constant"] for m in (plain, module)]
    assert kinds[0] == kinds[1]


@given(st.integers(2, 8), st.floats(-3, 3))
def test_only_what_samples_agree_on_is_shifted(count: int, shift: float) -> None:
    wanted, found = MeanObserver(1), MeanObserver(1)
    for i in range(count):
        array = np.full((1, 2, 3), float(i), np.float32)
        wanted.update(array + np.array([shift, (-1.0) ** i])[:, None])
        found.update(array)
    agreed, disputed = mean_shift(wanted, found)
    assert agreed == pytest.approx(shift, abs=1e-5)
    assert abs(disputed) <= 1.0 / count


def test_a_single_number_is_not_trusted() -> None:
    wanted, found = MeanObserver(1), MeanObserver(1)
    wanted.update(np.ones((1, 3), np.float32))
    found.update(np.zeros((1, 3), np.float32))
    assert not mean_shift(wanted, found).any()
