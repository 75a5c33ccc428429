"""Evidence of a layer: what its row of the simulation says, per core and within its own cycles."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.report_rows import MATMUL, row, target
from tilewright.compiler.report_evidence import UNITS, Evidence

KINDS = ("busy", "bank", "dram", "network", "wait_load", "latency", "fetch", "other")
CYCLES = 1000


@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.sampled_from(UNITS), st.sampled_from(KINDS), st.integers(0, 200))),
)
def test_work_and_stalls_fill_the_cycles(cores: int, counted: list[tuple[str, str, int]]) -> None:
    units: dict[str, Any] = {}
    for unit, kind, cycles in counted:
        kinds = units.setdefault(unit, {})
        if sum(kinds.values()) + cycles <= CYCLES * cores:
            kinds[kind] = kinds.get(kind, 0) + cycles
    e = Evidence.of(row(CYCLES, cores=cores, **units))
    for unit in UNITS:
        at_work = ("bank", "dram", "network")
        stalled = sum(n for kind, n in e.stalls[unit].items() if kind not in at_work)
        assert e.occupied[unit] + stalled == pytest.approx(CYCLES)
        assert 0 <= e.occupied[unit] <= CYCLES
        assert sum(e.stall(unit, k) for k in e.stalls[unit]) <= 1 + 1e-9
    assert e.occupied[e.pacing] == max(e.occupied.values())


def test_the_shape_is_the_largest_product() -> None:
    pool = {"kind": "vmax", "batch": 1, "m": 10**6, "n": 64, "k": 9, "taps": 9}
    shapes = [MATMUL, {**MATMUL, "n": 128}, pool]
    e = Evidence.of({**row(), "shapes": shapes})
    assert e.shape is not None
    assert (e.shape.kind, e.shape.n) == ("matmul", 128)
    assert Evidence.of({**row(), "shapes": []}).shape is None
    window = Evidence.of(row(shape={**MATMUL, "k": 9 * 32, "taps": 9})).shape
    assert window is not None
    assert window.channels == 32


@pytest.mark.parametrize(
    ("work", "sparse"),
    [
        ({}, False),
        ({"matmul": 5}, False),
        ({"smatmul": 5}, True),
        ({"smatmul": 5, "matmul": 6}, False),
    ],
)
def test_sparse_layers_are_mostly_sparse(work: dict[str, int], sparse: bool) -> None:
    assert Evidence.of(row(work=work)).sparse == sparse


@given(st.integers(2, 200), st.integers(1, 10**7), st.integers(1, 10**5))
def test_more_samples_are_told_for_as_many_as_now(batch: int, macs: int, cycles: int) -> None:
    """Neither faster than the array's peak nor than the layer takes now for all of them."""
    machine = target()
    found = Evidence.of(row(cycles, macs=macs)).more_samples("few", "why", batch, machine)
    together = max(cycles, ceil(batch * macs / machine.peak_macs_per_cycle))
    assert found.predicted == ceil(together / batch)
    assert found.change == {"batch": batch}
    assert f"about {found.predicted:,} cycles" in found.remedy
    assert f"{together:,} for all" in found.remedy
