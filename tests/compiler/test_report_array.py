"""Array-bound layers: which rows and columns are left over, and what fits."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.report_rows import MATMUL, row, target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.report_array import GAIN, array, left_over
from tilewright.compiler.report_evidence import Cause, Evidence


def test_array() -> None:
    machine = target()

    def of(machine: Machine = machine, **given: Any) -> Cause:
        return array(Evidence.of(row(**given)), machine)

    few = of(matrix={"busy": 900}, shape={**MATMUL, "n": 5})
    assert (few.name, few.change) == ("few output channels", {"output_channels": 16})
    heads = {"kind": "matmul", "batch": 32, "m": 100, "n": 4, "k": 16, "taps": 1}
    groups = of(matrix={"busy": 900}, shape=heads)
    assert (groups.name, groups.change) == ("many small products", {"groups": 8})
    window = of(matrix={"busy": 900}, shape={**MATMUL, "k": 9, "taps": 9})
    assert (window.name, window.change) == ("few input channels", {"input_channels": 1})
    ragged = of(matrix={"busy": 40_000}, matrix_macs=10_000_000, cycles=50_000)
    assert ragged.name == "partial tiles"
    slow = of(matrix={"busy": 40_000}, cycles=50_000)
    assert slow.name == "few positions"
    assert slow.predicted == 50_000 / slow.change["batch"]
    cores = replace(machine, cores=4)
    same = of(cores, matrix={"busy": 3600}, matrix_macs=4 * 4_096_000, cores=4)
    assert same.name == "not divided among the cores"
    depthwise = of(
        replace(machine, matrix=replace(machine.matrix, window_channels=16)),
        matrix={"busy": 900}, shape={"kind": "vmac", "batch": 1, "m": 100, "n": 17, "k": 9,
        "taps": 9},
    )  # fmt: skip
    assert depthwise.name == "depthwise on the array"
    assert depthwise.change == {"channels": 16}


@pytest.mark.parametrize(
    ("dataflow", "change"),
    [
        ("weight-stationary", {"input_channels": 16, "output_channels": 16}),
        ("output-stationary", {"positions": 16, "output_channels": 16}),
        ("input-stationary", {"input_channels": 16, "positions": 16}),
    ],
)
def test_dataflows(dataflow: str, change: dict[str, int]) -> None:
    machine = target()
    machine = replace(machine, matrix=replace(machine.matrix, dataflow=dataflow))
    shape = {**MATMUL, "m": 17, "n": 17, "k": 17}
    found = left_over(Evidence.of(row(100, shape, matrix={"busy": 90})), machine)
    assert found is not None
    assert found.change == change
    assert found.predicted is not None
    assert found.predicted < 50


@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3, 9]),
    st.sampled_from(["weight-stationary", "output-stationary", "input-stationary"]),
)  # fmt: skip
def test_the_shape_that_fits_has_nothing_left_over(
    channels: int, outputs: int, taps: int, dataflow: str
) -> None:
    """What is suggested takes no more passes over the array, and fills them better."""
    machine = target()
    machine = replace(machine, matrix=replace(machine.matrix, dataflow=dataflow))
    old = {"m": 64, "n": outputs, "k": channels * taps}
    shape = {**MATMUL, **old, "taps": taps}
    found = left_over(Evidence.of(row(1000, shape, matrix={"busy": 900}, macs=1)), machine)
    if found is None:
        return
    assert found.predicted is not None
    assert found.predicted < GAIN * found.kept * 1000
    new = {
        "m": found.change.get("positions", 64),
        "n": found.change.get("output_channels", outputs),
        "k": found.change.get("input_channels", channels) * taps,
    }
    assert found.kept == prod(new.values()) / prod(old.values())
    for side in (s for s in new if new[s] != old[s]):
        passes, before = -(-new[side] // 16), -(-old[side] // 16)
        assert passes <= before
        assert new[side] / passes > old[side] / before
        assert new[side] % 16 == 0 or taps > 1
