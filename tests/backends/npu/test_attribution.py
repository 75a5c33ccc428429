"""Every cycle of every unit belongs to one layer, and is counted once."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine
from tilewright.backends.npu.encode import decode, encode
from tilewright.backends.npu.sim.attribution import KINDS, moments
from tilewright.backends.npu.simulator import simulate
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.insert_sync import synchronize

completions = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=1, max_size=20)


@given(completions, st.integers(0, 5))
def test_moments_are_advances_of_the_last_completion(
    done: list[tuple[int, int]], more: int
) -> None:
    cycles = max(t for _, t in done) + more
    owned = moments(np.array([x for x, _ in done]), np.array([t for _, t in done]), cycles)
    expected, frontier, last = [0] * 4, 0, 0
    for layer, t in sorted(done, key=lambda x: x[1]):
        expected[layer] += t - frontier
        frontier, last = t, layer
    expected[last] += more
    assert owned.cycles(4) == expected


def test_the_example_of_the_module() -> None:
    owned = moments(np.array([1, 2, 1]), np.array([100, 110, 180]), 180)
    assert owned.cycles(3) == [0, 170, 10]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32))
def test_layers_add_up_to_units(seed: int) -> None:
    code = ProgramMaker(Random(seed)).program()
    allocate(code, machine())
    synchronize(code)
    arena, consts = np.zeros(ARENA, np.uint8), np.zeros(CONSTS, np.uint8)
    result = simulate(decode(encode(code).code), machine(), arena, consts, check=False, run=False)
    for unit in ("load", "store", "matrix", "vector"):
        total = dict.fromkeys(KINDS, 0)
        for layer in result.layers:
            kinds = layer.attribution.get(unit, {})
            assert sum(kinds.values()) == layer.exclusive_cycles * result.cores
            assert min(kinds.values(), default=0) >= 0
            for kind, n in kinds.items():
                total[kind] += n
        rounding = len(result.layers) + 1
        at_work = ("busy", "bank", "dram", "network", "other")
        work = sum(total[k] for k in at_work)
        assert abs(work - sum(result.units[unit].get(k, 0) for k in at_work)) <= rounding
        for kind in set(KINDS) - set(at_work):
            assert total[kind] == result.units[unit].get(kind, 0), (unit, kind)
    for layer in result.layers:
        assert sum(layer.work.values()) == sum(layer.busy.values())
        assert layer.weight_bytes <= layer.dram_bytes <= layer.bus_bytes or not layer.dram_bytes
