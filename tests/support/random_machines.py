"""Hypothesis strategies for NPU descriptions: small odd machines, so that every split happens."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tilewright.backends.targets.machine import (
    DATAFLOWS,
    REDUCTIONS,
    Dram,
    Machine,
    MatrixUnit,
    Memory,
    Sparsity,
    VectorUnit,
)


@st.composite
def machines(draw: st.DrawFn, min_scratchpad: int = 1024, max_scratchpad: int = 16384) -> Machine:
    """A machine with an array of 1..16 rows and columns and kilobytes of memory."""
    rows, columns = (
        draw(st.sampled_from([1, 2, 3, 4, 8, 16])),
        draw(st.sampled_from([1, 2, 4, 5, 8, 16])),
    )
    banks = draw(st.sampled_from([1, 2, 4]))
    scratchpad = draw(st.integers(min_scratchpad // 256, max_scratchpad // 256)) * 256
    return Machine(
        name="random",
        description="a random machine",
        source="none",
        clock_hz=1e9,
        matrix=MatrixUnit(
            rows,
            columns,
            draw(st.sampled_from([1, 2, 4])),
            draw(st.sampled_from(DATAFLOWS)),
            draw(st.booleans()),
            window_channels=min(draw(st.sampled_from([0, 0, 1, 3, 8])), rows * columns),
        ),
        vector=VectorUnit(
            draw(st.sampled_from([1, 4, 16])), reduction=draw(st.sampled_from(REDUCTIONS))
        ),
        scratchpad=Memory(scratchpad, banks, draw(st.sampled_from([1, 2]))),
        accumulator=Memory(max(256, 4 * columns * draw(st.integers(2, 64)) * banks), banks),
        dram=Dram(draw(st.sampled_from([1.0, 8.0, 25.6]))),
    )


@st.composite
def sparse_machines(draw: st.DrawFn) -> Machine:
    """A machine whose array takes 2:4-compressed weights."""
    machine, rate = draw(machines(4096, 32768)), draw(st.sampled_from([1, 2]))
    rows, flow = (
        draw(st.sampled_from([8 // rate, 8, 16, 24, 64])),
        draw(st.sampled_from(["weight-stationary", "dot-product"])),
    )
    unit = replace(machine.matrix, rows=rows, dataflow=flow, window_channels=0)
    tiles, preload = draw(st.sampled_from([1, 2, 64])), draw(st.sampled_from([1, 2]))
    return replace(
        machine,
        matrix=replace(unit, max_tiles=tiles, preload_rows=preload),
        sparsity=Sparsity("2:4", draw(st.sampled_from([0.0, 1.5, 40.0])), rate),
    )


@st.composite
def flat_machines(draw: st.DrawFn) -> Machine:
    """A machine whose scratchpad is one region, from very small to ample."""
    machine = draw(machines(2048, draw(st.sampled_from([4096, 16384, 65536]))))
    return replace(machine, scratchpad=replace(machine.scratchpad, banks=1))
