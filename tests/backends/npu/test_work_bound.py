"""The lower bound of useful work is the optimum of the linear program it is the dual of."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from support.random_machines import machines
from tilewright.backends.npu.sim.bounds import LayerWork, work_bound
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine

contractions = st.tuples(
    st.integers(1, 10**7), st.integers(1, 600), st.integers(1, 5000)
)  # MACs, N, K
layers = st.lists(
    st.builds(LayerWork, st.lists(contractions, max_size=4).map(tuple), st.integers(0, 10**5)),
    min_size=1,
    max_size=4,
)


def optimum(machine: Machine, work: list[LayerWork], compulsory: int) -> float:
    """Least time when every contraction is split freely between the two units."""
    m, v = machine.matrix, machine.vector
    lanes = v.lanes * machine.cores / min(v.mac, 1.0)
    shapes = [c for w in work for c in w.contractions]
    rates = [
        max(min(m.rows * min(m.columns, n), m.columns * min(m.rows, k)), m.window_channels)
        * m.pixels
        * machine.cores
        for _, n, k in shapes
    ]
    cheapest = min(v.move, v.requantize, v.lookup, v.mac, 1.0)
    stages = sum(w.vector_elements for w in work) * cheapest / (v.lanes * machine.cores)
    # variables: the share of each contraction on the matrix unit, then the time
    matrix = [macs / rate for (macs, _, _), rate in zip(shapes, rates, strict=True)]
    vector = [macs / lanes for macs, _, _ in shapes]
    rows = [[*matrix, -1.0], [*(-x for x in vector), -1.0]]
    limits = [0.0, -sum(vector) - stages]
    found = cast(Any, optimize).linprog(
        [0.0] * len(shapes) + [1.0], rows, limits, bounds=[(0, 1)] * len(shapes) + [(0, None)]
    )
    assert found.success
    return max(float(found.fun), compulsory / (machine.dram.bytes_per_cycle * machine.cores))


@given(machines(), layers, st.integers(0, 10**7))
def test_bound_is_the_optimum_of_the_linear_program(
    machine: Machine, work: list[LayerWork], compulsory: int
) -> None:
    best = optimum(machine, work, compulsory)
    bound = work_bound(machine, work, compulsory)
    assert bound <= math.ceil(best + 1e-6 + 1e-6 * best)
    assert bound >= math.floor(best - 1e-6 - 1e-6 * best)


@pytest.mark.parametrize(
    ("contraction", "expected"),
    [
        ((256 * 100, 16, 16), 25600 / (256 + 16)),  # fills the array; the vector unit helps
        ((144 * 100, 1, 9), 14400 / (16 + 16)),  # depthwise: one useful column a row
        ((100, 16, 1), 100 / (16 + 16)),  # K = 1: one useful row a column
    ],
)
def test_hand_counted_bounds(contraction: tuple[int, int, int], expected: float) -> None:
    machine = load_target("gemmini-16x16")
    assert machine is not None
    assert (machine.matrix.rows, machine.vector.lanes) == (16, 16)
    assert work_bound(machine, [LayerWork((contraction,), 0)], 0) == math.ceil(expected)


def test_compulsory_traffic_bounds_too() -> None:
    machine = load_target("gemmini-16x16")
    assert machine is not None
    expected = int(np.ceil(10**6 / machine.dram.bytes_per_cycle))
    assert work_bound(machine, [LayerWork((), 0)], 10**6) == expected
