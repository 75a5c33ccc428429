from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.quantized import Graph
from tilewright.dialects.constants import ConstantStore
from tilewright.dialects.errors import InputError
from tilewright.dialects.graph import MapOp
from tilewright.passes.base import main_function
from tilewright.passes.graph.calibration import (
    BINS,
    MinMaxObserver,
    PercentileObserver,
    calibrate,
    observer_factory,
    samples,
)


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50),
    st.integers(0, 2**16),
    st.floats(60, 100),
)
def test_ranges_do_not_depend_on_the_order_of_samples(
    values: list[float], seed: int, percentile: float
) -> None:
    array = np.array(values, np.float32)
    for make in (MinMaxObserver, lambda: PercentileObserver(percentile)):
        forward, shuffled = make(), make()
        for value in array:
            forward.update(value)
        for value in np.random.default_rng(seed).permutation(array):
            shuffled.update(value)
        assert forward.range() == shuffled.range()
        at_once = make()
        at_once.update(array)
        assert at_once.range() == forward.range()
        lo, hi = at_once.range() or (np.nan, np.nan)
        assert array.min() <= lo <= hi <= array.max()


@given(st.integers(0, 2**16), st.sampled_from([80.0, 90.0, 98.0]), st.floats(-3, 3))
def test_percentiles_are_those_of_numpy_within_a_bin(
    seed: int, percentile: float, shift: float
) -> None:
    data = np.random.default_rng(seed).normal(shift, 1, (20, 1000)).astype(np.float32)
    observer = PercentileObserver(percentile)
    for chunk in data:
        observer.update(chunk)
    tail = (100 - percentile) / 2
    expected = np.percentile(data, [tail, 100 - tail])
    bin_width = 2.0 ** (np.ceil(np.log2(np.abs(data).max())) + 1) / BINS
    np.testing.assert_allclose(observer.range() or (), expected, atol=3 * bin_width)


def test_values_that_are_not_finite_are_ignored() -> None:
    for observer in (MinMaxObserver(), PercentileObserver(99.0)):
        observer.update(np.array([np.nan, np.inf]))
        assert observer.range() is None
        observer.update(np.array([1.0, np.nan, -np.inf, 2.0]))
        lo, hi = observer.range() or (np.nan, np.nan)
        assert 1.0 <= lo <= hi <= 2.0


def test_samples_are_stacked_along_a_new_first_axis() -> None:
    store = ConstantStore()
    graph = Graph(store, (1, 3))
    module = graph.module(graph.add(MapOp("neg", [graph.args[0]])))
    func = main_function(module)
    assert len(list(samples(func, {"arg0": np.zeros((1, 3))}))) == 1
    stacked = np.arange(12, dtype=np.float32).reshape(4, 1, 3)
    assert [s[0].tolist() for s in samples(func, {"arg0": stacked})] == stacked.tolist()
    result = func.body.block.last_op.operands[0]  # pyright: ignore[reportOptionalMemberAccess]
    wanted = [graph.args[0], result]
    ranges = calibrate(module, store, {"arg0": stacked}, wanted, MinMaxObserver)
    assert [ranges[v] for v in wanted] == [(0.0, 11.0), (-11.0, 0.0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "lacks input 'arg0'"),
        ({"arg0": np.zeros((1, 3)), "z": np.zeros(1)}, "no model input 'z'"),
        ({"arg0": np.zeros((2, 4))}, "shape [2, 4]"),
        ({"arg0": np.zeros((0, 1, 3))}, "shape [0, 1, 3]"),
    ],
)
def test_bad_calibration_data_is_told(data: dict[str, np.ndarray], message: str) -> None:
    graph = Graph(ConstantStore(), (1, 3))
    func = main_function(graph.module(graph.args[0]))
    with pytest.raises(InputError) as error:
        list(samples(func, data))
    assert message in str(error.value)


def test_unknown_methods_are_told() -> None:
    with pytest.raises(InputError, match="unknown calibration method 'mode'"):
        observer_factory("mode", 99.0)
    with pytest.raises(InputError, match="percentile"):
        observer_factory("percentile", 10.0)
