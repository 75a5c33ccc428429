"""Instruction semantics against their definitions, element by element in Python integers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.dialects.errors import SimulationError
from tilewright.dialects.npu.descriptors import (
    Strided,
    TensorBox,
    overwrites,
    resolve_access,
    running_count,
)
from tilewright.dialects.npu.isa import BY_MNEMONIC, PARAM_RANGES
from tilewright.dialects.npu.shapes import misfit
from tilewright.dialects.semantics.instructions import dram_view, execute, strided_view

Rng = np.random.Generator
small = st.integers(-3, 3)
axis = st.tuples(st.integers(1, 6), st.integers(-8, 8), small, st.integers(1, 5), small)
seeds = st.integers(0, 2**32).map(np.random.default_rng)


RANKS = {"p_rank": 1, "t_rank": 1}


def wrap(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31


def i8(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-128, 128, shape).astype(np.int8)


def i32(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-(2**31), 2**31, shape).astype(np.int32)


def requant(x: int, multiplier: int, shift: int, zp: int, lo: int, hi: int) -> int:
    return min(max(((x * multiplier + (1 << (shift - 1))) >> shift) + zp, lo), hi)


@given(seeds, st.sampled_from((1, 16, 300)), st.booleans())
def test_matmul(rng: Rng, k: int, overwrite: bool) -> None:
    a, b, acc = i8(rng, (3, 2, k)), i8(rng, (k, 4)), i32(rng, (3, 2, 4))
    za, zb = (int(z) for z in rng.integers(-128, 128, 2))
    old = acc.copy()
    execute(
        "matmul",
        [a, b, acc],
        {"m_rank": 2, "a_zp": za, "b_zp": zb, "overwrite": 0},
        overwrite=overwrite,
    )
    for i, j, n in np.ndindex(3, 2, 4):
        total = sum((int(x) - za) * (int(w) - zb) for x, w in zip(a[i, j], b[:, n], strict=True))
        assert acc[i, j, n] == wrap(total + (0 if overwrite else int(old[i, j, n])))


@pytest.mark.parametrize("k", [257, 258, 259, 1024])
def test_matmul_is_exact_at_the_extremes(k: int) -> None:
    a, b, acc = (
        np.full((1, k), -128, np.int8),
        np.full((k, 1), -128, np.int8),
        np.zeros((1, 1), np.int32),
    )
    a[0, 0] = -127
    execute("matmul", [a, b, acc], {"m_rank": 1, "a_zp": 127, "b_zp": 127, "overwrite": 0})
    assert acc[0, 0] == 255 * 255 * k - 255


@given(seeds, st.sampled_from((1, 2, 40)), st.booleans())
def test_smatmul(rng: Rng, units: int, overwrite: bool) -> None:
    """Any index bytes: values whose places are the same add up."""
    a, b, index = i8(rng, (3, 2, 8 * units)), i8(rng, (2, 4 * units, 5)), i8(rng, (2, units, 5))
    acc, za = i32(rng, (3, 5)), int(rng.integers(-128, 128))
    old = acc.copy()
    params = {"m_rank": 1, "a_zp": za, "overwrite": 0}
    execute("smatmul", [a, b, acc, index], params, overwrite=overwrite)
    for m, n in np.ndindex(3, 5):
        total = 0
        for j, i in np.ndindex(2, 4 * units):
            place = int(index[j, i // 4, n]) >> 2 * (i % 4) & 3
            total += (int(a[m, j, 4 * (i // 2) + place]) - za) * int(b[j, i, n])
        assert acc[m, n] == wrap(total + (0 if overwrite else int(old[m, n])))


def test_matmul_over_a_view_with_split_reduction() -> None:
    """A convolution window: reduction dimensions overlap between rows."""
    image = np.arange(64, dtype=np.uint8)
    a = strided_view(image, 0, Strided(0, ((6, 8), (6, 1), (3, 8), (3, 1))), 1, "")
    b = np.arange(-4, 5, dtype=np.int8).reshape(3, 3, 1)
    acc = np.zeros((6, 6, 1), np.int32)
    execute("matmul", [a, b, acc], {"m_rank": 2, "a_zp": 0, "b_zp": 0, "overwrite": 0})
    x = image.reshape(8, 8).astype(int)
    for i, j in np.ndindex(6, 6):
        assert acc[i, j, 0] == (x[i : i + 3, j : j + 3] * b[:, :, 0]).sum()


@given(seeds)
def test_taps(rng: Rng) -> None:
    a, b = i8(rng, (2, 3, 2, 5)), i8(rng, (3, 2, 5))
    mac, total, biggest = (
        np.empty((2, 5), np.int32),
        np.empty((2, 5), np.int32),
        np.empty((2, 5), np.int8),
    )
    za, zb = (int(z) for z in rng.integers(-128, 128, 2))
    ranks = {"p_rank": 1, "t_rank": 2}
    execute("vmac", [a, b, mac], {**ranks, "a_zp": za, "b_zp": zb})
    execute("vsum", [a, total], {**ranks, "a_zp": za})
    execute("vmax", [a, biggest], ranks)
    for p, c in np.ndindex(2, 5):
        taps = [(int(a[p, i, j, c]), int(b[i, j, c])) for i, j in product(range(3), range(2))]
        assert mac[p, c] == sum((x - za) * (w - zb) for x, w in taps)
        assert total[p, c] == sum(x - za for x, _ in taps)
        assert biggest[p, c] == max(x for x, _ in taps)


@given(seeds)
def test_taps_in_two_parts(rng: Rng) -> None:
    a, b = i8(rng, (2, 4, 5)), i8(rng, (4, 5))
    ranks = {"p_rank": 1, "t_rank": 1}
    for name, dtype, zero_points in (
        ("vmac", np.int32, {"a_zp": 3, "b_zp": -7}),
        ("vsum", np.int32, {"a_zp": 3}),
        ("vmax", np.int8, {}),
    ):
        more = [b] if name == "vmac" else []
        params = {**ranks, **zero_points}
        whole, parts = np.zeros((2, 5), dtype), np.full((2, 5), 99, dtype)
        execute(name, [a, *more, whole], params)
        execute(name, [a[:, :3], *(w[:3] for w in more), parts], params)
        execute(name, [a[:, 3:], *(w[3:] for w in more), parts], params, overwrite=False)
        assert np.array_equal(whole, parts)


@given(seeds)
def test_vrequant(rng: Rng) -> None:
    acc, bias, dst = i32(rng, (3, 4)), i32(rng, (4,)), np.empty((3, 4), np.int8)
    multiplier = rng.integers(0, 2**31, 4).astype(np.int32)
    shift = rng.integers(1, 63, 4).astype(np.int32)
    views = [acc, *(np.broadcast_to(v, (3, 4)) for v in (bias, multiplier, shift)), dst]
    execute("vrequant", views, {"zp": 3, "lo": -100, "hi": 90})
    for i, c in np.ndindex(3, 4):
        total = wrap(int(acc[i, c]) + int(bias[c]))
        assert dst[i, c] == requant(total, int(multiplier[c]), int(shift[c]), 3, -100, 90)


@given(
    seeds,
    st.integers(0, 2**31 - 1),
    st.integers(1, 62),
    st.integers(0, 2**20),
    st.integers(0, 2**20),
)
def test_elementwise(rng: Rng, multiplier: int, shift: int, ma: int, mb: int) -> None:
    a, b, table = i8(rng, (20,)), i8(rng, (20,)), i8(rng, (256,))
    out = {name: np.empty(20, np.int8) for name in ("vadd", "vmul", "vlut", "vclip", "vfill")}
    scale = {"multiplier": multiplier, "shift": shift, "zp": -7, "lo": -128, "hi": 127}
    execute("vadd", [a, b, out["vadd"]], {"za": 5, "ma": ma, "zb": -128, "mb": mb, **scale})
    execute("vmul", [a, b, out["vmul"]], {"za": 5, "zb": 127, **scale})
    execute("vlut", [a, table, out["vlut"]], {})
    execute("vclip", [a, out["vclip"]], {"lo": -3, "hi": 100})
    execute("vfill", [out["vfill"]], {"value": -9})
    for i in range(20):
        x, y = int(a[i]), int(b[i])
        assert out["vadd"][i] == requant(
            (x - 5) * ma + (y + 128) * mb, multiplier, shift, -7, -128, 127
        )
        assert out["vmul"][i] == requant((x - 5) * (y - 127), multiplier, shift, -7, -128, 127)
        assert out["vlut"][i] == table[x + 128]
        assert out["vclip"][i] == min(max(x, -3), 100)
        assert out["vfill"][i] == -9


def test_a_shift_outside_its_range_is_an_error() -> None:
    ones = np.zeros((1,), np.int32)
    with pytest.raises(SimulationError, match=r"shift of 0\.\.0"):
        execute(
            "vrequant",
            [ones, ones, ones, ones, np.zeros(1, np.int8)],
            {"zp": 0, "lo": -128, "hi": 127},
        )


@given(
    st.lists(axis, min_size=1, max_size=3),
    st.sampled_from((1, 2, 4, 8)),
    st.integers(0, 3),
)
def test_boxes(axes: list[tuple[int, int, int, int, int]], element: int, iteration: int) -> None:
    extents, start, steps, box, advance = (tuple(v) for v in zip(*axes, strict=True))
    strides = tuple(
        int(np.prod(extents[d + 1 :], dtype=int)) * element for d in range(len(extents))
    )
    size = strides[0] * extents[0]
    memory = np.random.default_rng(0).integers(0, 256, 8 + size, np.uint8)
    tensor = memory[8:].view(f"i{element}").reshape(extents)
    descriptor = TensorBox(8, extents, strides, start, steps, box, tuple((a,) for a in advance))
    view = dram_view(memory, descriptor, (iteration,), element, "")
    loaded = np.empty(box, tensor.dtype)
    execute("load", [view, loaded], {"element": element, "fill": -5})
    stored = np.random.default_rng(1).integers(-100, 100, box).astype(tensor.dtype)
    expected = tensor.copy()
    for t in np.ndindex(*box):
        at = tuple(
            s + a * iteration + i * p for s, a, i, p in zip(start, advance, t, steps, strict=True)
        )
        inside = all(0 <= c < e for c, e in zip(at, extents, strict=True))
        assert loaded[t] == (tensor[at] if inside else -5)
        if inside:
            expected[at] = stored[t]
    execute("store", [view, stored], {"element": element})
    assert np.array_equal(tensor, expected)


def test_addresses_outside_memory_name_the_instruction() -> None:
    memory = np.zeros(64, np.uint8)
    with pytest.raises(
        SimulationError, match=r"'conv1' \(npu.vfill\): bytes \[60, 68\) are outside a memory of 64"
    ):
        strided_view(memory, 60, Strided(60, ((8, 1),)), 1, "'conv1' (npu.vfill)")
    with pytest.raises(SimulationError, match=r"bytes \[-7, 1\)"):
        strided_view(memory, 0, Strided(0, ((8, -1),)), 1, "")
    with pytest.raises(SimulationError, match="not aligned"):
        strided_view(memory, 2, Strided(2, ((2, 4),)), 4, "")
    with pytest.raises(SimulationError, match="outside"):
        dram_view(memory, TensorBox(0, (65,), (1,), (0,), (1,), (65,), ((),)), (), 1, "")


def test_addresses_advance_with_loops_and_slots() -> None:
    access = Strided(100, ((4, 1),), (10, 0, 1), slots=3, slot_stride=1000, slot_level=2)
    trips = (2, 4, 5)
    assert running_count(2, (1, 2, 3), trips) == 6
    assert resolve_access(access, (1, 2, 3), trips) == 100 + 10 + 3 + 1000 * (6 % 3)
    assert resolve_access(access, (1, 3, 0), trips) == 110 + 1000 * (7 % 3)


def test_overwrite_mask() -> None:
    assert overwrites(0, (1, 1)) and not overwrites(-1, (0, 0))
    assert overwrites(0b10, (5, 0)) and not overwrites(0b10, (0, 5))
    assert overwrites(0b11, (0, 0)) and not overwrites(0b11, (1, 0))


@pytest.mark.parametrize(
    ("mnemonic", "shapes", "params", "message"),
    [
        ("matmul", [(4, 16), (16, 8), (4, 9)], {"m_rank": 1}, "acc has shape (4, 9), not (4, 8)"),
        ("matmul", [(4, 16), (15, 8), (4, 8)], {"m_rank": 1}, "b has shape (15, 8), not (16, 8)"),
        ("matmul", [(4,), (8,), (4, 8)], {"m_rank": 1}, "a has no reduction dimension"),
        ("vmac", [(4, 9, 8), (9, 7), (4, 8)], RANKS, "b has shape (9, 7), not (9, 8)"),
        ("vadd", [(4,), (4,), (5,)], {}, "dst has shape (5,), not (4,)"),
        ("vlut", [(4,), (255,), (4,)], {}, "table has 255 entries, not 256"),
        ("vclip", [(4,), (0,)], {}, "dst has an empty dimension: (0,)"),
        ("vclip", [(4,)], {}, "has 1 operands, not 2"),
        ("vclip", [(1,) * 9, (1,) * 9], {}, "a has 9 dimensions, not 1 to 8"),
        ("load", [(4,), (4,)], {"element": 3}, "element = 3 is not 1, 2, 4 or 8 bytes"),
        ("load", [(4,), (4,)], {"element": 1, "fill": 128}, "fill = 128 does not fit 1 bytes"),
        ("vfill", [(4,)], {"value": 128}, "value = 128 is outside [-128, 127]"),
    ],
)  # fmt: skip
def test_misfits(
    mnemonic: str, shapes: list[tuple[int, ...]], params: dict[str, int], message: str
) -> None:
    given_params = {p: max(0, PARAM_RANGES[p][0]) for p in BY_MNEMONIC[mnemonic].params} | params
    assert misfit(mnemonic, shapes, given_params) == message
