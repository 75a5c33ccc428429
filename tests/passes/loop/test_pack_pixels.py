"""pack-pixels: the same results bit for bit, at every level below, and only where it pays."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from support.npu_passes import TARGETS, run_loops, target
from support.random_chains import Chain, chains, rows
from support.random_machines import machines
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import NestOp
from tilewright.dialects.semantics import npu as npu_semantics
from tilewright.dialects.types import shape_of
from tilewright.passes.loop.pack_pixels import PackPixelsPass, ideal, modelled
from tilewright.passes.loop.packing import pack_constants
from tilewright.passes.loop.tile_npu import npu_segments, tiling_of
from tilewright.passes.loop.tiling.bounds import statistics
from tilewright.passes.registry import find_pass

LOWERING = (
    "tile-npu", "hoist-copies", "pack-constants", "unroll-tiles", "double-buffer", "lower-to-npu",
    "allocate-scratchpad",
)  # fmt: skip


def pack(s: Segment, module: ModuleOp, machine: Machine, pixels: int = 0) -> None:
    s.ctx.machine = machine
    PackPixelsPass(pixels=pixels).apply(s.ctx, module)
    module.verify()


def block(s: Segment, module: ModuleOp) -> Array:
    """The constants block of @main."""
    return np.frombuffer(pack_constants(module, s.ctx.constants) or b"\0", np.uint8)


def nests(module: ModuleOp) -> list[NestOp]:
    return [op for f in npu_segments(module) for op in f.walk() if isinstance(op, NestOp)]


def check(chain: Chain, machine: Machine, pixels: int, lower: bool) -> None:
    """Results after packing, and after all of lowering, are those before."""
    s = chain.segment
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    pack(s, module, machine, pixels)
    assert (chain.visible(run_loops(module, arena, block(s, module))) == expected).all()
    if lower:
        for name in LOWERING:
            find_pass(name)().apply(s.ctx, module)
            module.verify()
        [program] = npu_semantics.programs(module)
        npu_semantics.run(program, arena, block(s, module))
        assert (chain.visible(arena) == expected).all()


@settings(max_examples=150, deadline=None)
@given(chains(3), st.sampled_from([2, 3, 4, 5, 6, 7, 12]))
def test_meaning_is_kept(chain: Chain, pixels: int) -> None:
    check(chain, target("tpu-v1"), pixels, lower=False)


@settings(max_examples=30, deadline=None)
@given(chains(3), st.sampled_from(TARGETS), st.sampled_from([0, 2, 4, 6]))
def test_meaning_is_kept_by_lowering(chain: Chain, name: str, pixels: int) -> None:
    check(chain, target(name), pixels, lower=True)


@settings(max_examples=30, deadline=None)
@given(chains(), machines(4096, 65536))
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check(chain, machine, 0, lower=True)


def layer(
    h: int, w: int, channels: int, outputs: int, kernel: int = 3, stride: int = 1,
    dilation: int = 1, zp: int = 0,
) -> Segment:  # fmt: skip
    """A convolution with a residual sum, padded on the left and above."""
    s = Segment()
    pad = kernel // 2 * dilation
    x = s.buffer([1, h * stride, w * stride, channels])
    x_rows = [{0: 1}, {1: stride, 4: dilation}, {2: stride, 5: dilation}, {6: 1}]
    weights = s.weights([kernel, kernel, channels, outputs])
    s.nest(
        [1, h, w, outputs, kernel, kernel, channels],
        [(x, x_rows, [0, -pad, -pad, 0], 3), (weights, rows(4, 5, 6, 3), None, None)],
        (s.buffer([1, h, w, outputs]), rows(0, 1, 2, 3), None),
        reduce="add",
        reduced=[4, 5, 6],
        zero_points=(3, zp),
        chain=lambda k: k.residual(
            k.requantize(k.block.args[0], [{3: 1}], [outputs]), [1, h, w, outputs]
        ),
    )
    return s


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    pixels=st.sampled_from([2, 3, 4, 6]),
    channels=st.integers(1, 5),
    zp=st.integers(-4, 4),
)
def test_every_window(
    kernel: int, stride: int, dilation: int, pixels: int, channels: int, zp: int
) -> None:
    s = layer(3, 12, channels, 3, kernel, stride, dilation, zp)
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = run_loops(module, arena, consts)
    pack(s, module, target("tpu-v1"), pixels)
    [nest] = nests(module)
    taps = ((kernel - 1) * dilation + (pixels - 1) * stride) // np.gcd(stride, dilation) + 1
    if kernel == 1:
        taps = pixels
    assert shape_of(nest.ins[1]) == (kernel, taps, channels, pixels, 3)
    assert (run_loops(module, arena, block(s, module)) == expected).all()


@pytest.mark.parametrize(
    ("name", "shape", "pixels"),
    [
        ("auto-200", (112, 112, 3, 64, 7, 2), 2),
        ("auto-200", (56, 56, 64, 64, 3, 1), 2),
        ("auto-200", (56, 56, 64, 64, 1, 1), 2),
        ("tpu-v1", (56, 56, 64, 64, 3, 1), 2),  # 4: the same cycles, more weights
        ("tpu-v1", (56, 56, 64, 64, 1, 1), 2),
        ("auto-200", (28, 28, 128, 128, 3, 1), 1),  # columns are full
        ("auto-200", (56, 56, 256, 64, 1, 1), 1),  # twice the reduction for half of the pixels
        ("auto-200", (53, 53, 64, 64, 3, 1), 1),  # nothing divides the row
        ("ethos-u65-512", (56, 56, 64, 64, 3, 1), 1),
        ("nvdla-128", (56, 56, 64, 64, 3, 1), 1),
    ],
)
def test_where_it_pays(name: str, shape: tuple[int, ...], pixels: int) -> None:
    h, w, channels, outputs, kernel, stride = shape
    s = layer(h, w, channels, outputs, kernel, stride)
    module = s.module_with_main()
    [before] = nests(module)
    macs = statistics(before, target(name)).macs
    info, _ = tiling_of(before, target(name))
    matrix, cycles = ideal(info.work, target(name)), modelled(info.work, target(name))
    pack(s, module, target(name))
    [after] = nests(module)
    if pixels == 1:
        assert after.sizes == before.sizes
        return
    assert after.sizes[2:4] == (w // pixels, pixels)
    assert (
        statistics(after, target(name)).macs > macs / 2
    )  # inflated; useful work is counted from @main
    info, _ = tiling_of(after, target(name))
    assert ideal(info.work, target(name)) <= 0.9 * matrix
    assert modelled(info.work, target(name)) < cycles


def test_off_without_arrays_to_fill() -> None:
    s = layer(8, 8, 4, 4)
    module = s.module_with_main()
    [before] = nests(module)
    s.ctx.machine = None
    PackPixelsPass(pixels=2).apply(s.ctx, module)
    s.ctx.machine = replace(target("tpu-v1"))
    PackPixelsPass(enable=False, pixels=2).apply(s.ctx, module)
    assert nests(module) == [before]


def test_equal_constants_share_a_place() -> None:
    s = layer(8, 8, 4, 4)
    module = s.module_with_main()
    size = len(block(s, module))
    pack(s, module, target("tpu-v1"), 2)
    [nest] = nests(module)
    assert len(block(s, module)) - size <= prod(shape_of(nest.ins[1])) + 512
