"""cascade: stripes mean the same as whole layers, halos and shortcuts included; where it pays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp, StringAttr, UnitAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from support.npu_passes import TARGETS, run_loops, run_programs, target, tile
from support.random_chains import Chain, chains, rows
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.compiler.staged import argument_offsets
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import AllocOp, NestOp
from tilewright.dialects.types import integer, ints, shape_of
from tilewright.passes.base import CompilerContext, main_function
from tilewright.passes.loop.cascade import CascadePass
from tilewright.passes.loop.packing import align, buffer_bytes
from tilewright.passes.loop.tiling.bounds import contraction, own_sizes

REST = (
    "distribute", "promote-buffers", "tile-npu", "hoist-copies", "unroll-tiles", "double-buffer",
    "share-loads", "lower-to-npu", "prefetch-loads", "allocate-scratchpad", "insert-sync",
)  # fmt: skip


def main_of(segment: Segment) -> ModuleOp:
    """The segment as @main: what others see are its arguments."""
    module = segment.module()
    [func] = [op for op in module.ops if isinstance(op, FuncOp)]
    func.sym_name = StringAttr("main")
    offsets: list[int] = []
    for op in list(func.body.block.ops):
        if isinstance(op, AllocOp) and "local" not in op.attributes:
            assert op.offset is not None
            offsets.append(op.offset.value.data)
            argument = func.body.block.insert_arg(op.result.type, len(offsets) - 1)
            op.result.replace_all_uses_with(argument)
            op.detach()
            op.erase()
    func.function_type = type(func.function_type).from_lists(
        [a.type for a in func.body.block.args], []
    )
    func.attributes["arg_offsets"] = ints(offsets)
    module.verify()
    return module


def cascade(module: ModuleOp, machine: Machine, stripes: int, arena: Array) -> Array:
    """Apply the pass; a longer arena with room for stripes."""
    CascadePass(stripes=stripes).apply(CompilerContext(machine=machine), module)
    module.verify()
    end = align(len(arena))
    for op in module.walk():
        if isinstance(op, AllocOp) and op.offset is None:
            op.offset = integer(end)
            end += align(buffer_bytes(op.result))
    return np.concatenate([arena, np.zeros(end - len(arena), np.uint8)])


def nests(module: ModuleOp) -> list[NestOp]:
    """The nests of @main."""
    return [op for op in main_function(module).body.block.ops if isinstance(op, NestOp)]


def as_segment(module: ModuleOp) -> ModuleOp:
    """@main as a segment again, for the passes that follow."""
    func = main_function(module)
    for argument, offset in zip(list(func.body.block.args), argument_offsets(func), strict=True):
        alloc = AllocOp(argument.type, offset=offset)  # pyright: ignore[reportArgumentType]
        first: Operation | None = func.body.block.first_op
        assert first is not None
        func.body.block.insert_op_before(alloc, first)
        argument.replace_all_uses_with(alloc.result)
    while func.body.block.args:
        func.body.block.erase_arg(func.body.block.args[0])
    func.function_type = type(func.function_type).from_lists([], [])
    func.sym_name = StringAttr("npu_segment_0")
    return module


def check(chain: Chain, machine: Machine, stripes: int) -> bool:
    """Whether cascades were made; their meaning is that of the layers, down to commands."""
    module, (arena, consts) = main_of(chain.segment), chain.segment.memories()
    before = len(nests(module))
    expected = chain.visible(run_loops(module, arena, consts))
    longer = cascade(module, machine, stripes, arena)
    found = chain.visible(run_loops(module, longer, consts)[: len(arena)])
    assert (found == expected).all()
    made = len(nests(module)) != before
    tile(as_segment(module), machine, REST)
    found = chain.visible(run_programs(module, longer, consts)[: len(arena)])
    assert (found == expected).all()
    return made


@settings(max_examples=60, deadline=None)
@given(chains(), st.sampled_from(TARGETS), st.integers(2, 5))
def test_meaning_is_kept(chain: Chain, name: str, stripes: int) -> None:
    check(chain, target(name), stripes)


def _layers(height: int, channels: int) -> Segment:
    """Two convolutions 3x3 around one 1x1: what lies between them is `local`."""
    s = Segment()
    x = s.buffer([1, height, height, 16])
    for kernel, outputs in ((3, channels), (1, channels), (3, 16)):
        y = s.buffer([1, height, height, outputs])
        count, pad = shape_of(x)[-1], kernel // 2
        s.nest(
            [1, height, height, outputs, kernel, kernel, count],
            [
                (x, [{0: 1}, {1: 1, 4: 1}, {2: 1, 5: 1}, {6: 1}], [0, -pad, -pad, 0], 3),
                (s.weights([kernel, kernel, count, outputs]), rows(4, 5, 6, 3), None, None),
            ],
            (y, rows(0, 1, 2, 3), None),
            reduce="add",
            reduced=[4, 5, 6],
            zero_points=(3, 0),
            chain=lambda k, n=outputs: k.requantize(k.block.args[0], [{3: 1}], [n]),
        )
        x = y
    between = [op for op in s.block.ops if isinstance(op, AllocOp)][1:-1]
    for op in between:
        op.attributes["local"] = UnitAttr()
    return s


def test_layers_whose_results_do_not_fit_run_in_stripes() -> None:
    machine = target("ethos-u65-512")
    module = main_of(_layers(112, 64))  # 800 KB between them, 384 KiB on chip
    work = [contraction(nest, machine) for nest in nests(module)]
    CascadePass().apply(CompilerContext(machine=machine), module)
    made = nests(module)
    assert len(made) > len(work) and len(made) % len(work) == 0
    # rows that are computed again are no work of the network
    parts = [contraction(nest, machine) for nest in made]
    assert sum(p[0] for p in parts if p) == sum(w[0] for w in work if w)
    assert all(own_sizes(nest) == nest.sizes for nest in made[: len(work)])


def test_layers_whose_results_fit_stay_whole() -> None:
    module = main_of(_layers(28, 16))
    before = str(module)
    CascadePass().apply(CompilerContext(machine=target("ethos-u65-512")), module)
    assert str(module) == before
