"""Core loops, loop.broadcast and broadcast copies: text, meaning, and the same as a program."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from support.core_segments import with_cores
from support.npu_passes import run_loops, run_programs, tile
from support.npu_programs import machine
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import simulate
from tilewright.dialects.loop import BroadcastOp, CopyOp
from tilewright.dialects.semantics import npu as npu_semantics
from tilewright.passes.base import CompilerContext

GRIDS = ((2, 2), (3, 2), (3,), (2,))

ALL = """
      %own = loop.subview %y[{ivs}] at affine_map<({dims}) -> ({sum} * 4, 0)>
        : memref<{n}x8xi8, "spm"> -> memref<4x8xi8, "spm">
      {fetch}
      loop.copy store %z[{ivs}] at affine_map<({dims}) -> ({sum}, 0, 0)> tile %all
        : memref<{cores}x{n}x8xi8, "dram">, memref<1x{n}x8xi8, "spm">"""
LOAD = """loop.copy load %x[{ivs}] at affine_map<({dims}) -> ({sum} * 4, 0)> tile %own{broadcast}
        : memref<{n}x8xi8, "dram">, memref<4x8xi8, "spm">"""


def gather(grid: tuple[int, ...], broadcast_load: bool, text: str = ALL) -> ModuleOp:
    """Every core loads 4 rows of %x, sends them to all, and stores all of them in its part of %z.

    By a broadcast copy, or by loop.broadcast of what a nest made.
    """
    dims = [f"d{i}" for i in range(len(grid))]
    weights = [prod(grid[i + 1 :]) for i in range(len(grid))]
    total = "(" + " + ".join(f"{d} * {w}" for d, w in zip(dims, weights, strict=True)) + ")"
    given = {
        "ivs": ", ".join(f"%{d}" for d in dims), "dims": ", ".join(dims), "sum": total,
        "cores": prod(grid), "n": 4 * prod(grid),
    }  # fmt: skip
    if broadcast_load:
        fetch = LOAD.format(broadcast=" broadcast", **given)
    else:
        fetch = "%t = loop.alloc : memref<4x8xi8, \"spm\">\n" + LOAD.replace("%own", "%t").format(
            broadcast="", **given
        ) + """
      loop.nest domain [4, 8] ins(%t : memref<4x8xi8, "spm">) outs(%own : memref<4x8xi8, "spm">)
        maps [affine_map<(a, b) -> (a, b)>, affine_map<(a, b) -> (a, b)>] body {
      ^bb0(%a: i8):
        %c = loop.apply "clip"(%a) {min = -128 : i64, max = 127 : i64} : (i8) -> i8
        loop.yield %c : i8
      } attributes {tensorize = "vclip"}
      loop.broadcast %own : memref<4x8xi8, "spm">"""  # fmt: skip
    size = given["n"] * 8
    opening = "".join(
        f"loop.for %{d} = 0 to {n} step 1 {{\n" for d, n in zip(dims, grid, strict=True)
    )
    body = f"""
    func.func @npu_segment_0() {{
    {opening}
      %x = loop.alloc {{offset = 0 : i64}} : memref<{given["n"]}x8xi8, "dram">
      %z = loop.alloc {{offset = {size} : i64}} : memref<{given["cores"]}x{given["n"]}x8xi8, "dram">
      %y = loop.alloc : memref<{given["n"]}x8xi8, "spm">
      %all = loop.reshape %y
        : memref<{given["n"]}x8xi8, "spm"> -> memref<1x{given["n"]}x8xi8, "spm">
      {text.format(fetch=fetch, **given)}
    {"} attributes {cores} " * len(grid)}
      func.return
    }}"""
    return Parser(CompilerContext(), body).parse_module()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("broadcast_load", [False, True])
def test_text_round_trips(grid: tuple[int, ...], broadcast_load: bool) -> None:
    module = gather(grid, broadcast_load)
    module.verify()
    again = Parser(CompilerContext(), str(module)).parse_module()
    assert str(again) == str(module) and module.is_structurally_equivalent(again)
    sends = [op for op in module.walk() if isinstance(op, BroadcastOp)]
    flags = [op.broadcast is not None for op in module.walk() if isinstance(op, CopyOp)]
    assert (len(sends), flags) == ((0, [True, False]) if broadcast_load else (1, [False, False]))
    assert str(module).count(" broadcast :") == broadcast_load


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("broadcast_load", [False, True])
def test_every_core_gets_what_all_send(grid: tuple[int, ...], broadcast_load: bool) -> None:
    """All cores write their parts before any stores them; as loops, as a program, and in time."""
    cores = prod(grid)
    size, module = 32 * cores, gather(grid, broadcast_load)
    arena = np.random.default_rng(0).integers(0, 256, size * (1 + cores)).astype(np.uint8)
    consts, expected = np.zeros(64, np.uint8), arena.copy()
    expected[size:] = np.tile(arena[:size], cores)
    assert (run_loops(module, arena, consts) == expected).all()
    target = with_cores(machine(), cores)
    tile(module, target, ("lower-to-npu",))
    assert (run_programs(module, arena, consts) == expected).all()
    tile(module, target, ("allocate-scratchpad", "insert-sync"))
    [program] = npu_semantics.programs(module)
    encoded = encode(program)
    simulate(encoded.code, target, arena, consts, layers=encoded.layers, check=True)
    assert (arena == expected).all()


def test_without_the_broadcast_other_cores_have_nothing() -> None:
    """The rows of others stay what they were: poison."""
    module, arena = gather((2,), True), np.arange(64 * 3).astype(np.uint8)
    for op in module.walk():
        if isinstance(op, CopyOp):
            op.broadcast = None
    got = run_loops(module, arena, np.zeros(1, np.uint8))[64:].reshape(2, 2, 32)
    assert (got[0, 0] == arena[:32]).all() and (got[1, 1] == arena[32:64]).all()
    assert (got[0, 1] == 0xA5).all() and (got[1, 0] == 0xA5).all()


def test_one_core_has_nobody_to_send_to() -> None:
    """Outside core loops both are as without."""
    text = """
    func.func @npu_segment_0() {
      %x = loop.alloc {offset = 0 : i64} : memref<4xi8, "dram">
      %z = loop.alloc {offset = 4 : i64} : memref<4xi8, "dram">
      %t = loop.alloc : memref<4xi8, "spm">
      loop.copy load %x[] at affine_map<() -> (0)> tile %t broadcast
        : memref<4xi8, "dram">, memref<4xi8, "spm">
      loop.broadcast %t : memref<4xi8, "spm">
      loop.copy store %z[] at affine_map<() -> (0)> tile %t
        : memref<4xi8, "dram">, memref<4xi8, "spm">
      func.return
    }"""
    arena = np.arange(8).astype(np.uint8)
    got = run_loops(Parser(CompilerContext(), text).parse_module(), arena, np.zeros(1, np.uint8))
    assert got.tolist() == [0, 1, 2, 3] * 2


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_broadcasts_of_boxes_with_steps(data: st.DataObject) -> None:
    """Cores send every `cores`-th column from some row on: all columns arrive everywhere."""
    cores = data.draw(st.sampled_from([2, 3, 4]))
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    begin = data.draw(st.integers(0, rows - 1))
    n, width, height = rows * cores * columns, cores * columns, rows - begin
    big, box = f'memref<{rows}x{width}xi8, "spm">', f'memref<{height}x{columns}xi8, "spm">'
    dram = f'memref<{rows}x{width}xi8, "dram">'
    text = f"""
    func.func @npu_segment_0() {{
      loop.for %core = 0 to {cores} step 1 {{
        %x = loop.alloc {{offset = 0 : i64}} : {dram}
        %z = loop.alloc {{offset = {n} : i64}} : memref<{cores}x{rows}x{width}xi8, "dram">
        %y = loop.alloc : {big}
        loop.fill %y with 0 : i64 : {big} loc("fill")
        %t = loop.alloc : {box}
        loop.copy load %x[%core] at affine_map<(d0) -> ({begin}, d0)> tile %t steps [1, {cores}]
          : {dram}, {box}
        %v = loop.subview %y[%core] at affine_map<(d0) -> ({begin}, d0)> steps [1, {cores}]
          : {big} -> {box}
        loop.nest domain [{height}, {columns}] ins(%t : {box}) outs(%v : {box})
          maps [affine_map<(a, b) -> (a, b)>, affine_map<(a, b) -> (a, b)>] body {{
        ^bb0(%a: i8):
          %c = loop.apply "clip"(%a) {{min = -128 : i64, max = 127 : i64}} : (i8) -> i8
          loop.yield %c : i8
        }} attributes {{tensorize = "vclip"}}
        loop.broadcast %v : {box}
        %all = loop.reshape %y : {big} -> memref<1x{rows}x{width}xi8, "spm">
        loop.copy store %z[%core] at affine_map<(d0) -> (d0, 0, 0)> tile %all
          : memref<{cores}x{rows}x{width}xi8, "dram">, memref<1x{rows}x{width}xi8, "spm">
      }} attributes {{cores}}
      func.return
    }}"""
    module = Parser(CompilerContext(), text).parse_module()
    arena = np.random.default_rng(n).integers(0, 256, n * (1 + cores)).astype(np.uint8)
    consts, expected, whole = np.zeros(64, np.uint8), arena.copy(), arena[:n].copy()
    whole[: begin * width] = 0
    expected[n:] = np.tile(whole, cores)
    assert (run_loops(module, arena, consts) == expected).all()
    target = with_cores(machine(), cores)
    tile(module, target, ("lower-to-npu", "allocate-scratchpad", "insert-sync"))
    [program] = npu_semantics.programs(module)
    encoded = encode(program)
    simulate(encoded.code, target, arena, consts, layers=encoded.layers, check=True)
    assert (arena == expected).all()
