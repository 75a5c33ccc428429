"""Races and poison: conflicting accesses that nothing orders, and bytes that were never written."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.hand_code import clip, fill, ins, load, matmul, simulate_code, store
from support.npu_programs import ARENA, CONSTS, machine
from support.queue_machine import Memories, run_in_order
from tilewright.backends.npu.program import DecodedProgram
from tilewright.backends.npu.sim.footprint import footprint, shadow_view
from tilewright.dialects.errors import SimulationError

from .test_simulator import random_program, run_on


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_removing_a_wait_is_seen_as_a_race_or_changes_nothing(seed: int) -> None:
    """Drop one wait: either a race (or deadlock) is reported, or results are still right."""
    code = random_program(seed)
    random = Random(seed)
    waiting = [i for i, x in enumerate(code.instructions) if x.waits]
    if not waiting:
        return
    victim = random.choice(waiting)
    body = list(code.instructions)
    body[victim] = replace(body[victim], waits=body[victim].waits[1:])
    start = Memories.random(seed, ARENA, CONSTS, 4096, 4096)
    expected = start.copy()
    run_in_order(code, expected)
    try:
        run_on(DecodedProgram(code.semaphores, tuple(body)), machine(), start)
    except SimulationError as error:
        assert "race" in str(error) or "deadlock" in str(error)
        return
    assert np.array_equal(start.arena, expected.arena)
    assert np.array_equal(start.spm, expected.spm)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(-40, 40)), max_size=4),
    st.sampled_from([1, 4]),
)
def test_footprint_is_exactly_the_bytes(dims: list[tuple[int, int]], element: int) -> None:
    want = np.zeros(2000, bool)
    for index in np.ndindex(*(n for n, _ in dims)):
        begin = 1000 + sum(i * s for i, (_, s) in zip(index, dims, strict=True))
        want[begin : begin + element] = True
    got = np.zeros(2000, bool)
    shadow_view(got, 1000, footprint(tuple(dims), element))[...] = True
    assert np.array_equal(got, want)


def test_race_names_both_commands_and_layers() -> None:
    with pytest.raises(SimulationError) as caught:
        simulate_code(load(64, layer=0), clip(4, 0, 512, layer=1), fill(16, 32, layer=2))
    message = str(caught.value)
    assert "race on bytes of spm" in message
    assert "load (instruction 0, layer 'conv1')" in message
    assert "layer 'relu1' + 'add1'" in message


def test_write_after_read_is_a_race() -> None:
    """The second load overwrites what the store may still be reading."""
    code = [load(64, signals=[0]), store(64, target=256, waits=[0]), load(64)]
    with pytest.raises(
        SimulationError,
        match=r"race .*read by store \(instruction 1.*write by load \(instruction 2",
    ):
        simulate_code(*code, semaphores=[0])


def test_order_is_transitive() -> None:
    """load -> vector -> store: the store is ordered after the load without waiting for it."""
    code = [
        load(64, signals=[0]),
        clip(4, 0, 512, waits=[0], signals=[1]),
        store(64, target=256, waits=[1]),
        store(4, target=512, source=512),
    ]
    simulate_code(*code, semaphores=[0, 0])


def test_race_through_dram() -> None:
    code = [
        fill(16),
        ins("sync", queue=3, signals=[0]),
        store(16, target=64, waits=[0]),
        load(16, source=64, target=256),
    ]
    with pytest.raises(SimulationError, match="race on bytes of dram"):
        simulate_code(*code, semaphores=[0])
    ordered = [
        *code[:2],
        store(16, target=64, waits=[0], signals=[1]),
        load(16, source=64, target=256, waits=[1]),
    ]
    simulate_code(*ordered, semaphores=[0, 0])


def test_initial_credits_order_nothing() -> None:
    """A wait satisfied by an initial count says nothing about the load."""
    with pytest.raises(SimulationError, match="race"):
        simulate_code(load(64, signals=[0]), clip(4, 0, 512, waits=[0]), semaphores=[1])


def test_poison() -> None:
    with pytest.raises(
        SimulationError,
        match=r"vclip \(instruction 1, layer 'conv1'\).*a reads bytes of spm .*never written",
    ):
        simulate_code(load(60, signals=[0]), clip(64, 0, 512, waits=[0]), semaphores=[0])
    with pytest.raises(SimulationError, match="acc reads bytes of acc"):
        code = [fill(16), fill(16, 256, signals=[0]), matmul(4, 4, 4, waits=[0], overwrite=-1)]
        simulate_code(*code, semaphores=[0])


def test_poison_in_the_arena() -> None:
    valid = np.zeros(4096, bool)
    valid[:60] = True
    with pytest.raises(SimulationError, match="src reads bytes of dram"):
        simulate_code(load(64), arena_valid=valid)
    valid[60:64] = True
    simulate_code(load(64), arena_valid=valid)


def test_stored_bytes_become_valid() -> None:
    valid = np.zeros(4096, bool)
    simulate_code(
        fill(8, signals=[0]), store(8, target=100, waits=[0]), semaphores=[0], arena_valid=valid
    )
    assert np.flatnonzero(valid).tolist() == list(range(100, 108))
