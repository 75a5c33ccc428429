"""Estimates of tilings against the simulator: small nests, each with tiles that were not chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.npu.zigzag.machine import FOLDER
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import UnitAttr
from xdsl.ir import Operation

from support.npu_passes import target
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import SimulationResult, simulate
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.pipeline import PHASES, parse_pipeline
from tilewright.dialects.loop import NestOp
from tilewright.dialects.semantics.npu import programs
from tilewright.passes.loop import tile_npu
from tilewright.passes.loop.packing import pack_constants
from tilewright.passes.loop.tiling.candidates import attempts, grid
from tilewright.passes.loop.tiling.model import Tiling, best_of
from tilewright.passes.loop.tiling.selection import select
from tilewright.passes.loop.tiling.work import Work, analyse

from .test_selection import product

FROM_PROMOTION = PHASES["npu"][PHASES["npu"].index("promote-buffers") :]


def work_of(segment: Segment, machine: Machine) -> Work:
    (nest,) = [op for op in segment.block.ops if isinstance(op, NestOp)]
    return analyse(nest, machine).work


def tiled(work: Work, machine: Machine, sizes: Sequence[int]) -> Tiling | None:
    """These tile sizes in the better order of loops; None if they do not fit."""
    tiles = [np.array([n]) for n in sizes]
    return best_of(work, machine, next(attempts(work)).slots, machine.scratchpad.bytes, True, tiles)


def simulated(
    segment: Segment, machine: Machine, choose: Callable[..., Tiling | None]
) -> SimulationResult:
    """The segment with tilings that `choose` gives for the arguments of `select`."""
    module, (arena, _) = segment.module_with_main(), segment.memories()
    segment.ctx.machine = machine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tile_npu, "select", choose)
        for item in parse_pipeline(FROM_PROMOTION):
            item.apply(segment.ctx, module)
    (program,) = programs(module)
    code = encode(program)
    consts = np.frombuffer(pack_constants(module, segment.ctx.constants) or b"\0", np.uint8)
    return simulate(code.code, machine, arena, consts, layers=code.layers, check=False, run=False)


def cycles(segment: Segment, machine: Machine, tiling: Tiling) -> int:
    """Simulated, of a segment of one nest with this tiling."""

    def choose(*_: Any) -> Tiling:
        return tiling

    return simulated(segment, machine, choose).cycles


@settings(max_examples=60, deadline=None)
@given(
    segments(),
    st.sampled_from(["gemmini-16x16", "ethos-u65-512", "tpu-v1", "vta-pynq"]),
    st.integers(0, 1 << 20),
)
def test_any_tiling_of_a_small_nest(segment: Segment, name: str, pick: int) -> None:
    """Mostly too high: rows shorter than a burst are taken to lie anywhere."""
    machine = target(name)
    if sum(isinstance(op, NestOp) for op in segment.block.ops) > 1:
        return
    work = work_of(segment, machine)
    tiles = grid(work, machine, next(attempts(work)))
    tiling = tiled(work, machine, [int(t[pick % len(t)]) for t in tiles])
    if tiling is not None:
        assert 0.3 < tiling.cycles / cycles(segment, machine, tiling) < 6


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_windows_on_a_tensor_that_stays(channels: int) -> None:
    """With one of 8 channels in a tile, a row of the array is 15 runs of a byte, from one bank."""
    machine = target("gemmini-16x16")
    machine = replace(machine, scratchpad=replace(machine.scratchpad, bytes=16384))
    s, window = Segment(), [40, 5, 32, 5, 3, 8]
    x = s.buffer([44, 7, 8])
    assert isinstance(x.owner, Operation)
    x.owner.attributes["local"] = UnitAttr()
    s.nest(
        [44, 7, 8],
        [(s.buffer([44, 7, 8]), [{0: 1}, {1: 1}, {2: 1}], None, None)],
        (x, [{0: 1}, {1: 1}, {2: 1}], None),
        chain=lambda c: c.table(c.block.args[0]),
    )
    s.nest(
        window,
        [
            (x, [{0: 1, 3: 1}, {1: 1, 4: 1}, {5: 1}], None, None),
            (s.weights([5, 3, 8, 32]), [{3: 1}, {4: 1}, {5: 1}, {2: 1}], None, None),
        ],
        (s.buffer([40, 5, 32]), [{0: 1}, {1: 1}, {2: 1}], None),
        reduce="add",
        reduced=[3, 4, 5],
        chain=lambda c: c.requantize(c.block.args[0], [{2: 1}], [32]),
    )
    estimates: list[float] = []

    def choose(work: Work, *arguments: Any) -> Tiling | None:
        if list(work.domain) != window:
            return select(work, *arguments)
        assert work.reads[0].resident
        tiling = tiled(work, machine, [20, 5, 32, 5, 3, channels])
        estimates.extend([] if tiling is None else [tiling.cycles])
        return tiling

    layers = simulated(s, machine, choose).layers
    took = max(layer.exclusive_cycles for layer in layers)
    assert 0.7 < estimates[0] / took < 1.5


@pytest.mark.parametrize("name", ["gemmini-16x16", "ethos-u65-512", "tpu-v1"])
def test_the_chosen_tiling_is_among_the_fastest(name: str) -> None:
    machine = target(name)

    found: list[tuple[float, int]] = []
    for sizes in itertools.product((128, 16), (96, 16), (256, 64, 16)):
        segment = product(128, 96, 256)
        tiling = tiled(work_of(segment, machine), machine, sizes)
        if tiling is not None:
            found.append((tiling.cycles, cycles(segment, machine, tiling)))
    estimates, simulated = zip(*found, strict=True)
    assert min(found)[1] <= 1.15 * min(simulated)
    assert estimates[simulated.index(max(simulated))] > 1.5 * min(estimates)


def test_the_last_store_is_paid_for_once() -> None:
    """Weights set the pace: all sums at once cost a store behind the last load, and no more."""
    machine = load_target(FOLDER / "tpu_like_target.toml")
    assert machine is not None
    found: list[tuple[float, int]] = []
    for sizes in ((49, 512, 144), (49, 32, 4608)):
        segment = product(49, 512, 4608)
        tiling = tiled(work_of(segment, machine), machine, sizes)
        assert tiling is not None
        found.append((tiling.cycles, cycles(segment, machine, tiling)))
    together, apart = found
    assert together < apart
    assert together[1] < apart[1]
