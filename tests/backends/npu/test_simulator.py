"""The simulator computes what program order computes, beats no bound, and catches bad programs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.hand_code import (
    acc,
    clip,
    fill,
    flat,
    ins,
    load,
    loop,
    matmul,
    program,
    simulate_code,
    spm,
    store,
    tiny_machine,
)
from support.npu_programs import ARENA, CONSTS, ProgramMaker, machine
from support.queue_machine import Memories, run_in_order
from tilewright.backends.npu.encode import decode, encode
from tilewright.backends.npu.program import DecodedProgram
from tilewright.backends.npu.sim import bounds, counters, functional, hazards
from tilewright.backends.npu.sim.commands import commands_of, executions
from tilewright.backends.npu.sim.expand import expand
from tilewright.backends.npu.sim.timing import schedule
from tilewright.backends.npu.simulator import simulate
from tilewright.backends.targets.load import list_targets, load_target
from tilewright.backends.targets.machine import DATAFLOWS, Dram, Machine, MatrixUnit, Memory
from tilewright.dialects.errors import SimulationError
from tilewright.passes.npu.allocate_scratchpad import allocate
from tilewright.passes.npu.insert_sync import synchronize


def random_program(seed: int) -> DecodedProgram:
    code = ProgramMaker(Random(seed)).program()
    allocate(code, machine())
    synchronize(code)
    return decode(encode(code).code)


def run_on(code: DecodedProgram, target: Machine, memories: Memories) -> None:
    """The stages of `simulate` over given on-chip contents, so that nothing is poison."""
    sizes = {"spm": 4096, "acc": 4096, "dram": ARENA, "const": CONSTS}
    expansion = expand(code, target.control, sizes, ())
    steps = executions(expansion)
    commands = commands_of(expansion, target, len(code.semaphores))
    times = schedule(commands, target, code.semaphores)
    hazards.check_races(expansion, commands, times.order, steps, code.semaphores)
    spaces: dict[str, Any] = {s: memories.space(s) for s in sizes}
    core = functional.Memories(spaces, dict.fromkeys(sizes))
    functional.run(expansion, times.order, steps, [core])
    gaps = counters.gaps(expansion, times)
    for unit, row in counters.unit_cycles(expansion, commands.cost, times, gaps).items():
        assert sum(row.values()) == times.cycles, unit
        assert min(row.values()) >= 0, (unit, row)


@st.composite
def targets(draw: st.DrawFn) -> Machine:
    """Machines that differ in everything timing depends on."""

    def pick(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    base, window = machine(), pick(1, 8)
    dataflow = pick(*DATAFLOWS)
    depths = dict.fromkeys(base.control.queue_depths, pick(1, 2, 8))
    return replace(
        base,
        matrix=MatrixUnit(
            pick(2, 16),
            16,
            pick(1, 4),
            dataflow,
            pick(True, False),
            8,
            pick(1, 3),
            pick(0, 9),
            pick(1, 3, 16),
        ),
        scratchpad=Memory(4096, pick(1, 4), pick(1, 2), pick(4, 16), pick(1, 8)),
        accumulator=Memory(4096, pick(1, 2), pick(1, 2), pick(16, 64)),
        dram=Dram(pick(0.7, 3.0, 64.0), pick(16, 64), pick(0, 100), pick(0, 50), window, window),
        control=replace(
            base.control, issue_cycles=pick(0, 3), queue_depths=depths, config_cycles=pick(0, 4)
        ),
        dma_bytes_per_cycle=pick(1.0, 16.0),
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), targets())
def test_same_bytes_as_program_order_on_any_machine(seed: int, target: Machine) -> None:
    code = random_program(seed)
    start = Memories.random(seed, ARENA, CONSTS, 4096, 4096)
    expected = start.copy()
    run_in_order(code, expected)
    run_on(code, target, start)  # no queue is too short: signals precede waits in the program
    for space in ("dram", "spm", "acc"):
        assert np.array_equal(start.space(space), expected.space(space)), space


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), targets())
def test_no_bound_is_beaten(seed: int, target: Machine) -> None:
    code = random_program(seed)
    arena, consts = np.zeros(ARENA, np.uint8), np.zeros(CONSTS, np.uint8)
    result = simulate(code, target, arena, consts, check=False, run=False)
    assert result.cycles >= result.lower_bound_cycles
    for layer in result.layers:
        assert layer.cycles >= layer.lower_bound_cycles
        assert 0 <= layer.start <= layer.end <= result.cycles
    assert sum(layer.exclusive_cycles for layer in result.layers) in (0, result.cycles)
    assert sum(layer.compulsory_bytes for layer in result.layers) == result.compulsory_bytes
    assert sum(layer.macs for layer in result.layers) == result.macs
    assert (
        result.compulsory_bytes <= result.dram_bytes <= result.traffic.dram_bus_bytes
        or not result.dram_bytes
    )


@pytest.mark.parametrize(
    "code",
    [
        [load(64, target=1000)],
        [load(64, source=4090)],
        [fill(4, -1)],
        [fill(16), fill(16, 256, signals=[0]), matmul(16, 4, 4, c=400, waits=[0])],
        loop(20, ins("vfill", spm(0, (64, 1), loops=(64,)), value=0)),
    ],
)
def test_out_of_bounds(code: list[Any]) -> None:
    with pytest.raises(SimulationError, match=r"conv1.*bytes \[.*\) are outside a memory of"):
        simulate_code(*code, semaphores=[0])


def test_out_of_bounds_names_the_iteration() -> None:
    with pytest.raises(SimulationError, match=r"iteration \(19,\)"):
        simulate_code(loop(20, ins("vfill", spm(0, (64, 1), loops=(64,)), value=0)))


def test_misaligned_accumulators() -> None:
    bad = ins("vsum", spm(0, (4, 1), (4, 1)), acc(2, (4, 4)), p_rank=0, t_rank=1)
    with pytest.raises(SimulationError, match="aligned"):
        simulate_code(fill(16), bad)


def test_matmul_larger_than_the_array() -> None:
    with pytest.raises(SimulationError, match=r"weights are more than 1 tiles of 4 x 4"):
        simulate_code(
            fill(64), fill(64, 256, signals=[0]), matmul(4, 5, 4, waits=[0]), semaphores=[0]
        )


def test_absurd_loop_counts_are_refused() -> None:
    with pytest.raises(SimulationError, match="more than 5000000 instructions"):
        simulate_code(loop(2**30, fill(4)))


def test_slots_rotate_over_nested_loops() -> None:
    """Three slots over the running count of a 2 x 2 nest: 0, 1, 2, 0."""
    slot = {"slots": 3, "slot_stride": 16, "slot_level": 2}
    arena = np.arange(4096).astype(np.uint8)
    body = ins("load", flat(0, 4, loops=(200, 100)), spm(0, (4, 1), **slot), element=1)
    keep = ins("store", flat(2048, 48), spm(0, (48, 1)), element=1, waits=[0])
    done = ins("sync", queue=0, signals=[0])
    simulate_code(loop(2, *loop(2, body)), done, keep, semaphores=[0], arena=arena, check=False)
    want = np.arange(4096).astype(np.uint8)
    assert [arena[2048 + 16 * s] for s in range(3)] == [want[300], want[100], want[200]]


def test_results_are_json_and_rows_add_up() -> None:
    import json

    code = [
        load(64, signals=[0], layer=0),
        clip(64, 0, 512, waits=[0], signals=[1], layer=1),
        store(64, 256, 512, waits=[1], layer=1),
    ]
    result = simulate_code(*code, semaphores=[0, 0], trace=True)
    summary = json.loads(json.dumps(result.to_json()))
    assert [row["name"] for row in summary["layers"]] == ["conv1", "relu1 + add1"]
    assert summary["layers"][1]["nodes"] == ["relu1", "add1"]
    assert summary["dram_bytes"] == 128
    assert summary["layers"][0]["unit"] == "load"


def test_trace_is_valid_and_complete() -> None:
    code = [load(64, signals=[0]), clip(64, 0, 512, waits=[0], layer=1)]
    result = simulate_code(*code, semaphores=[0], trace=True)
    assert result.trace is not None
    events = result.trace["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    for e in events:
        assert {"ph", "pid", "tid", "name"} <= e.keys()
        assert e["ph"] in "MXC"
    assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in slices)
    assert {"load conv1", "vclip relu1 + add1", "wait_load", "latency"} <= {
        e["name"] for e in slices
    }
    work = next(e for e in slices if e["name"] == "load conv1")
    assert (work["ts"], work["dur"]) == (0.011, 0.016)  # cycles 11 to 27 at 1 GHz
    for tid in {e["tid"] for e in slices}:  # slices of a track do not overlap
        row = sorted((e["ts"], e["dur"]) for e in slices if e["tid"] == tid)
        assert all(a + d <= b + 1e-9 for (a, d), (b, _) in pairwise(row))
    counters_ = [e["args"]["bytes"] for e in events if e["ph"] == "C"]
    assert max(counters_) == 4.0
    assert counters_[-1] == 0.0


def test_compulsory_bytes() -> None:
    """Constants count once however often they are loaded; what the program wrote is no input."""
    code = [
        loop(3, load(64, space="const")),  # 64 distinct bytes
        load(32, source=16, signals=[0]),
        load(32, source=32, target=64),  # 48 distinct bytes of input
        store(16, target=512, waits=[0], signals=[1]),
        load(16, source=512, waits=[1]),  # could have stayed on chip
        store(8, target=600),
    ]
    result = simulate_code(*code, semaphores=[0, 0], check=False)
    assert result.compulsory_bytes == 64 + 48 + 8
    named = simulate_code(*code, semaphores=[0, 0], check=False, outputs=[(512, 520)])
    assert named.compulsory_bytes == 64 + 48 + 8
    empty = np.zeros(4096, np.uint8)
    given = simulate(
        program(*code, semaphores=[0, 0]),
        tiny_machine(),
        empty,
        empty,
        check=False,
        compulsory_bytes=4000,
    )
    assert given.lower_bound_cycles == 1000


@pytest.mark.parametrize("name", list_targets())
def test_every_shipped_target_simulates(name: str) -> None:
    target = load_target(name)
    assert target is not None
    arena = np.arange(4096).astype(np.uint8)
    code = [
        load(64, signals=[0]),
        clip(64, 0, 128, waits=[0], signals=[1]),
        store(64, 1024, 128, waits=[1]),
    ]
    result = simulate_code(*code, semaphores=[0, 0], machine=target, arena=arena)
    assert np.array_equal(arena[1024:1088], arena[:64])
    assert result.cycles > target.dram.read_latency + target.dram.write_latency


def test_cores_count_in_bounds_and_utilisation() -> None:
    """One core runs; peak and bandwidth are of both."""
    code = [fill(32), fill(16, 256, signals=[0]), matmul(8, 4, 4, waits=[0])]
    one = simulate_code(*code, semaphores=[0])
    two = simulate_code(*code, semaphores=[0], machine=tiny_machine(cores=2))
    assert two.cycles == one.cycles
    assert two.utilization == one.utilization / 2


def test_arrays_must_be_bytes() -> None:
    with pytest.raises(ValueError, match="arena must be"):
        simulate(program(fill(4)), tiny_machine(), np.zeros(4, np.int8), np.zeros(4, np.uint8))


def test_lower_bound_takes_the_largest() -> None:
    target = tiny_machine()
    assert bounds.lower_bound(target, 1600, 10.0, 0) == 100
    assert bounds.lower_bound(target, 1600, 200.5, 0) == 201
    assert bounds.lower_bound(target, 1600, 10.0, 4001) == 1001
