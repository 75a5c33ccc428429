"""Golden timings, counted by hand.

The tiny machine: every instruction is one word, fetched in 1 cycle; DRAM moves 4 bytes a cycle in
bursts of 16, reads take 10 cycles, writes are acknowledged after 5; the array is 4 x 4,
weight-stationary, with fill 1 + 4 + 4 - 2 = 7; four lanes with a start-up of 2; banks of 256 bytes
with two ports of 4 bytes.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from support.hand_code import (
    acc,
    clip,
    fill,
    flat,
    ins,
    load,
    loop,
    matmul,
    simulate_code,
    spm,
    stalls,
    store,
    tiny_machine,
)
from tilewright.backends.npu.program import Instruction, Operand
from tilewright.backends.targets.machine import Control, Dram, MatrixUnit, Memory, VectorUnit
from tilewright.dialects.errors import SimulationError
from tilewright.dialects.npu.descriptors import TensorBox


def test_one_load() -> None:
    """Issued at 1, data arrive from 11 on, 64 bytes at 4 a cycle: ends at 27."""
    result = simulate_code(load(64))
    assert result.cycles == 27
    assert stalls(result, "load") == {"fetch": 1, "latency": 10, "busy": 16}
    assert stalls(result, "control") == {"busy": 2, "idle": 25}  # load and halt
    assert stalls(result, "matrix") == {"idle": 27}


def test_unaligned_load_touches_one_more_burst() -> None:
    """32 bytes from address 8 on lie in bursts 0, 1 and 2: 48 bytes on the bus, 12 cycles."""
    result = simulate_code(load(32, source=8))
    assert result.cycles == 11 + 12
    assert result.traffic.dram_bus_bytes == 48
    assert result.dram_bytes == 32


def test_rows_start_new_bursts() -> None:
    """4 rows of 4 bytes, 64 apart: 4 bursts of 16 bytes for 16 bytes of data, 16 cycles."""
    box = TensorBox(0, (4, 64), (64, 1), (0, 0), (1, 1), (4, 4), ((), ()))
    code = ins("load", Operand("dram", box), spm(0, (4, 4), (4, 1)), element=1)
    result = simulate_code(code)
    assert result.cycles == 11 + 16
    assert result.traffic.dram_bus_bytes == 64


def test_fill_needs_no_dram() -> None:
    """A box wholly outside its tensor is filled at 8 bytes a cycle without latency: 1 + 8."""
    box = TensorBox(0, (64,), (1,), (100,), (1,), (64,), ((),))
    result = simulate_code(ins("load", Operand("dram", box), spm(0, (64, 1)), element=1, fill=7))
    assert result.cycles == 9
    assert result.dram_bytes == result.traffic.dram_bus_bytes == 0


def test_store_is_acknowledged() -> None:
    """Fill takes 2 + 16/4 = 6 from cycle 1; the store works for 4 cycles and completes 5 later."""
    result = simulate_code(fill(16, signals=[0]), store(16, waits=[0]), semaphores=[0])
    assert result.cycles == 7 + 4 + 5
    assert stalls(result, "store") == {"fetch": 2, "wait_vector": 5, "busy": 4, "drain": 5}


def test_back_to_back_loads_hide_latency() -> None:
    """The second load's requests go out at 2: its data follow the first's (11..15) at once."""
    result = simulate_code(load(16), load(16, source=16, target=16))
    assert result.cycles == 19
    assert stalls(result, "load") == {"fetch": 1, "latency": 10, "busy": 8}


def test_outstanding_requests_limit_small_loads() -> None:
    """One request in flight: the second goes out when the first's data are in (15), + 10 + 4."""
    dram = Dram(4.0, 16, 10, 5, outstanding_reads=1, outstanding_writes=8)
    result = simulate_code(
        load(16), load(16, source=16, target=16), machine=tiny_machine(dram=dram)
    )
    assert result.cycles == 15 + 10 + 4
    assert stalls(result, "load") == {"fetch": 1, "latency": 20, "busy": 8}


def test_outstanding_requests_limit_one_large_load() -> None:
    """4 bursts, 2 in flight: the second pair returns one latency after the first; 16 bytes in 4.

    Work is max(64 / 4, (ceil(4 / 2) - 1) * 30) = 30 after a latency of 30.
    """
    dram = Dram(4.0, 16, 30, 5, outstanding_reads=2, outstanding_writes=8)
    assert simulate_code(load(64), machine=tiny_machine(dram=dram)).cycles == 1 + 30 + 30


CHAIN = [
    load(64, signals=[0]),
    matmul(4, 4, 4, a=0, b=16, waits=[0], signals=[1]),
    ins(
        "vrequant", acc(0, (4, 16), (4, 4)), spm(16, (4, 0), (4, 4)), spm(32, (4, 0), (4, 4)),
        spm(48, (4, 0), (4, 4)), spm(512, (4, 4), (4, 1)), lo=-128, hi=127, waits=[1], signals=[2],
    ),
    store(16, target=128, source=512, waits=[2]),
]  # fmt: skip


def chain_arena() -> np.ndarray:
    """Inputs 0..15; weights: the identity (shared with the bias); multiplier 2^30, shift 30."""
    arena = np.zeros(4096, np.uint8)
    arena[:16] = np.arange(16)
    arena[16:32] = np.eye(4, dtype=np.uint8).ravel()
    arena[32:48].view(np.int32)[:] = 1 << 30
    arena[48:64].view(np.int32)[:] = 30
    return arena


def test_chain_of_all_four_units() -> None:
    """Load ends at 27; preload 4, stream 4, fill 7: 42; requantise 2 + 16/4 = 6: 48; 4 + 5: 57."""
    arena = chain_arena()
    result = simulate_code(*CHAIN, semaphores=[0, 0, 0], arena=arena)
    assert result.cycles == 57
    assert stalls(result, "load") == {"fetch": 1, "latency": 10, "busy": 16, "idle": 30}
    assert stalls(result, "matrix") == {
        "fetch": 2, "wait_load": 25, "preload": 4, "busy": 4, "drain": 7, "idle": 15,
    }  # fmt: skip
    assert stalls(result, "vector") == {"fetch": 3, "wait_matrix": 39, "busy": 6, "idle": 9}
    assert stalls(result, "store") == {"fetch": 4, "wait_vector": 44, "busy": 4, "drain": 5}
    bias = arena[16:32].view(np.int32)
    want = np.arange(16).reshape(4, 4) + bias
    assert (arena[128:144].view(np.int8).reshape(4, 4) == np.clip(want, -128, 127)).all()


@pytest.mark.parametrize(
    ("kind", "reduction", "cycles"),
    [
        ("vsum", "lanes", 2 + 2 * 8),  # five results in two groups of four, eight taps
        ("vsum", "tree", 2 + 5 * 2 + 2),  # two groups of four taps for each, two levels
        ("vmax", "tree", 2 + 5 * 2 + 2),
    ],
)
def test_reductions_across_lanes(kind: str, reduction: str, cycles: int) -> None:
    """Five rows of eight bytes; the banks keep up: 10 accesses in 12 cycles or more."""
    out = spm(512, (5, 1), (1, 1)) if kind == "vmax" else acc(0, (5, 4), (1, 4))
    code = ins(kind, spm(0, (5, 8), (8, 1), (1, 1)), out, p_rank=1, t_rank=1)
    machine = tiny_machine(vector=VectorUnit(4, startup=2, reduction=reduction))
    result = simulate_code(fill(40, value=1), code, machine=machine)
    assert stalls(result, "vector")["busy"] == 2 + 10 + cycles


def pipeline(count: int) -> list[list[Instruction]]:
    """Load into one of two slots, multiply from it; two credits for the slots."""
    slots = {"slots": 2, "slot_stride": 64, "slot_level": 1}
    body = [
        ins(
            "load", flat(0, 64, loops=(64,)), spm(0, (64, 1), **slots),
            waits=[1], signals=[0], element=1,
        ),
        ins(
            "matmul", spm(0, (12, 4), (4, 1), **slots), spm(48, (4, 4), (4, 1), **slots),
            acc(0, (12, 16), (4, 4)), m_rank=1, waits=[0], signals=[1],
        ),
    ]  # fmt: skip
    return [loop(count, *body)]


def test_double_buffering_overlaps() -> None:
    """Both slots load back to back, 13..28..44 (issued at 2 and 5, latency 10, 16 cycles each).

    The loop and the load take a cycle each: issued 2.  Load 0: 12..28, load 1: 28..44.  Matmul 0:
    preload 28..32, stream 32..44, complete 51, which frees slot 0.  Load 2 asks at 51: 61..77.
     Matmul 1: preload 44..48, stream 48..60, complete 67.  Matmul 2: preload 77..81, stream
    ..93, complete 100.
    """
    result = simulate_code(*pipeline(3), semaphores=[0, 2])
    assert result.cycles == 100
    assert stalls(result, "load") == {
        "fetch": 2,
        "latency": 20,
        "busy": 48,
        "wait_matrix": 7,
        "idle": 23,
    }
    matrix = {"fetch": 3, "wait_load": 25 + 17, "preload": 12, "busy": 36, "drain": 7}
    assert stalls(result, "matrix") == matrix


def test_same_weights_are_kept() -> None:
    """The second matmul has the same weights: it streams right behind the first (no preload)."""
    fills = [fill(16, 0), fill(16, 256, signals=[0])]
    two = simulate_code(*fills, matmul(8, 2, 2, waits=[0]), matmul(8, 2, 2, c=256), semaphores=[0])
    one = simulate_code(*fills, matmul(8, 2, 2, waits=[0]), semaphores=[0])
    assert two.cycles == one.cycles + 8
    assert stalls(two, "matrix")["preload"] == 2


def test_preload_of_other_weights_is_hidden_when_double_buffered() -> None:
    """Streams of 8 cycles hide the next preload of 4; without double buffering it is paid."""
    fills = [fill(32, 0), fill(32, 256, signals=[0])]
    code = [*fills, matmul(8, 4, 4, waits=[0]), matmul(8, 4, 4, b=272, c=256)]
    hidden = simulate_code(*code, semaphores=[0])
    matrix = MatrixUnit(4, 4, double_buffered_weights=False)
    paid = simulate_code(*code, semaphores=[0], machine=tiny_machine(matrix=matrix))
    assert stalls(hidden, "matrix")["preload"] == 4
    assert stalls(paid, "matrix")["preload"] == 8
    assert paid.cycles == hidden.cycles + 4


@pytest.mark.parametrize(
    ("dataflow", "cycles"),
    [
        ("weight-stationary", 4 + 8 + 7),
        ("dot-product", 2 + 8 + 1),
        ("output-stationary", 4 + 8 + 7),
    ],
)
def test_dataflows(dataflow: str, cycles: int) -> None:
    """An 8 x 4 x 4 matmul after the fills end.

    Weight-stationary: preload 4, stream 8 rows, fill 7.  Dot-product: weights are read in
    16 / 4 / 2 = 2 cycles, then 8 rows, 1 cycle of scratchpad latency.  Output-stationary: two tiles
    of 4 rows, max(4 reductions, 4 rows shifted out) each, the first tile's swap 4, fill 7.
    """
    machine = tiny_machine(matrix=MatrixUnit(4, 4, dataflow=dataflow))
    code = [fill(32, 0), fill(16, 256, signals=[0])]
    before = simulate_code(*code, semaphores=[0], machine=machine)
    after = simulate_code(*code, matmul(8, 4, 4, waits=[0]), semaphores=[0], machine=machine)
    fills = (1 + 2 + 8) + (2 + 4)
    assert before.cycles == fills
    assert after.cycles == fills + cycles


def test_wide_array_takes_several_rows_a_cycle() -> None:
    """8 rows enter 4 at a time: 2 cycles.  (Scratchpad of 16 bytes x 2 ports keeps up.)"""
    wide = tiny_machine(
        matrix=MatrixUnit(4, 4, pixels=4),
        scratchpad=Memory(1024, 4, 2, 16),
        accumulator=Memory(512, 2, 2, 64),
    )
    code = [fill(32, 0), fill(16, 256, signals=[0]), matmul(8, 4, 4, waits=[0])]
    assert stalls(simulate_code(*code, semaphores=[0], machine=wide), "matrix")["busy"] == 2


def test_full_queue_stops_issue() -> None:
    """One place in the load queue: the second load is issued when the first completes (at 15).

    Then the matrix queue's sync, fetched behind it, is late as well, and nothing hides latency.
    """
    control = Control(8.0, 1, {"load": 1, "store": 8, "matrix": 8, "vector": 8})
    code = [load(16), load(16, source=16, target=16), fill(4, 512)]
    result = simulate_code(*code, machine=tiny_machine(control=control))
    assert result.cycles == 15 + 10 + 4
    assert stalls(result, "control") == {"busy": 4, "queue_full": 13, "idle": 12}
    assert stalls(result, "load") == {"fetch": 1, "latency": 20, "busy": 8}
    # ready at 2, held until 15, then one cycle each for the load's and its own fetch
    assert stalls(result, "vector") == {"fetch": 3, "queue_full": 13, "busy": 3, "idle": 10}


def test_dram_contention_is_shared() -> None:
    """A load and a store of 64 bytes want 4 bytes a cycle each: both take twice as long.

    The store waits for nothing but its data (written by the fill before).
    """
    sync = ins("sync", queue=0, waits=[1])
    code = [
        fill(64, 512, signals=[0]),
        store(64, target=1024, source=512, waits=[0]),
        sync,
        load(64, 0),
    ]
    apart = simulate_code(*code[:2], semaphores=[0])
    fills = 1 + 2 + 16
    assert apart.cycles == fills + 16 + 5
    # let the load's data arrive exactly when the store starts: it asks 10 cycles before
    control = Control(8.0 / 9, 1, {"load": 8, "store": 8, "matrix": 8, "vector": 8})
    code = [load(64, 0), fill(64, 512, signals=[0]), store(64, target=1024, source=512, waits=[0])]
    machine = tiny_machine(control=control, vector=VectorUnit(16, startup=0))
    both = simulate_code(*code, semaphores=[0], machine=machine)
    # fetch takes 9 cycles an instruction.  Load: issued 9, data 19.  Fill: issued 18, bank-limited
    # to 64 / 8 = 8 cycles, ends 26.  Store: issued 27, starts 27.  The load has done 8 of 16:
    # at half rate its other 8 take 16 (until 43); the store did 8 of its 16, ends 43 + 8 = 51, + 5.
    assert both.cycles == 56
    assert stalls(both, "load") == {"fetch": 9, "latency": 10, "busy": 16, "dram": 8, "idle": 13}
    assert stalls(both, "store") == {"fetch": 27, "busy": 16, "dram": 8, "drain": 5}


def test_bank_conflict_between_units() -> None:
    """The array reads and the vector unit writes and reads in the same single-ported bank."""
    machine = tiny_machine(scratchpad=Memory(1024, 4, 1, 4))
    setup = [fill(64, 0), fill(16, 256), fill(64, 512, signals=[0, 1])]
    code = [*setup, matmul(16, 4, 4, waits=[0]), ins("sync", queue=3, waits=[1])]
    alone = simulate_code(*code, semaphores=[0, 0], machine=machine)
    # copying 64 bytes within bank 0 takes 32 accesses: 32 cycles, 2 + 16 of them planned
    shared = simulate_code(*code, clip(32, 0, 128), semaphores=[0, 0], machine=machine)
    assert "bank" not in stalls(alone, "matrix")
    assert stalls(shared, "matrix")["bank"] > 0
    assert stalls(shared, "vector")["bank"] > stalls(alone, "vector").get("bank", 0)
    assert stalls(shared, "matrix")["busy"] == stalls(alone, "matrix")["busy"] == 16


def test_own_bank_conflict() -> None:
    """Copying 64 bytes within one single-ported bank of 4 bytes: 32 accesses, 18 cycles planned."""
    machine = tiny_machine(scratchpad=Memory(1024, 4, 1, 4))
    result = simulate_code(fill(64, 0), clip(64, 0, 128), machine=machine)
    # the fill: 2 + 16; the copy: 2 + 16 = 18 planned, 32 needed
    assert result.cycles == 1 + 18 + 32
    assert stalls(result, "vector") == {"fetch": 1, "busy": 36, "bank": 14}


def test_signal_later_in_program_order() -> None:
    """The vector command waits for a load that comes after it in the program."""
    result = simulate_code(clip(4, 0, 512, waits=[0]), load(64, signals=[0]), semaphores=[0])
    assert result.cycles == 2 + 10 + 16 + 3


def test_sync_orders_two_signals() -> None:
    """A sync completes when all before it in its queue have, at 27: the copy ends at 30."""
    code = [load(64), ins("sync", queue=0, signals=[0]), clip(4, 0, 512, waits=[0])]
    assert simulate_code(*code, semaphores=[0]).cycles == 30


def test_multi_cycle_lanes_and_table_costs() -> None:
    """16 look-ups on 4 lanes at 2.5 cycles a group: 2 + 10 (the table is read in 2 of them)."""
    machine = tiny_machine(
        vector=VectorUnit(4, startup=2, lookup=2.5), scratchpad=Memory(1024, 4, 2, 64)
    )
    fills = [fill(256, 0), fill(16, 256)]
    look = ins("vlut", spm(256, (16, 1)), spm(0, (256, 1)), spm(512, (16, 1)))
    base = simulate_code(*fills, machine=machine).cycles
    assert simulate_code(*fills, look, machine=machine).cycles == base + 12


def test_depthwise_rounds_channels_up_to_lanes() -> None:
    """2 positions x 3 taps x ceil(5 / 4) groups = 12 cycles, and the start-up."""
    a = spm(0, (2, 5), (3, 5), (5, 1))
    code = [
        fill(64, 0),
        ins("vmac", a, spm(0, (3, 5), (5, 1)), acc(0, (2, 20), (5, 4)), p_rank=1, t_rank=1),
    ]
    base = simulate_code(code[0]).cycles
    result = simulate_code(*code)
    assert result.cycles == base + 14
    assert result.macs == 30


def test_deadlock_names_what_waits() -> None:
    with pytest.raises(SimulationError) as caught:
        simulate_code(
            load(16, waits=[0], signals=[1], layer=1),
            clip(4, waits=[1], signals=[0], layer=2),
            semaphores=[0, 0],
        )
    message = str(caught.value)
    assert "deadlock" in message
    assert re.search(
        r"load: load \(instruction 0, layer 'relu1' \+ 'add1'\) waits for semaphore 0", message
    )
    assert re.search(r"vector: vclip .*'pool1'.* waits for semaphore 1", message)


def test_deadlock_through_a_full_queue() -> None:
    """The signal is behind a full queue: the control processor is named as well."""
    control = Control(8.0, 1, {"load": 1, "store": 8, "matrix": 8, "vector": 8})
    code = [load(16, waits=[0]), load(16), fill(4, 512, signals=[0])]
    with pytest.raises(SimulationError, match=r"control: load .* waits for room in the load queue"):
        simulate_code(*code, semaphores=[0], machine=tiny_machine(control=control))


def test_issue_and_fetch() -> None:
    """Fetch of 8 bytes at 2 a cycle: 4 cycles per instruction, also for `loop` and `end`.

    loop 4, fill 8, end 12, fill 16, end 20, halt 24.  The first fill runs 8..11, the second 16..19.
    """
    control = replace(tiny_machine().control, fetch_bytes_per_cycle=2.0)
    result = simulate_code(loop(2, fill(4)), machine=tiny_machine(control=control))
    assert result.cycles == 24
    assert stalls(result, "vector") == {"fetch": 8 + 5, "busy": 6, "idle": 5}
    slow_issue = replace(tiny_machine().control, issue_cycles=3)
    assert simulate_code(loop(2, fill(4)), machine=tiny_machine(control=slow_issue)).cycles == 11


def test_cost_is_linear_in_commands() -> None:
    """Twice the iterations, twice the cycles in the steady state."""
    once, twice, thrice = (
        simulate_code(*pipeline(n), semaphores=[0, 2]).cycles for n in (10, 20, 30)
    )
    assert twice - once == thrice - twice
