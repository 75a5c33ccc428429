"""narrow-broadcasts: every core still finds what it reads, and gets little else."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, UnitAttr
from xdsl.ir import SSAValue

from support.core_segments import compile_and_run, cored_machines, split_at_random, with_cores
from support.npu_passes import run_loops, run_programs, tile
from support.npu_programs import machine
from support.random_chains import Chain, chains, rows
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import AllocOp, BroadcastOp
from tilewright.dialects.multicast import receivers
from tilewright.dialects.types import shape_of
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop import narrow_broadcasts
from tilewright.passes.loop.cores import core_grid
from tilewright.passes.loop.narrow_broadcasts import NarrowBroadcastsPass

Split = tuple[int, ...]


def sends(module: ModuleOp) -> list[int]:
    """Levels of all broadcasts."""
    return [op.levels for op in module.walk() if isinstance(op, BroadcastOp)]


@settings(max_examples=40, deadline=None)
@given(chains(), cored_machines(), st.data())
def test_meaning_is_kept(chain: Chain, target: Machine, data: st.DataObject) -> None:
    """Of any splits, blocks or not, even or not; nobody hears more than before."""

    def pick(options: list[Any]) -> Any:
        return data.draw(st.sampled_from(options))

    def block() -> bool:
        return data.draw(st.booleans())

    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    split_at_random(module, target, pick, block)
    tile(module, target, ("promote-buffers", "tile-npu"))
    before = len(sends(module))
    tile(module, target, ("narrow-broadcasts",))
    assert (chain.visible(run_loops(module, arena, consts)) == expected).all()
    grid = core_grid(target.cores)
    assert len(sends(module)) <= before
    assert all(levels < (1 << len(grid)) - 1 for levels in sends(module))
    assert all(receivers(0, grid, levels) for levels in sends(module))
    once = str(module)
    tile(module, target, ("narrow-broadcasts",))
    assert str(module) == once
    tile(module, target, ("hoist-copies", "double-buffer", "lower-to-npu"))
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()


def two(shape: list[int]) -> Segment:
    """Two look-ups with a tensor between them that stays on chip."""
    s = Segment()
    y = look_up(s, s.buffer(shape))
    assert isinstance(y.owner, AllocOp)
    y.owner.attributes["local"] = UnitAttr()
    look_up(s, y)
    return s


def look_up(s: Segment, x: SSAValue) -> SSAValue:
    out, same = s.buffer(shape_of(x)), rows(0, 1, 2)
    s.nest(
        shape_of(x),
        [(x, same, None, None)],
        (out, same, None),
        accumulator=lambda k: k.table(k.block.args[0]),
    )
    return out


def narrowed(shape: list[int], cores: int, splits: tuple[Split, Split]) -> list[int]:
    """Levels that are left of the broadcasts between two nests split like that, as blocks.

    The whole phase keeps the meaning, without races.
    """
    target = with_cores(machine(1 << 15, 1 << 12), cores)

    def pick() -> Callable[[list[Any]], Any]:
        given = iter(splits)
        return lambda options: options[options.index(next(given))]

    def visible(arena: Array) -> Array:
        out, begin = arena.copy(), -(-prod(shape) // 64) * 64 + 64  # what stays on chip
        out[begin : begin + prod(shape)] = 0
        return out

    module = two(shape).module()
    split_at_random(module, target, pick(), lambda: True)
    tile(module, target, ("promote-buffers", "tile-npu"))
    assert sends(module)
    tile(module, target, ("narrow-broadcasts",))
    for max_ops in (0, 4000):
        s = two(shape)
        whole, (arena, consts) = s.module_with_main(), s.memories()
        expected = visible(run_loops(whole, arena, consts))
        compile_and_run(
            s, whole, target, arena, expected, visible, pick(), max_ops, False, lambda: True
        )
    return sends(module)


@pytest.mark.parametrize(
    ("shape", "cores", "splits", "expected"),
    [
        ([8, 8, 16], 4, ((0, 0), (0, 0)), []),
        ([8, 8, 16], 4, ((0, 1), (0, 1)), []),
        ([8, 8, 16], 4, ((0, 1), (0, 0)), [2]),  # rows of the grid exchange columns
        ([8, 8, 16], 4, ((0, 1), (2, 1)), [1]),  # columns exchange rows
        ([8, 8, 16], 4, ((0, 1), (1, 1)), [0]),
        ([8, 8, 16], 4, ((0, 0), (1, 1)), [0]),
        ([8, 8, 16], 4, ((0, 1), ()), [0]),
        ([8, 8, 16], 3, ((0,), (1,)), [0]),
        ([15, 8, 16], 4, ((0, 0), (0, 0)), []),  # padded to 16 rows, blocks at home
        ([9, 8, 16], 2, ((0,), (1,)), [0]),
        ([15, 7, 16], 4, ((0, 1), ()), [0]),
        ([15, 8, 16], 4, ((0, 1), (0, 0)), [2]),
    ],
)
def test_who_hears_of_results(
    shape: list[int], cores: int, splits: tuple[Split, Split], expected: list[int]
) -> None:
    got = narrowed(shape, cores, splits)
    assert sorted(set(got)) == sorted(set(expected)) and bool(got) is bool(expected)
    assert len(got) % max(1, len(expected)) == 0


def test_many_tiles_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_broadcasts, "MOST_BOXES", 1)
    assert set(narrowed([8, 8, 16], 4, ((0, 1), (0, 0)))) == {0}


def test_it_can_be_switched_off() -> None:
    target, s = with_cores(machine(1 << 15, 1 << 12), 4), two([8, 8, 16])
    module = s.module()
    split_at_random(module, target, lambda options: options[1], lambda: True)
    tile(module, target, ("promote-buffers", "tile-npu"))
    before = str(module)
    NarrowBroadcastsPass(enable=False).apply(CompilerContext(machine=target), module)
    assert str(module) == before
    NarrowBroadcastsPass().apply(CompilerContext(machine=target), module)
    assert str(module) != before
