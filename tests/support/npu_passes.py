"""Running NPU lowering passes on hand-made segments, and executing the result at either level."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from support.random_chains import Chain
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.load import load_target
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.constants import Array
from tilewright.dialects.semantics import npu as npu_semantics
from tilewright.dialects.semantics.loop import run
from tilewright.passes.base import CompilerContext
from tilewright.passes.registry import find_pass

TILING = ("tile-npu", "hoist-copies", "double-buffer")
LOWERING = (*TILING, "lower-to-npu")


def tile(module: ModuleOp, machine: Machine, names: Sequence[str]) -> None:
    """Apply passes in place, verifying after each."""
    ctx = CompilerContext(machine=machine)
    for name in names:
        find_pass(name)().apply(ctx, module)
        module.verify()


def run_loops(module: ModuleOp, arena: Array, consts: Array) -> Array:
    """The arena after running the module's functions at loop level."""
    arena = arena.copy()
    for op in module.ops:
        assert isinstance(op, FuncOp)
        run(op, arena, consts)
    return arena


def run_programs(module: ModuleOp, arena: Array, consts: Array) -> Array:
    """The arena after running the module's NPU programs in program order."""
    arena = arena.copy()
    for program in npu_semantics.programs(module):
        npu_semantics.run(program, arena, consts)
    return arena


TARGETS = ("gemmini-16x16", "auto-200", "tpu-v1", "ethos-u65-512", "vta-pynq")
"""Targets of all kinds: scratchpads banked and interleaved, commands of one tile and of many."""


def target(name: str) -> Machine:
    """A target that has an NPU."""
    machine = load_target(name)
    assert machine is not None
    return machine


def check_to_simulator(chain: Chain, machine: Machine, names: Sequence[str]) -> ModuleOp:
    """A chain lowered by passes means the same; the simulator finds no race, and the same result.

    `names` end with insert-sync.  Returns the lowered module.
    """
    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    tile(module, machine, names)
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()
    for program in npu_semantics.programs(module):
        encoded = encode(program)
        simulate(encoded.code, machine, arena, consts, layers=encoded.layers, check=True)
    assert (chain.visible(arena) == expected).all()
    return module
