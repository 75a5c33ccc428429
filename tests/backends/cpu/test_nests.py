"""Nests with awkward maps, bounds and sizes against the loop dialect's semantics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import f16, f32, i1, i8, i32, i64
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation, SSAValue

from support.cpu_nests import Buffer, body, program, run_both
from tilewright.backends.cpu.schedule import Vectors
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import ApplyOp, ExtractOp, FillOp, IndexOp, Linear, NestOp
from tilewright.dialects.types import numpy_dtype, ui8

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def nothing(_: SSAValue) -> list[Operation]:
    return []


def doubled(v: SSAValue) -> list[Operation]:
    return [ApplyOp("add", [v, v], f32)]


def draw_array(rng: np.random.Generator, shape: Sequence[int], element: Attribute) -> Array:
    dtype = numpy_dtype(element)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -1000), min(info.max, 1000), shape, endpoint=True).astype(
            dtype
        )
    return rng.standard_normal(shape).astype(dtype)


def check(
    func: FuncOp, inputs: Sequence[Array], machine: Vectors | None = None, rtol: float = 1e-5
) -> None:
    got, want = run_both(func, inputs, machine)
    for a, b in zip(got, want, strict=True):
        if a.dtype.kind in "iub":
            assert np.array_equal(a, b)
        else:
            scale = max(1.0, float(np.abs(b.astype(np.float64)).max(initial=0)))
            tolerance = rtol if a.dtype == np.float32 else 2e-2
            assert np.allclose(
                a.astype(np.float64), b.astype(np.float64), rtol=tolerance, atol=tolerance * scale
            )


@dataclass
class Case:
    """One random nest and the buffers it reads."""

    sizes: list[int]
    kind: str
    reduced: list[int]
    element: Attribute
    operands: list[Buffer]
    maps: list[Linear]
    fills: Sequence[float]
    shape: tuple[int, ...]
    functions: list[str]
    index: bool
    seed: int
    lanes: int


@st.composite
def nests(draw: st.DrawFn) -> Case:
    """A random nest: any strides (negative, repeated, zero), reads outside, any reduction."""
    rank = draw(st.integers(1, 4))
    sizes = [draw(st.integers(1, 11)) for _ in range(rank)]
    kind = draw(st.sampled_from(["none", "none", "add", "max", "min", "mul"]))
    reduced = [] if kind == "none" else sorted(draw(st.sets(st.integers(0, rank - 1), min_size=1)))
    element = draw(st.sampled_from([f32, i32, i8, ui8, i64, f16] if kind != "mul" else [i32, i8]))
    parallel = [d for d in range(rank) if d not in reduced]
    operands: list[Buffer] = []
    maps: list[Linear] = []
    fills: list[int] = []
    for _ in range(draw(st.integers(1, 3))):
        axes = draw(st.integers(0, 3))
        rows: list[dict[int, int]] = []
        consts: list[int] = []
        shape: list[int] = []
        for _ in range(axes):
            dims = draw(st.lists(st.integers(0, rank - 1), max_size=2, unique=True))
            row = {d: draw(st.sampled_from([1, 1, 1, 2, -1, 3])) for d in dims}
            low = sum(min(0, a * (sizes[d] - 1)) for d, a in row.items())
            high = sum(max(0, a * (sizes[d] - 1)) for d, a in row.items())
            outside = draw(st.integers(0, 2))
            consts.append(-low - (draw(st.integers(0, 2)) if outside else 0))
            extent = high - low + 1 - (draw(st.integers(0, 2)) if outside else 0)
            shape.append(max(extent, 1))
            rows.append(row)
        operands.append((tuple(shape), element))
        maps.append(Linear.of(rows, rank, consts))
        fills.append(draw(st.sampled_from([0, 1, 7])))
    order = draw(st.permutations(parallel))
    maps.append(Linear.of([{d: 1} for d in order], rank))
    result = tuple(sizes[d] for d in order)
    if draw(st.booleans()) and order:
        last = order[-1]
        maps[-1] = Linear.of(
            [*({d: 1} for d in order[:-1]), {last: -1}],
            rank,
            [*(0 for _ in order[:-1]), sizes[last] - 1],
        )
    functions = [draw(st.sampled_from(["add", "mul", "maximum", "sub"])) for _ in operands[1:]]
    index = draw(st.booleans()) and element not in (f16,)
    seed, lanes = draw(st.integers(0, 999)), draw(st.sampled_from([4, 8, 16]))
    float_fills = [float(f) if numpy_dtype(element).kind == "f" else f for f in fills]
    return Case(
        sizes, kind, reduced, element, operands, maps, float_fills, result, functions, index, seed,
        lanes,
    )  # fmt: skip


@settings(FAST, max_examples=300)
@given(nests())
def test_random_nests(case: Case) -> None:
    rank, element = len(case.sizes), case.element

    def inner(*args: SSAValue) -> list[Operation]:
        ops: list[Operation] = []
        value = args[0]
        for fn, arg in zip(case.functions, args[1:], strict=True):
            ops.append(ApplyOp(fn, [value, arg], element))
            value = ops[-1].results[0]
        if case.index:
            at = IndexOp(case.seed % rank)
            cast = ApplyOp("cast", [at.result], element)
            ops += [at, cast, ApplyOp("add", [value, cast.result], element)]
        return ops

    def make(*args: SSAValue) -> list[Operation]:
        region = body([element] * len(case.operands), inner)
        return [
            NestOp(
                case.sizes, args[:-1], [], case.maps, region, reduce=case.kind,
                reduction_dims=case.reduced, fills=case.fills, outs=[args[-1]],
            )
        ]  # fmt: skip

    rng = np.random.default_rng(case.seed)
    check(
        program(case.operands, [(case.shape, element)], make),
        [draw_array(rng, *s) for s in case.operands],
        Vectors(case.lanes),
        1e-4,
    )


def test_table_look_up_and_clamped_gather() -> None:
    def make(x: SSAValue, table: SSAValue, y: SSAValue) -> list[Operation]:
        def inner(v: SSAValue) -> list[Operation]:
            wide = ApplyOp("widen", [v], i32, {"zp": -128})
            return [wide, ExtractOp(table, [wide.result])]

        return [NestOp([77], [x], [], [Linear.select([0], 1)] * 2, body([i8], inner), outs=[y])]

    ins = [((77,), i8), ((256,), i8)]
    rng = np.random.default_rng(0)
    check(program(ins, [((77,), i8)], make), [draw_array(rng, *s) for s in ins])
    ins = [((77,), i8), ((100,), i8)]  # a table too short: indices are clamped
    check(program(ins, [((77,), i8)], make), [draw_array(rng, *s) for s in ins])


def test_gather_of_rows() -> None:
    def make(data: SSAValue, indices: SSAValue, y: SSAValue) -> list[Operation]:
        def inner(i: SSAValue) -> list[Operation]:
            column = IndexOp(1)
            return [column, ExtractOp(data, [i, column.result])]

        maps = [Linear.select([0], 2), Linear.select([0, 1], 2)]
        return [NestOp([5, 19], [indices], [], maps, body([i64], inner), outs=[y])]

    rng = np.random.default_rng(0)
    func = program([((7, 19), f32), ((5,), i64)], [((5, 19), f32)], make)
    check(func, [draw_array(rng, (7, 19), f32), np.array([0, 6, -3, 99, 2])])


@pytest.mark.parametrize("size", range(1, 40))
def test_in_place(size: int) -> None:
    """The output may be an operand's buffer: nothing may be computed twice."""

    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        map = Linear.select([0], 1)
        first = NestOp([size], [x], [], [map, map], body([f32], nothing), outs=[y])
        twice = NestOp(
            [size],
            [y],
            [],
            [map, map],
            body([f32], doubled),
            outs=[y],
        )
        return [first, twice]

    check(program([((size,), f32)], [((size,), f32)], make), [np.arange(size, dtype=np.float32)])


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 40])
@pytest.mark.parametrize("kind", ["add", "max", "min"])
def test_row_reductions(size: int, kind: str) -> None:
    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        maps = [Linear.select([0, 1], 2), Linear.select([0], 2)]
        region = body([f32], nothing)
        return [NestOp([5, size], [x], [], maps, region, reduce=kind, reduction_dims=[1], outs=[y])]

    x = np.random.default_rng(0).standard_normal((5, size)).astype(np.float32)
    check(program([((5, size), f32)], [((5,), f32)], make), [x])
    if kind != "add":
        x[2, size // 2] = np.nan
        func = program([((5, size), f32)], [((5,), f32)], make)
        got, want = run_both(func, [x])
        assert np.array_equal(got[0], want[0], equal_nan=True)


@pytest.mark.parametrize("kind", ["or", "and"])
def test_logical_reductions(kind: str) -> None:
    element = i1

    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        maps = [Linear.select([0, 1], 2), Linear.select([0], 2)]
        return [
            NestOp(
                [9, 21],
                [x],
                [],
                maps,
                body([element], nothing),
                reduce=kind,
                reduction_dims=[1],
                outs=[y],
            )
        ]

    rng = np.random.default_rng(0)
    x = draw_array(rng, (9, 21), element)
    x[:3], x[3:5] = 0, 1
    check(program([((9, 21), element)], [((9,), element)], make), [x])


def test_empty_domains() -> None:
    def make(x: SSAValue, y: SSAValue) -> list[Operation]:
        maps = [Linear.select([0, 1], 2), Linear.select([0], 2)]
        return [
            NestOp(
                [4, 0],
                [x],
                [],
                maps,
                body([f32], nothing),
                reduce="add",
                reduction_dims=[1],
                outs=[y],
            )
        ]

    (got,), _ = run_both(
        program([((4, 0), f32)], [((4,), f32)], make), [np.zeros((4, 0), np.float32)]
    )
    assert np.array_equal(got, np.zeros(4, np.float32))


def test_fill_of_a_buffer() -> None:
    def make(y: SSAValue) -> list[Operation]:
        return [FillOp(y, 2.5)]

    func = program([], [((3, 7), f32)], make)
    (got,), _ = run_both(func, [])
    assert np.array_equal(got, np.full((3, 7), 2.5, np.float32))
