"""unroll-tiles: pieces of a loop, one after the other, do what the loop does."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from support.npu_passes import run_loops, run_programs, target, tile
from support.random_chains import Chain, chains
from support.random_machines import flat_machines
from support.random_nests import segments
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.loop import ForOp, SubviewOp
from tilewright.dialects.types import string
from tilewright.passes.base import CompilerContext
from tilewright.passes.loop.tile_npu import npu_segments
from tilewright.passes.loop.unroll_tiles import UnrollTilesPass

TILING = ("promote-buffers", "tile-npu", "hoist-copies")


def unroll(module: ModuleOp, machine: Machine, limit: int) -> None:
    """The pass with a limit, verified."""
    UnrollTilesPass(max_ops=limit, growth=1.0).apply(CompilerContext(machine=machine), module)
    module.verify()


def outermost(module: ModuleOp) -> list[int]:
    """Trip counts of top-level loops."""
    ops = npu_segments(module)[0].body.block.ops
    return [len(op.values) for op in ops if isinstance(op, ForOp)]


@settings(max_examples=60, deadline=None)
@given(chains(), flat_machines(), st.sampled_from([40, 200, 1000, 4000]))
def test_meaning_is_kept(chain: Chain, machine: Machine, limit: int) -> None:
    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    tile(module, machine, TILING)
    unroll(module, machine, limit)
    assert (chain.visible(run_loops(module, arena, consts)) == expected).all()
    tile(module, machine, ("double-buffer", "lower-to-npu", "allocate-scratchpad", "insert-sync"))
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()


@settings(max_examples=40, deadline=None)
@given(segments(), flat_machines())
def test_ragged_and_reducing_loops_keep_their_meaning(segment: Segment, machine: Machine) -> None:
    module, (arena, consts) = segment.module(), segment.memories()
    expected = run_loops(module, arena, consts)
    tile(module, machine, TILING)
    unroll(module, machine, 4000)
    assert (run_loops(module, arena, consts) == expected).all()
    tile(module, machine, ("double-buffer", "lower-to-npu", "allocate-scratchpad", "insert-sync"))
    assert (run_programs(module, arena, consts) == expected).all()


def _elementwise(count: int) -> Segment:
    s = Segment()
    for _ in range(2):
        x, y = s.buffer([count * 1024]), s.buffer([count * 1024])
        s.nest(
            [count * 1024],
            [(x, [{0: 1}], None, None)],
            (y, [{0: 1}], None),
            accumulator=lambda c: c.table(c.block.args[0]),
        )
    return s


def _small(bytes: int = 8192, banks: int = 1) -> Machine:
    machine = target("gemmini-16x16")
    return replace(machine, scratchpad=replace(machine.scratchpad, bytes=bytes, banks=banks))


def test_short_loops_disappear() -> None:
    module = _elementwise(6).module()
    tile(module, _small(), ("tile-npu",))
    before = outermost(module)
    assert before and max(before) <= 32
    unroll(module, _small(), 4000)
    assert not outermost(module)


def test_the_limit_on_operations_leaves_longer_loops() -> None:
    trips: list[int] = []
    for limit in (0, 60, 200, 4000):
        module = _elementwise(24).module()
        tile(module, _small(), ("tile-npu",))
        unroll(module, _small(), limit)
        trips.append(len(outermost(module)))
    module = _elementwise(24).module()
    tile(module, _small(), ("tile-npu",))
    assert trips[0] == len(outermost(module)) and trips[-1] != trips[0]


def test_programs_may_grow_in_proportion() -> None:
    module = _elementwise(24).module()
    tile(module, _small(), ("tile-npu",))
    UnrollTilesPass(max_ops=0, growth=100.0).apply(CompilerContext(machine=_small()), module)
    assert not outermost(module)


def test_inner_loops_are_unrolled_with_those_around_them() -> None:
    """Whole nests or none: a product of 4 x 2 tiles, and one for which there is no room."""
    text = """
    func.func @npu_segment_0() {
      %a = loop.alloc : memref<64xi8, "spm">
      loop.for %i = 0 to 64 step 16 {
        loop.for %j = 0 to 16 step 8 {
          %t = loop.subview %a[%i, %j] at affine_map<(d0, d1) -> (d0 + d1)>
            : memref<64xi8, "spm"> -> memref<8xi8, "spm">
          loop.fill %t with 0 : i64 : memref<8xi8, "spm">
        }
      }
      loop.for %k = 0 to 64 step 8 {
        %t = loop.subview %a[%k] at affine_map<(d0) -> (d0)>
          : memref<64xi8, "spm"> -> memref<8xi8, "spm">
        loop.fill %t with 1 : i64 : memref<8xi8, "spm">
        loop.fill %t with 2 : i64 : memref<8xi8, "spm">
      }
      func.return
    }"""
    for limit, left in ((12, ["i", "k"]), (13, ["k"]), (25, [])):
        module = Parser(CompilerContext(), text).parse_module()
        unroll(module, _small(), limit)
        loops = [op for op in npu_segments(module)[0].walk() if isinstance(op, ForOp)]
        assert [op.iv.name_hint for op in loops if op.iv.name_hint != "j"] == left
        views = [op for op in npu_segments(module)[0].walk() if isinstance(op, SubviewOp)]
        assert len(views) == {2: 2, 1: 9, 0: 16}[len(left)]


def test_banked_scratchpads_keep_their_loops() -> None:
    module = _elementwise(6).module()
    tile(module, _small(), ("tile-npu",))
    before = str(module)
    unroll(module, _small(banks=4), 4000)
    assert str(module) == before


def test_loops_that_load_come_first() -> None:
    """Where room is short, the second is unrolled: the first loads nothing."""
    text = """
    func.func @npu_segment_0() {
      %x = loop.alloc {offset = 0 : i64} : memref<64xi8, "dram">
      %a = loop.alloc : memref<64xi8, "spm">
      loop.for %i = 0 to 64 step 16 {
        %t = loop.subview %a[%i] at affine_map<(d0) -> (d0)>
          : memref<64xi8, "spm"> -> memref<16xi8, "spm">
        loop.fill %t with 0 : i64 : memref<16xi8, "spm">
        loop.copy store %x[%i] at affine_map<(d0) -> (d0)> tile %t
          : memref<64xi8, "dram">, memref<16xi8, "spm">
      }
      loop.for %j = 0 to 64 step 16 {
        %t = loop.alloc : memref<16xi8, "spm">
        loop.copy load %x[%j] at affine_map<(d0) -> (d0)> tile %t
          : memref<64xi8, "dram">, memref<16xi8, "spm">
      }
      func.return
    }"""
    starts: list[list[str | None]] = []
    for limit in (0, 13, 14, 4000):
        module = Parser(CompilerContext(), text).parse_module()
        unroll(module, _small(), limit)
        ops = npu_segments(module)[0].body.block.ops
        starts.append([op.iv.name_hint for op in ops if isinstance(op, ForOp)])
    assert starts == [["i", "j"], ["i", "j"], ["i"], []]


def test_nests_near_one_without_products_come_first() -> None:
    """%p has products and is far from the pooling %v, %q is near it: %q goes before %p."""

    def loop(name: str, fills: int) -> str:
        fill = f'loop.fill %a with {fills} : i64 : memref<64xi8, "spm">\n' * fills
        return f"loop.for %{name} = 0 to 4 step 1 {{\n{fill}}}\n"

    text = (
        'func.func @npu_segment_0() {\n %a = loop.alloc : memref<64xi8, "spm">\n'
        + "".join(loop(name, n) for name, n in (("p", 2), ("q", 3), ("r", 3), ("v", 1)))
        + "func.return\n}"
    )

    def left(limit: int) -> list[str | None]:
        module = Parser(CompilerContext(), text).parse_module()
        for op in module.walk():
            if isinstance(op, ForOp) and op.iv.name_hint != "v":
                for fill in op.body.block.ops:
                    fill.attributes["tensorize"] = string("matmul")
        unroll(module, _small(), limit)
        return [op.iv.name_hint for op in module.walk() if isinstance(op, ForOp)]

    # %a and 4 loops are 18 operations; unrolled, %v grows by 1, %p by 4, %q and %r by 7 each
    assert left(18) == ["p", "q", "r", "v"]
    assert left(19) == ["p", "q", "r"]
    assert left(26) == ["p", "r"]
    assert left(33) == ["p"]
    assert left(37) == []
