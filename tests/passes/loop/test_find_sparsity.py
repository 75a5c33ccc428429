"""find-sparsity: which weights are marked, and that what follows computes the same with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.core_segments import compile_and_run, with_cores
from support.npu_passes import run_loops, target
from support.random_machines import sparse_machines
from support.segments import Segment
from support.sparse import sparse_segments, sparse_weights
from tilewright.backends.targets.machine import Machine, Sparsity
from tilewright.dialects.loop import NestOp
from tilewright.passes.loop.find_sparsity import FindSparsityPass
from tilewright.passes.loop.tiling.classify import SPARSE


def check(s: Segment, machine: Machine) -> None:
    module, (arena, _) = s.module_with_main(), s.memories()
    consts = np.frombuffer(bytes(s.consts) or b"\0", np.uint8)
    compile_and_run(s, module, machine, arena, run_loops(module, arena, consts))


@settings(max_examples=40, deadline=None)
@given(sparse_segments(), sparse_machines())
def test_meaning_is_kept(segment: Segment, machine: Machine) -> None:
    check(segment, machine)


@settings(max_examples=20, deadline=None)
@given(sparse_segments(), sparse_machines(), st.sampled_from([2, 3, 4]), st.booleans())
def test_meaning_is_kept_on_several_cores(
    segment: Segment, machine: Machine, cores: int, flat: bool
) -> None:
    if flat:
        machine = replace(machine, scratchpad=replace(machine.scratchpad, banks=1))
    check(segment, with_cores(machine, cores))


@settings(max_examples=10, deadline=None)
@given(sparse_segments(), st.sampled_from(["auto-200", "ethos-u85-1024"]))
def test_meaning_is_kept_on_targets(segment: Segment, name: str) -> None:
    check(segment, target(name))


def _marked(weights: np.ndarray, k: int, n: int, zero: int = 0, name: str = "auto-200") -> bool:
    s = Segment()
    s.nest(
        [40, n, k],
        [
            (s.buffer([40, k]), [{0: 1}, {2: 1}], None, None),
            (s.constant(weights), [{2: 1}, {1: 1}], None, None),
        ],
        (s.buffer([40, n]), [{0: 1}, {1: 1}], None),
        reduce="add",
        reduced=[2],
        zero_points=(0, zero),
        chain=lambda c: c.requantize(c.block.args[0], [{1: 1}], [n]),
    )
    module = s.module_with_main()
    s.ctx.machine = target(name)
    FindSparsityPass().apply(s.ctx, module)
    [nest] = [op for op in module.walk() if isinstance(op, NestOp)]
    return SPARSE in nest.attributes


def test_sparse_weights_are_marked() -> None:
    weights = sparse_weights(np.random.default_rng(0), (32, 16), 0)
    assert _marked(weights, 32, 16)
    assert not _marked(weights, 32, 16, zero=1)  # zeros that stand for -1
    assert not _marked(weights, 32, 16, name="gemmini-16x16")  # no decoder
    across = sparse_weights(np.random.default_rng(0), (32, 16), 1)
    assert not _marked(across, 32, 16)
    weights[:4, 5] = 1
    assert not _marked(weights, 32, 16)


@pytest.mark.parametrize("k", [4, 12, 20])
def test_reductions_are_multiples_of_eight(k: int) -> None:
    assert not _marked(sparse_weights(np.random.default_rng(0), (k, 16), 0), k, 16)


def test_machines_that_decode_at_any_rate() -> None:
    """One product, all rates: the same bytes, and fewer cycles the faster.

    At twice the rate a row of the array's activations is 32 bytes, which the scratchpad must have.
    """
    cycles: list[int] = []
    for rate, decoded in ((1, 2.0), (1, 0.0), (2, 0.0)):
        s, machine = Segment(), target("gemmini-16x16")
        machine = replace(
            machine,
            scratchpad=replace(machine.scratchpad, width=32),
            sparsity=Sparsity("2:4", decoded, rate),
        )
        weights = s.constant(sparse_weights(s.rng, (256, 64), 0))
        s.nest(
            [64, 64, 256],
            [
                (s.buffer([64, 256]), [{0: 1}, {2: 1}], None, None),
                (weights, [{2: 1}, {1: 1}], None, None),
            ],
            (s.buffer([64, 64]), [{0: 1}, {1: 1}], None),
            reduce="add",
            reduced=[2],
            chain=lambda c: c.requantize(c.block.args[0], [{1: 1}], [64]),
        )
        module, (arena, consts) = s.module_with_main(), s.memories()
        expected = run_loops(module, arena, consts)
        cycles.append(compile_and_run(s, module, machine, arena, expected).cycles)
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] < 0.7 * cycles[0]
