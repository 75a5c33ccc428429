"""Folds against a systolic array stepped cycle by cycle, and against SCALE-Sim's closed form."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.systolic_array import assembled, multiply
from tilewright.backends.scalesim import (
    DATAFLOWS,
    Array,
    Layer,
    folds,
    parse_topology,
    read_topology,
    time_layer,
)
from tilewright.backends.scalesim.systolic import sequence
from tilewright.dialects.errors import InputError

SHARED = Path(
    os.environ.get("TILEWRIGHT_SCALESIM")
    or Path(__file__).parents[4] / "shared" / "yardsticks" / "scalesim"
)
SIZES = (8, 16, 32, 64, 128, 256)
OURS = """Layer, M, N, K,
one, 1, 1, 1,
row, 1, 1000, 512,
column, 1000, 1, 512,
whole, 256, 128, 64,
ragged, 131, 259, 67,
"""


def closed_form(m: int, n: int, k: int, array: Array, dataflow: str) -> int:
    """What SCALE-Sim 3.0.0 was measured to report without stalls."""
    r, c = array.rows, array.columns
    if dataflow == "ws":
        return -(-k // r) * -(-n // c) * (2 * r + c + m - 2) - 1
    if dataflow == "os":
        return -(-m // r) * -(-n // c) * (r + c + k - 2) - 1
    return -(-k // r) * -(-m // c) * (2 * r + c + n - 2) - 1


def check_layer(layer: Layer, array: Array, dataflow: str) -> None:
    timing = time_layer(layer, array, dataflow)
    size = layer.m, layer.n, layer.k
    assert timing.cycles == closed_form(*size, array, dataflow)
    assert timing.cycles == timing.fill + timing.stream + timing.drain
    assert min(timing.fill, timing.stream, timing.drain) >= 0
    kinds = folds(*size, array, dataflow)
    assert timing.folds == sum(f.count for f in kinds)
    assert timing.cycles == sum(f.count * f.cycles for f in kinds) - 1
    assert 0 < timing.mapping_efficiency <= 1
    assert timing.utilization <= 1


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("rows, columns", list(product(SIZES, SIZES)))
def test_our_layers_take_the_closed_form(rows: int, columns: int, dataflow: str) -> None:
    for layer in parse_topology(OURS):
        check_layer(layer, Array(rows, columns), dataflow)


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.csv")) or [None], ids=str)
def test_shared_topologies_take_the_closed_form(path: Path | None) -> None:
    if path is None:
        pytest.skip("no shared topologies")
    for layer in read_topology(path).layers:
        for rows, columns, dataflow in product(SIZES, SIZES, DATAFLOWS):
            check_layer(layer, Array(rows, columns), dataflow)


@pytest.mark.parametrize("path", sorted(SHARED.glob("*.csv")) or [None], ids=str)
def test_folds_one_by_one_add_up(path: Path | None) -> None:
    if path is None:
        pytest.skip("no shared topologies")
    for layer in {(la.m, la.n, la.k) for la in read_topology(path).layers}:
        for size, dataflow in product((32, 128), DATAFLOWS):
            array = Array(size, size)
            each = sum(f.cycles for f in sequence(*layer, array, dataflow))
            assert each - 1 == closed_form(*layer, array, dataflow)


RESNET50 = {16: (20.60, 18.63, 21.39), 32: (6.35, 5.20, 6.62), 64: (2.19, 1.58, 2.35),
            128: (0.916, 0.645, 1.07)}  # fmt: skip


@pytest.mark.parametrize("size", RESNET50)
def test_totals_that_scale_sim_printed(size: int) -> None:
    path = SHARED / "resnet50_v15_224.csv"
    if not path.exists():
        pytest.skip("no shared topologies")
    layers = read_topology(path).layers
    for dataflow, expected in zip(DATAFLOWS, RESNET50[size], strict=True):
        total = sum(time_layer(layer, Array(size, size), dataflow).cycles for layer in layers)
        assert total / 1e6 == pytest.approx(expected, rel=0.005)


SMALL = st.integers(1, 6)
EXTENT = st.integers(1, 14)


@settings(max_examples=120, deadline=None)
@given(EXTENT, EXTENT, EXTENT, SMALL, SMALL, st.sampled_from(DATAFLOWS), st.integers(0, 2**32 - 1))
def test_folds_are_what_a_systolic_array_does(
    m: int, n: int, k: int, rows: int, columns: int, dataflow: str, seed: int
) -> None:
    """Same folds in the same order, same cycles in every phase; and the array multiplies right."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))
    observed = multiply(a, b, rows, columns, dataflow)
    expected = list(sequence(m, n, k, Array(rows, columns), dataflow))
    assert [(o.fill, o.stream, o.drain) for o in observed] == [
        (f.fill, f.stream, f.drain) for f in expected
    ]
    assert (assembled(observed, a, b, rows, columns, dataflow) == a @ b).all()
    check_layer(Layer("x", m, n, k), Array(rows, columns), dataflow)
    total = time_layer(Layer("x", m, n, k), Array(rows, columns), dataflow).cycles
    assert total == sum(o.cycles for o in observed) - 1


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 300),
    st.integers(1, 300), st.sampled_from(DATAFLOWS),
)  # fmt: skip
def test_any_layer_takes_the_closed_form(
    m: int, n: int, k: int, rows: int, columns: int, dataflow: str
) -> None:
    check_layer(Layer("x", m, n, k), Array(rows, columns), dataflow)
    covered = sum(
        f.count * f.rows * f.columns for f in folds(m, n, k, Array(rows, columns), dataflow)
    )
    assert covered == {"ws": k * n, "os": m * n, "is": k * m}[dataflow]


def test_the_first_cycle_is_number_0() -> None:
    timing = time_layer(Layer("x", 1, 1, 1), Array(1, 1), "os")
    assert (timing.fill, timing.stream, timing.drain) == (0, 0, 0)
    assert timing.cycles == 0 and timing.utilization == 0.0
    timing = time_layer(Layer("x", 1, 1, 1), Array(1, 1), "ws")
    assert (timing.fill, timing.stream, timing.drain) == (0, 1, 0)


def test_a_fold_by_hand() -> None:
    timing = time_layer(Layer("x", 5, 3, 4), Array(2, 3), "ws")
    assert (timing.folds, timing.fill, timing.stream, timing.drain) == (2, 3, 10, 6)
    assert timing.mapping_efficiency == 1.0
    assert timing.utilization == pytest.approx(60 / (19 * 6))


def test_an_unknown_dataflow() -> None:
    with pytest.raises(InputError, match="choose from ws, os, is"):
        time_layer(Layer("x", 1, 1, 1), Array(1, 1), "rs")
