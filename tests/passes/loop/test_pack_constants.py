"""pack-constants: packed tiles hold what loads of the original would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from support.npu_passes import TARGETS, run_loops, target
from support.random_chains import Chain, chains, rows
from support.random_machines import machines
from support.segments import Segment
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.constants import Array
from tilewright.dialects.loop import CopyOp, GlobalOp
from tilewright.dialects.semantics import npu as npu_semantics
from tilewright.dialects.types import shape_of
from tilewright.passes.base import main_function
from tilewright.passes.loop.packing import pack_constants
from tilewright.passes.loop.tile_npu import npu_segments
from tilewright.passes.registry import find_pass

BEFORE = ("promote-buffers", "tile-npu", "hoist-copies")
AFTER = ("unroll-tiles", "double-buffer", "lower-to-npu", "prefetch-loads", "allocate-scratchpad")


def apply(s: Segment, module: ModuleOp, machine: Machine, *names: str) -> None:
    """Passes in the context that holds the segment's constants."""
    s.ctx.machine = machine
    for name in names:
        find_pass(name)().apply(s.ctx, module)
        module.verify()


def block(s: Segment, module: ModuleOp) -> Array:
    """The constants block of @main."""
    return np.frombuffer(pack_constants(module, s.ctx.constants) or b"\0", np.uint8)


def check(chain: Chain, machine: Machine) -> None:
    s = chain.segment
    module, (arena, consts) = s.module_with_main(), s.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    apply(s, module, machine, *BEFORE, "pack-constants")
    packed = block(s, module)
    assert len(packed) % 64 == 0 or len(packed) == 1
    for op in module.walk():  # constants of segments are where @main has them
        if isinstance(op, GlobalOp):
            assert op.offset is not None
    assert (chain.visible(run_loops(module, arena, packed)) == expected).all()
    apply(s, module, machine, *AFTER)
    [program] = npu_semantics.programs(module)
    got = arena.copy()
    npu_semantics.run(program, got, packed)
    assert (chain.visible(got) == expected).all()


@settings(max_examples=50, deadline=None)
@given(chains(), machines(2048, 32768))
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check(chain, machine)


@settings(max_examples=30, deadline=None)
@given(chains(), st.sampled_from(TARGETS))
def test_meaning_is_kept(chain: Chain, name: str) -> None:
    check(chain, target(name))


def _dense(m: int, k: int, n: int, layers: int = 1, same: bool = False) -> Segment:
    """Fully connected layers, each with weights of its own unless they are the `same`."""
    s = Segment()
    weights = s.weights([k, n])
    for i in range(layers):
        s.nest(
            [m, n, k],
            [
                (s.buffer([m, k]), rows(0, 2), None, None),
                (weights if same or not i else s.weights([k, n]), rows(2, 1), None, None),
            ],
            (s.buffer([m, n]), rows(0, 1), None),
            reduce="add",
            reduced=[2],
            chain=lambda c: c.requantize(c.block.args[0], [{1: 1}], [n]),
        )
    return s


def _weights(module: ModuleOp, shape: tuple[int, ...]) -> list[CopyOp]:
    return [
        op
        for op in npu_segments(module)[0].walk()
        if isinstance(op, CopyOp) and shape_of(op.big) == shape
    ]


def _machine(scratchpad: int) -> Machine:
    machine = target("gemmini-16x16")
    return replace(machine, scratchpad=replace(machine.scratchpad, bytes=scratchpad, banks=1))


def test_tiles_of_columns_become_runs() -> None:
    s = _dense(200, 64, 256)
    module, machine = s.module_with_main(), _machine(6144)
    before = len(block(s, module))
    apply(s, module, machine, *BEFORE)
    [load] = _weights(module, (64, 256))
    columns = shape_of(load.tile)[1]
    assert columns < 256
    apply(s, module, machine, "pack-constants")
    [load] = _weights(module, (64 * 256,))
    assert shape_of(load.tile) == (64 * columns,)
    assert load.start.coeffs == ((64,),)  # per column of the loop variable
    assert not _weights(module, (64, 256))
    packed = block(s, module)
    assert len(packed) == before + 64 * 256
    assert any(shape_of(op.result) == (64, 256) for op in main_function(module).walk()
               if isinstance(op, GlobalOp))  # fmt: skip


def test_equal_constants_are_packed_once() -> None:
    sizes: list[int] = []
    for same in (True, False):
        s = _dense(200, 64, 256, layers=2, same=same)
        module = s.module_with_main()
        before = len(block(s, module))
        apply(s, module, _machine(6144), *BEFORE, "pack-constants")
        sizes.append(len(block(s, module)) - before)
    assert sizes == [64 * 256, 2 * 64 * 256]


def test_weights_loaded_whole_stay_as_they_are() -> None:
    s = _dense(20, 16, 64)
    module = s.module_with_main()
    apply(s, module, _machine(65536), *BEFORE)
    before = str(module)
    apply(s, module, _machine(65536), "pack-constants")
    assert str(module) == before
