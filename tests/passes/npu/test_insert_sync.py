"""insert-sync: every interleaving the tokens allow computes what program order computes."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine
from support.queue_machine import Memories, run_in_order, run_interleaved

from tilewright.backends.npu.encode import decode, encode
from tilewright.dialects.errors import IRError
from tilewright.dialects.semantics import npu as semantics
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.insert_sync import synchronize


@given(st.integers(0, 2**32))
def test_interleavings_agree_with_program_order(seed: int) -> None:
    random = Random(seed)
    program = ProgramMaker(random).program()
    allocate(program, machine())
    synchronize(program)
    program.verify()
    decoded = decode(encode(program).code)
    start = Memories.random(seed, ARENA, CONSTS, 4096, 4096)
    expected = start.copy()
    run_in_order(decoded, expected)
    for _ in range(4):
        got = start.copy()
        counts = run_interleaved(decoded, got, random)
        assert counts == list(decoded.semaphores)
        assert np.array_equal(got.arena, expected.arena)
        assert np.array_equal(got.spm, expected.spm)
        assert np.array_equal(got.acc, expected.acc)
