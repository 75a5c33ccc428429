"""preload-weights: programs mean the same, and wait less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from support.npu_passes import TARGETS, run_loops, run_programs, target, tile
from support.random_chains import Chain, chains
from support.random_machines import flat_machines
from tilewright.backends.npu.encode import encode
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.npu import Command
from tilewright.dialects.semantics import npu as semantics

BEFORE = (
    "promote-buffers", "tile-npu", "hoist-copies", "unroll-tiles", "double-buffer", "lower-to-npu",
    "prefetch-loads", "allocate-scratchpad",
)  # fmt: skip


def check(chain: Chain, machine: Machine) -> None:
    """Down to the simulator, which checks races itself; preloads only where weights stay."""
    module, (arena, consts) = chain.segment.module(), chain.segment.memories()
    expected = chain.visible(run_loops(module, arena, consts))
    tile(module, machine, (*BEFORE, "preload-weights", "insert-sync"))
    assert (chain.visible(run_programs(module, arena, consts)) == expected).all()
    made = [op for op in module.walk() if isinstance(op, Command) and op.name == "npu.preload"]
    assert not made or machine.matrix.dataflow == "weight-stationary"
    for program in semantics.programs(module):
        encoded = encode(program)
        simulate(encoded.code, machine, arena, consts, layers=encoded.layers, check=True)
    assert (chain.visible(arena) == expected).all()


@settings(max_examples=15, deadline=None)
@given(chains(3), flat_machines())
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check(chain, machine)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=6, deadline=None)
@given(chain=chains(3))
def test_meaning_is_kept(name: str, chain: Chain) -> None:
    check(chain, target(name))
