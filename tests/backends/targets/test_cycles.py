"""The formulas that the simulator and the passes share: worked by hand, and on arrays of sizes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.npu_passes import target
from support.random_machines import machines
from tilewright.backends.targets.cycles import (
    Phases,
    accesses,
    array_tiles,
    bursts,
    columns_limit,
    issue_cycles,
    matrix_cycles,
    reduction_cycles,
    reduction_limit,
    stationary_tile,
    step_cycles,
    transfer_cycles,
    vector_cycles,
    window_cycles,
)
from tilewright.backends.targets.machine import Machine, VectorUnit

GEMMINI = target("gemmini-16x16")
sizes = st.integers(1, 300)


def test_a_product_of_one_tile() -> None:
    """The worked example of docs/timing.md: 16 rows of weights, 64 rows stream, 4 + 16 + 16 - 2."""
    assert matrix_cycles(GEMMINI, 64, 16, 16, 16) == Phases(64, 16, 34)


def test_tiles_follow_each_other() -> None:
    """2 x 2 tiles: the loads of 16 cycles hide behind streams of 64, but not of 8."""
    several = replace(GEMMINI, matrix=replace(GEMMINI.matrix, max_tiles=4))
    assert matrix_cycles(several, 64, 32, 32, 64).work == 4 * 64
    assert matrix_cycles(several, 8, 32, 32, 64).work == 8 + 3 * 16


def test_windows_take_groups_of_channels() -> None:
    """Groups of 16 channels: 3 of them, 9 taps of 20 / 4 positions each; weights hide."""
    ethos = target("ethos-u65-512")
    unit = replace(ethos.matrix, window_channels=16, pixels=4)
    work = window_cycles(replace(ethos, matrix=unit), 20, 9, 40, 9).work
    assert work == 3 * 9 * 5


def test_transfers_are_limited_by_the_slowest() -> None:
    """16 bytes a cycle on the chip and off it, bursts of 64; 16 requests in flight, 100 cycles."""
    assert transfer_cycles(GEMMINI, 448, 7, True) == 28
    assert transfer_cycles(GEMMINI, 4, 1, True) == 4  # a whole burst
    slow = replace(GEMMINI, dram=replace(GEMMINI.dram, outstanding_reads=1))
    assert transfer_cycles(slow, 448, 7, True) == 600


def test_issue() -> None:
    """A load of 8 words at 16 bytes a cycle."""
    assert issue_cycles(GEMMINI.control, 8) == 4


def test_accesses_and_bursts_go_run_by_run() -> None:
    """4 rows of 24 bytes, 100 apart: 2 accesses of 16 each; from byte 60 on, bursts of 64."""
    rows = [(4, 100), (24, 1)]
    assert accesses(rows, 1, 16) == 8
    assert bursts(rows, 1, 60, 64) == sum(
        (60 + 100 * i + 23) // 64 - (60 + 100 * i) // 64 + 1 for i in range(4)
    )


@settings(max_examples=200, deadline=None)
@given(machines(), sizes, sizes, sizes, st.integers(1, 1000))
def test_commands_are_as_long_as_their_tiles(
    machine: Machine, m: int, n: int, k: int, read: int
) -> None:
    """Never shorter than peak, nor than its tiles' streams; nor longer than one step each."""
    unit = machine.matrix
    work, before, _ = matrix_cycles(machine, m, n, k, read)
    stream, loading = stationary_tile(machine, m, n, k, read)
    tiles = math.prod(array_tiles(unit, m, n, k))
    if unit.dataflow == "output-stationary":
        tiles *= -(-m // (unit.rows * unit.pixels))
    assert before == loading and work * unit.macs_per_cycle >= m * n * k
    assert tiles * stream <= work <= tiles * step_cycles(unit, stream, loading)


@settings(max_examples=100, deadline=None)
@given(machines(), st.lists(st.tuples(sizes, sizes, sizes, sizes), min_size=1, max_size=8))
def test_arrays_are_as_numbers(machine: Machine, rows: list[tuple[int, int, int, int]]) -> None:
    m, n, k, read = (np.array(column) for column in zip(*rows, strict=True))
    stream, loading = stationary_tile(machine, m, n, k, read)
    loads = transfer_cycles(machine, 64.0 * m, n, True)
    vector = vector_cycles(machine.vector, "vrequant", m)
    limit = columns_limit(machine.matrix, k)
    summed = reduction_cycles(machine.vector, "vsumexp", m, k, n, 7)
    for i, row in enumerate(rows):
        expected = stationary_tile(machine, *row)
        assert [int(np.broadcast_to(x, m.shape)[i]) for x in (stream, loading)] == list(expected)
        assert loads[i] == transfer_cycles(machine, 64 * row[0], row[1], True)
        assert vector[i] == vector_cycles(machine.vector, "vrequant", row[0])
        m_, n_, k_ = row[:3]
        assert summed[i] == reduction_cycles(machine.vector, "vsumexp", m_, k_, n_, 7)
        assert np.broadcast_to(limit, m.shape)[i] == columns_limit(machine.matrix, row[2])


@settings(max_examples=200, deadline=None)
@given(machines(), sizes, sizes, sizes)
def test_no_reduction_is_faster_than_all_lanes(
    machine: Machine, positions: int, taps: int, channels: int
) -> None:
    """The vector work of lower bounds, which counts elements without rounding, stays one."""
    unit = machine.vector
    cycles = reduction_cycles(unit, "vsquare", positions, taps, channels)
    assert cycles * unit.lanes >= positions * taps * channels * unit.mac
    assert cycles <= reduction_cycles(
        replace(unit, reduction="lanes"), "vsquare", positions, taps, channels
    )


@pytest.mark.parametrize(
    ("positions", "taps", "channels", "lanes", "tree"),
    [
        (32, 768, 1, 768, 32 * 3 + 8),  # docs/timing.md: three groups a sum, eight levels
        (2, 768, 1, 768, 2 * 3 + 8),
        (1, 256, 1, 256, 1 + 8),
        (384, 128, 1, 2 * 128, 384 // 2 + 8),  # two sums of 128 share a group
        (3, 100, 1, 100, 2 + 8),  # 100 taps take 128 lanes
        (256, 64, 1, 64, 64),  # full lanes: the tree would only add its levels
        (49, 9, 256, 49 * 9, 49 * 9),
        (1, 1, 1, 1, 1),
    ],
)
def test_reductions_across_lanes(
    positions: int, taps: int, channels: int, lanes: int, tree: int
) -> None:
    unit = VectorUnit(256, startup=8)
    for way, expected in (("lanes", lanes), ("tree", tree)):
        cycles = reduction_cycles(replace(unit, reduction=way), "vsum", positions, taps, channels)
        assert cycles == 8 + expected
        assert type(cycles) is int


@pytest.mark.parametrize(("tiles", "limit"), [(1, 16), (4, 64)])
def test_reductions_take_rows(tiles: int, limit: int) -> None:
    assert reduction_limit(replace(GEMMINI.matrix, max_tiles=tiles)) == limit
