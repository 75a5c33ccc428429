"""prefetch-loads: loads that move up find the same data, and buffers still fit."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from support.npu_passes import TARGETS, check_to_simulator, target
from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine, parse_program
from support.random_chains import Chain, chains
from support.random_machines import flat_machines
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.npu import Command, ProgramOp
from tilewright.dialects.semantics import npu as semantics
from tilewright.passes.base import CompilerContext
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.prefetch_loads import PrefetchLoadsPass, prefetch

BEFORE = ("promote-buffers", "tile-npu", "hoist-copies", "unroll-tiles", "double-buffer")


def check(chain: Chain, machine: Machine) -> None:
    """Down to the simulator, which checks races and capacities itself."""
    after = ("lower-to-npu", "prefetch-loads", "allocate-scratchpad", "insert-sync")
    check_to_simulator(chain, machine, (*BEFORE, *after))


@settings(max_examples=15, deadline=None)
@given(chains(3), flat_machines())
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check(chain, machine)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=6, deadline=None)
@given(chain=chains(3))
def test_meaning_is_kept(name: str, chain: Chain) -> None:
    check(chain, target(name))


@given(st.integers(0, 2**32))
def test_random_programs_keep_their_meaning(seed: int) -> None:
    program = ProgramMaker(Random(seed), initialise=True).program()
    rng = np.random.default_rng(seed)
    arena, consts = rng.integers(0, 256, ARENA, np.uint8), rng.integers(0, 256, CONSTS, np.uint8)
    before, after = arena.copy(), arena.copy()
    semantics.run(program, before, consts)
    prefetch(program, machine())
    program.verify()
    semantics.run(program, after, consts)
    assert (before == after).all()
    allocate(program, machine())


DRAM, BUFFER = 'memref<1024xi8, "dram">', 'memref<1024xi8, "spm">'
BOX = "#npu.tensor_map<extents [1024] strides [1] start [0] steps [1] box [1024] loops [[]]>"
WHOLE = "#npu.access<0 [] sizes [1024] strides [1]>"


def layers(count: int, stored: int = -1) -> ProgramOp:
    """Layers that load a tensor each and work with it; one stores to what the last one loads."""
    text = "".join(f"%x{i} = npu.dram {1024 * i} : {DRAM}\n" for i in range(count))
    for i in range(count):
        text += f"""
          %b{i} = npu.alloc : {BUFFER}
          %l{i} = npu.load(%x{i} : {DRAM} at {BOX}, %b{i} : {BUFFER} at {WHOLE}) {{element = 1 : i64}}
          %c{i} = npu.vclip(%b{i} : {BUFFER} at {WHOLE}, %b{i} : {BUFFER} at {WHOLE}) {{lo = 0 : i64, hi = 9 : i64}}
        """  # noqa: E501
        if i == stored:
            text += f"%s = npu.store(%x{count - 1} : {DRAM} at {BOX}, %b{i} : {BUFFER} at {WHOLE}) {{element = 1 : i64}}\n"  # noqa: E501
    return parse_program(f"npu.program @p {{ {text} }}")


def order(program: ProgramOp) -> list[str]:
    """Mnemonics at the top level."""
    return [op.instruction.mnemonic for op in program.body.block.ops if isinstance(op, Command)]


def test_a_load_stays_behind_what_fills_its_buffer() -> None:
    program = parse_program(f"""npu.program @p {{
      %x = npu.dram 0 : {DRAM}
      %a = npu.alloc : {BUFFER}
      %b = npu.alloc : {BUFFER}
      %c = npu.vclip(%a : {BUFFER} at {WHOLE}, %a : {BUFFER} at {WHOLE}) {{lo = 0 : i64}}
      %f = npu.vfill(%b : {BUFFER} at {WHOLE}) {{value = 3 : i64}}
      %l = npu.load(%x : {DRAM} at {BOX}, %b : {BUFFER} at {WHOLE}) {{element = 1 : i64}}
    }}""")
    prefetch(program, machine(spm=1 << 16))
    assert order(program) == ["vclip", "vfill", "load"]


def test_loads_go_in_front_of_the_computation_before_them() -> None:
    program = layers(3)
    prefetch(program, machine(spm=1 << 16))
    assert order(program)[:2] == ["load", "load"]
    assert order(program).index("vclip") > 1


def test_loads_stay_where_there_is_no_room_for_their_buffer() -> None:
    program = layers(3)
    prefetch(program, machine(spm=1024))
    assert order(program) == ["load", "vclip"] * 3


def test_loads_of_what_the_program_stores_stay_behind_the_store() -> None:
    program = layers(4, stored=1)
    prefetch(program, machine(spm=1 << 16))
    ops = order(program)
    assert ops.index("store") < max(i for i, op in enumerate(ops) if op == "load")
    last = [op for op in program.body.block.ops if isinstance(op, Command)][-2:]
    assert [op.instruction.mnemonic for op in last] == ["load", "vclip"]


def test_loads_keep_their_order() -> None:
    program = layers(8)
    names = [op.results[0].name_hint for op in program.walk() if isinstance(op, Command)]
    prefetch(program, machine(spm=1 << 16))
    loads = [
        names.index(op.results[0].name_hint)
        for op in program.walk()
        if isinstance(op, Command) and op.instruction.mnemonic == "load"
    ]
    assert all(a < b for a, b in pairwise(loads)) or len(set(names)) < len(names)


def test_banked_scratchpads_keep_their_order() -> None:
    program = layers(3)
    program.detach()
    module = ModuleOp([program])
    before = str(module)
    banked = machine(spm=1 << 16, banks=4)
    PrefetchLoadsPass().apply(CompilerContext(machine=banked), module)
    assert str(module) == before
