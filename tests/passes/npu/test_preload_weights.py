"""preload-weights: programs mean the same; preloads stand only where weights stay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from support.npu_passes import TARGETS, check_to_simulator, target
from support.random_chains import Chain, chains
from support.random_machines import flat_machines
from tilewright.backends.targets.machine import Machine
from tilewright.dialects.npu import Command

BEFORE = (
    "promote-buffers", "tile-npu", "hoist-copies", "unroll-tiles", "double-buffer", "lower-to-npu",
    "prefetch-loads", "allocate-scratchpad",
)  # fmt: skip


def check(chain: Chain, machine: Machine) -> None:
    """Down to the simulator, which checks races itself; preloads only where weights stay."""
    module = check_to_simulator(chain, machine, (*BEFORE, "preload-weights", "insert-sync"))
    made = [op for op in module.walk() if isinstance(op, Command) and op.name == "npu.preload"]
    assert not made or machine.matrix.dataflow == "weight-stationary"


@settings(max_examples=15, deadline=None)
@given(chains(3), flat_machines())
def test_meaning_is_kept_on_any_machine(chain: Chain, machine: Machine) -> None:
    check(chain, machine)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=6, deadline=None)
@given(chain=chains(3))
def test_meaning_is_kept(name: str, chain: Chain) -> None:
    check(chain, target(name))
