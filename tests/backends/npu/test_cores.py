"""Programs of several cores: what they compute, how they are timed, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.hand_code import clip, fill, flat, ins, load, loop, program, spm, tiny_machine
from support.multicore import BYTES, CoredMaker, chain_tokens, chained, cored_machine, place
from support.npu_programs import ARENA, CONSTS
from tilewright.backends.npu.encode import decode, encode
from tilewright.backends.npu.program import DecodedProgram, Instruction
from tilewright.backends.npu.sim import functional
from tilewright.backends.npu.sim.commands import executions
from tilewright.backends.npu.sim.expand import expand
from tilewright.backends.npu.sim.functional import POISON
from tilewright.backends.npu.simulator import SimulationResult, simulate
from tilewright.backends.targets.machine import (
    DATAFLOWS,
    Control,
    Dram,
    Machine,
    MatrixUnit,
    Network,
)
from tilewright.dialects.errors import SimulationError
from tilewright.dialects.npu import ProgramOp
from tilewright.dialects.semantics.npu import run

NAMES = (("conv1",), ("relu1",))
QUAD = tiny_machine(cores=4, network=Network(4.0, 6))


def cored(count: int, *body: Instruction | list[Instruction], inner: int = 1) -> list[Instruction]:
    """`body` on `count` cores."""
    inside = [i for part in body for i in (part if isinstance(part, list) else [part])]
    return [ins("cores", count=count, inner=inner), *inside, ins("end")]


def send(n: int, source: int, target: int, **kw: object) -> Instruction:
    """Send `n` bytes; core c's copy goes to `target` + n * c."""
    return ins("send", spm(source, (n, 1)), spm(target, (n, 1), loops=(n,)), element=1, **kw)  # pyright: ignore[reportArgumentType]


def on_cores(
    count: int, *body: Instruction | list[Instruction], semaphores: int = 0,
    target: Machine = QUAD, arena: np.ndarray | None = None,
    check: bool = True, trace: bool = False, inner: int = 1,
) -> SimulationResult:  # fmt: skip
    """Simulate; counters must add up over all cores."""
    arena = np.zeros(4096, np.uint8) if arena is None else arena
    code = program(cored(count, *body, inner=inner), semaphores=[0] * semaphores)
    consts = np.arange(4096).astype(np.uint8)
    result = simulate(code, target, arena, consts, layers=NAMES, check=check, trace=trace)
    add_up(result)
    return result


def add_up(result: SimulationResult) -> None:
    """Busy and stalls of each unit are cycles x cores; no bound is beaten."""
    for unit, row in result.units.items():
        assert sum(row.values()) == result.cycles * result.cores, unit
        assert min(row.values()) >= 0, (unit, row)
    assert result.cycles >= result.lower_bound_cycles
    assert sum(layer.exclusive_cycles for layer in result.layers) in (0, result.cycles)


def reference(code: ProgramOp, cores: int, arena: np.ndarray, consts: np.ndarray) -> None:
    """Run the reference semantics on memories as the simulator's begin."""
    poison = {s: np.full(BYTES, POISON, np.uint8) for s in ("spm", "acc")}
    copies = [{s: m.copy() for s, m in poison.items()} for _ in range(cores)]
    run(code, arena, consts, copies)


def data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, ARENA, np.uint8), rng.integers(0, 256, CONSTS, np.uint8)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_same_bytes_as_the_reference_with_loops(seed: int, cores: int) -> None:
    """Loops, slots, masks, broadcasts and sends resolve alike: executed in the same order."""
    code = CoredMaker(Random(seed), cores, loops=True).program()
    place(code)
    code.verify()
    expected, consts = data(seed)
    arena = expected.copy()
    reference(code, cores, expected, consts)
    machine_code, target = chained(code), cored_machine()
    sizes = {"spm": BYTES, "acc": BYTES, "dram": ARENA, "const": CONSTS}
    expansion = expand(machine_code, target.control, sizes, ())
    on_chip = functional.memories(BYTES, BYTES, arena, consts, None, False, cores)
    functional.run(expansion, list(expansion.in_step()), executions(expansion), on_chip)
    assert np.array_equal(arena, expected)
    add_up(simulate(machine_code, target, arena, consts, check=False))


@st.composite
def targets(draw: st.DrawFn) -> Machine:
    """Machines of four cores that differ in what cores share and what limits each."""

    def pick(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    base = cored_machine()
    rate, window = pick(0.7, 3.0, 64.0), pick(1, 8)
    array = MatrixUnit(
        16, 16, 1, pick(*DATAFLOWS), pick(True, False), 1, pick(1, 3), pick(0, 9), pick(1, 3, 16)
    )
    return replace(
        base,
        matrix=array,
        scratchpad=replace(base.scratchpad, banks=pick(1, 4), ports=pick(1, 2), width=pick(4, 16)),
        dram=Dram(rate, pick(16, 64), pick(0, 100), pick(0, 50), window, window),
        control=replace(base.control, config_cycles=pick(0, 4)),
        network=Network(pick(0.5, 3.0, 64.0), pick(0, 20)),
        dma_bytes_per_cycle=pick(1.0, 16.0),
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), targets(), st.booleans())
def test_counters_add_up_on_any_machine(
    seed: int, cores: int, target: Machine, apart: bool
) -> None:
    """With one command at a time, and with all that queues allow."""
    code = CoredMaker(Random(seed), cores, loops=True).program()
    place(code)
    free = decode(encode(code).code)
    arena, consts = data(seed)
    one = chained(code) if apart else free
    result = simulate(one, target, arena, consts, check=False, run=False)
    add_up(result)
    again = simulate(one, target, arena, consts, check=False, run=False)
    assert result == again


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_tokens_of_all_cores(seed: int, cores: int) -> None:
    """The same through tokens; races are of cores that write the same bytes in one command."""
    code = CoredMaker(Random(seed), cores, loops=False).program()
    place(code)
    chain_tokens(code)
    code.verify()
    expected, consts = data(seed)
    arena = expected.copy()
    reference(code, cores, expected, consts)
    target = cored_machine(6)
    try:
        simulate(encode(code), target, arena.copy(), consts)
    except SimulationError as error:
        text = str(error)
        assert "race" in text or "never written" in text
        if "race" in text:  # within one command: nothing is left to order
            first, second = (part.split(",")[0] for part in text.split("by ")[1:])
            assert first == second, text
            return
    result = simulate(encode(code), target, arena, consts, check=False)
    add_up(result)
    assert np.array_equal(arena, expected)


def test_one_core_is_as_without() -> None:
    """`cores 1` costs the fetch of two more instructions and nothing else."""
    body = [load(64, signals=[0]), clip(64, 0, 512, waits=[0])]
    arena = np.arange(4096).astype(np.uint8)
    plain = simulate(
        program(*body, semaphores=[0]), tiny_machine(), arena, arena, layers=(("conv1",),)
    )
    one = on_cores(1, *body, semaphores=1, target=tiny_machine())
    assert one.cycles == plain.cycles + 1
    assert one.units["vector"]["busy"] == plain.units["vector"]["busy"]


def test_cores_share_dram() -> None:
    """Four cores load 64 bytes each; DRAM moves 4 x 4 bytes a cycle, a DMA 8.

    `cores` and the load take a cycle each: data from 12 on.  One core alone takes 64 / 8 = 8 cycles
    (16 at its share); all four want 32 bytes a cycle of 16 and take 16.
    """
    body = load(64)
    wide = replace(QUAD, scratchpad=replace(QUAD.scratchpad, width=16))
    one, four = (on_cores(n, body, target=wide) for n in (1, 4))
    assert one.cycles == 12 + 8
    assert four.cycles == 12 + 16
    assert four.units["load"] == {
        **dict.fromkeys(four.units["load"], 0), "fetch": 8, "latency": 40, "busy": 32, "dram": 32,
    }  # fmt: skip
    assert four.dram_bytes == 4 * 64
    assert four.cores == 4


def test_strides_at_level_0_are_per_core() -> None:
    """Each core loads and stores its own 16 bytes."""
    arena = np.arange(4096).astype(np.uint8)
    fetch = ins("load", flat(0, 16, loops=(16,)), spm(0, (16, 1)), element=1, signals=[0])
    keep = ins("store", flat(1024, 16, loops=(16,)), spm(0, (16, 1)), element=1, waits=[0])
    on_cores(4, fetch, keep, semaphores=1, arena=arena)
    assert np.array_equal(arena[1024:1088], np.arange(64))


def test_slots_count_per_core() -> None:
    """Two slots over three iterations: 0, 1, 0 in every core."""
    slots = {"slots": 2, "slot_stride": 16, "slot_level": 2}
    box = flat(0, 4, loops=(100, 4))
    body = ins("load", box, spm(0, (4, 1), **slots), element=1)
    done = ins("sync", queue=0, signals=[0])
    keep = ins("store", flat(2048, 32, loops=(32,)), spm(0, (32, 1)), element=1, waits=[0])
    arena = np.arange(4096).astype(np.uint8)
    on_cores(2, loop(3, body), done, keep, semaphores=1, arena=arena, check=False)
    for core in range(2):
        begin = 2048 + 32 * core
        assert arena[begin : begin + 4].tolist() == [100 * core + 8 + i for i in range(4)]
        assert arena[begin + 16 : begin + 20].tolist() == [100 * core + 4 + i for i in range(4)]


def test_a_grid_has_a_stride_for_each_direction() -> None:
    """Cores (0, 0), (0, 1), (1, 0), (1, 1) of a tensor of 2 x 32 bytes: rows 32 apart, columns 8.

    A quarter cannot be addressed by the core's number: it lies at 0, 8, 32 and 40.
    """
    arena = np.arange(4096).astype(np.uint8)
    fetch = ins("load", flat(0, 8, loops=(32, 8)), spm(0, (8, 1)), element=1, signals=[0])
    keep = ins("store", flat(1024, 8, loops=(16, 8)), spm(0, (8, 1)), element=1, waits=[0])
    on_cores(4, fetch, keep, semaphores=1, arena=arena, inner=2)
    assert arena[1024:1056].tolist() == [b + i for b in (0, 8, 32, 40) for i in range(8)]


def test_slots_and_masks_of_a_grid() -> None:
    """Slots count the loop alone, in level 2; a reduction overwrites in its first iteration."""
    slots = {"slots": 2, "slot_stride": 16, "slot_level": 3}
    body = ins("load", flat(0, 4, loops=(100, 50, 4)), spm(0, (4, 1), **slots), element=1)
    done = ins("sync", queue=0, signals=[0])
    keep = ins("store", flat(2048, 32, loops=(64, 32)), spm(0, (32, 1)), element=1, waits=[0])
    arena = np.arange(4096).astype(np.uint8)
    on_cores(4, loop(3, body), done, keep, semaphores=1, arena=arena, check=False, inner=2)
    for core in range(4):
        begin = 2048 + 32 * core
        first = 100 * (core // 2) + 50 * (core % 2)
        assert arena[begin : begin + 4].tolist() == [first + 8 + i for i in range(4)]
        assert arena[begin + 16 : begin + 20].tolist() == [first + 4 + i for i in range(4)]


def test_a_grid_times_as_a_row_of_cores() -> None:
    """Who runs where is all that a grid changes: the same addresses take the same time."""
    row, grid = (
        on_cores(4, load(16), send(16, 0, 512), check=False, inner=inner) for inner in (1, 2)
    )
    assert (grid.cycles, grid.units) == (row.cycles, row.units)


def test_a_race_in_a_grid_names_the_core() -> None:
    """Columns write 16 bytes each, rows the same: core 2 meets core 0."""
    with pytest.raises(SimulationError, match=r"store .*core 0\).* store .*core 2\)"):
        on_cores(4, *keep_same(16), semaphores=1, inner=2, arena=np.arange(4096).astype(np.uint8))


def keep_same(step: int) -> list[Instruction]:
    """Core c loads 16 bytes from `step` * c on; columns store 16 bytes each, rows the same."""
    mine = ins(
        "load", flat(512, 16, loops=(2 * step, step)), spm(0, (16, 1)), element=1, signals=[0]
    )
    return [mine, ins("store", flat(0, 16, loops=(0, 16)), spm(0, (16, 1)), element=1, waits=[0])]


def test_equal_stores_are_a_race() -> None:
    """All cores store the same values: nothing orders them."""
    with pytest.raises(SimulationError, match=r"race on bytes of dram.* write by store .* store"):
        on_cores(4, *keep_same(0), semaphores=1, inner=2, arena=np.zeros(4096, np.uint8))


def test_a_core_that_reads_what_others_store_waits_for_them() -> None:
    """Equal or not: before the store it would have read something else."""
    fetch = ins("load", flat(0, 16, loops=(8,)), spm(64, (16, 1)), element=1, waits=[1])
    mine = ins("load", flat(512, 16, loops=(8,)), spm(0, (16, 1)), element=1, signals=[0])
    keep = ins("store", flat(0, 16, loops=(8,)), spm(0, (16, 1)), element=1, waits=[0], signals=[1])
    with pytest.raises(SimulationError, match=r"race on bytes of dram.*(store|load)"):
        on_cores(2, mine, keep, fetch, semaphores=2)


def gather(waits: list[int]) -> list[Instruction | list[Instruction]]:
    """Core c fills 16 bytes and sends them to all; each then stores what all have sent."""
    mine = ins("load", flat(0, 16, loops=(16,)), spm(0, (16, 1)), element=1, signals=[0])
    keep = ins("store", flat(1024, 64, loops=(64,)), spm(512, (64, 1)), element=1, waits=waits)
    return [mine, send(16, 0, 512, waits=[0], signals=[1], all_cores=1), keep]


def test_all_gather() -> None:
    arena = np.arange(4096).astype(np.uint8)
    result = on_cores(4, *gather([1, 2, 3, 4]), semaphores=5, arena=arena)
    for core in range(4):
        begin = 1024 + 64 * core
        assert np.array_equal(arena[begin : begin + 64], np.arange(64))
    assert result.traffic.network_bytes == 4 * 3 * 16
    assert result.energy["network"] == 192 * QUAD.energy.network_byte


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_a_core_that_is_not_waited_for_is_a_race(missing: int) -> None:
    with pytest.raises(
        SimulationError, match=rf"race on bytes of spm.* send .*core {missing - 1}\)"
    ):
        on_cores(4, *gather([s for s in (1, 2, 3, 4) if s != missing]), semaphores=5)


def test_network_ports_are_shared() -> None:
    """Three cores' sends arrive at each port of 4 bytes a cycle.

    Fill: issued 2, 2 + 4 cycles: 8.  A send of 16 bytes alone takes 16 / 4 = 4 cycles at its port;
    each port is asked for 3 x 4: 12 cycles, until 20, and 6 more to arrive.
    """
    result = on_cores(
        4, fill(16, signals=[0]), send(16, 0, 512, waits=[0]), semaphores=1, check=False
    )
    assert result.cycles == 8 + 12 + 6
    store = result.units["store"]
    assert (store["busy"], store["network"], store["drain"]) == (16, 32, 24)


def along(levels: int, n: int = 16, **kw: object) -> Instruction:
    """In a grid of 2 x 2, send `n` bytes to 512 + 2 n * row + n * column."""
    given = {"element": 1, "levels": levels, **kw}
    return ins("send", spm(0, (n, 1)), spm(512, (n, 1), loops=(2 * n, n)), **given)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("levels", "receivers"), [(0, 3), (1, 1), (2, 1), (3, 3)]
)  # fmt: skip
def test_a_send_along_a_level_loads_the_ports_of_that_row_only(levels: int, receivers: int) -> None:
    """As above, but on a grid of 2 x 2: a port of 4 bytes a cycle has `receivers` senders.

    16 bytes take 4 cycles from one of them, 12 from three; from 8 on, and 6 more to arrive.
    """
    parts = [fill(16, signals=[0]), along(levels, waits=[0])]
    result = on_cores(4, *parts, semaphores=1, check=False, inner=2)
    assert result.cycles == 8 + 4 * receivers + 6
    store = result.units["store"]
    assert (store["busy"], store["network"], store["drain"]) == (16, 16 * (receivers - 1), 24)
    assert result.traffic.network_bytes == 4 * receivers * 16


def test_what_goes_along_a_level_arrives_there_only() -> None:
    """Rows of the grid exchange 16 bytes; what lies in other rows was never written."""
    mine = ins("load", flat(0, 16, loops=(32, 16)), spm(0, (16, 1)), element=1, signals=[0])
    parts = [mine, along(2, waits=[0], signals=[1], all_cores=1)]
    arena = np.arange(4096).astype(np.uint8)
    row = ins(
        "store", flat(1024, 32, loops=(128, 64)), spm(512, (32, 1), loops=(32, 0)),
        element=1, waits=[1, 2, 3, 4],
    )  # fmt: skip
    on_cores(4, *parts, row, semaphores=5, arena=arena, inner=2)
    for core in range(4):
        begin = 32 * (core // 2)
        assert np.array_equal(arena[1024 + 64 * core :][:32], np.arange(begin, begin + 32))
    everything = ins(
        "store", flat(1024, 64, loops=(128, 64)), spm(512, (64, 1)), element=1, waits=[1, 2, 3, 4]
    )
    with pytest.raises(SimulationError, match="never written"):
        on_cores(4, *parts, everything, semaphores=5, inner=2)


def test_a_load_along_a_level_takes_the_network_of_its_receivers() -> None:
    """Core c loads 16 bytes for its column: twice as many cross DRAM's pins as for all."""
    arena = np.arange(4096).astype(np.uint8)
    fetch = ins(
        "load", flat(0, 16, loops=(16, 32)), spm(0, (16, 1), loops=(16, 0)),
        element=1, broadcast=1, levels=1, signals=[0], all_cores=1,
    )  # fmt: skip
    keep = ins(
        "store", flat(1024, 32, loops=(128, 64)), spm(0, (32, 1)), element=1, waits=[0, 1, 2, 3]
    )
    result = on_cores(4, fetch, keep, semaphores=4, arena=arena, inner=2)
    for core in range(4):
        begin = 32 * (core % 2)
        assert np.array_equal(arena[1024 + 64 * core :][:32], np.arange(begin, begin + 32))
    assert (result.traffic.dram_read_bytes, result.traffic.network_bytes) == (64, 64)


def test_broadcast_loads_read_dram_once() -> None:
    """Core c's quarter reaches all cores; 64 bytes cross DRAM's pins, 3 x 64 the network."""
    arena = np.arange(4096).astype(np.uint8)
    fetch = ins(
        "load", flat(0, 16, loops=(16,)), spm(0, (16, 1), loops=(16,)),
        element=1, broadcast=1, signals=[0], all_cores=1,
    )  # fmt: skip
    keep = ins("store", flat(1024, 64, loops=(64,)), spm(0, (64, 1)), element=1, waits=[0, 1, 2, 3])
    result = on_cores(4, fetch, keep, semaphores=4, arena=arena)
    for core in range(4):
        assert np.array_equal(arena[1024 + 64 * core :][:64], np.arange(64))
    assert result.traffic.dram_read_bytes == 64
    assert result.traffic.network_bytes == 192


def test_more_cores_than_the_machine_has() -> None:
    with pytest.raises(SimulationError, match="the program is for 4 cores, tiny has 2"):
        on_cores(4, fill(4), target=tiny_machine(cores=2))


def test_no_network() -> None:
    with pytest.raises(SimulationError, match=r"send .*tiny has no network"):
        on_cores(2, send(4, 0, 512), target=tiny_machine(cores=2))


def test_deadlock_names_the_core() -> None:
    with pytest.raises(SimulationError) as caught:
        on_cores(2, fill(4, signals=[0]), clip(4, waits=[0, 1]), semaphores=2)
    assert "core 1, vector: vclip" in str(caught.value)
    assert "waits for semaphore 1" in str(caught.value)


def test_a_full_queue_stops_its_own_core_only() -> None:
    control = Control(8.0, 1, {"load": 1, "store": 8, "matrix": 8, "vector": 8})
    result = on_cores(2, load(16), load(16, 16, 64), target=replace(QUAD, control=control))
    assert result.units["control"]["queue_full"] > 0


def test_trace_has_a_group_of_tracks_per_core() -> None:
    result = on_cores(4, *gather([1, 2, 3, 4]), semaphores=5, trace=True)
    assert result.trace is not None
    names = {
        e["pid"]: e["args"]["name"]
        for e in result.trace["traceEvents"]
        if e["name"] == "process_name"
    }
    assert names == {c + 1: f"NPU tiny core {c}" for c in range(4)}
    sends = [e for e in result.trace["traceEvents"] if e["name"].startswith("send")]
    assert sorted(e["pid"] for e in sends) == [1, 2, 3, 4]


def test_as_json() -> None:
    row = on_cores(4, *gather([1, 2, 3, 4]), semaphores=5).to_json()
    assert (row["cores"], row["network_bytes"]) == (4, 192)
    alone = simulate(
        DecodedProgram((), (fill(4), ins("halt"))),
        QUAD,
        np.zeros(8, np.uint8),
        np.zeros(8, np.uint8),
    ).to_json()
    assert "cores" not in alone
    assert "network" not in alone["units"]["load"]
