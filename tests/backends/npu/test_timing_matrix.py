"""Golden timings of the array's options and of configuration, counted by hand.

The tiny machine of `hand_code`, as in `test_timing.py`: 4 x 4, fill 1 + 4 + 4 - 2 = 7, scratchpad
banks with two ports of 4 bytes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from support.hand_code import (
    acc,
    clip,
    fill,
    ins,
    load,
    loop,
    matmul,
    preload,
    simulate_code,
    smatmul,
    spm,
    stalls,
    tiny_machine,
)
from tilewright.backends.targets.machine import MatrixUnit, Sparsity
from tilewright.dialects.errors import SimulationError

FILLS = [fill(64, 0), fill(64, 256, signals=[0])]


def array(*code: Any, sparsity: Any = None, **fields: Any) -> Any:
    """`code` behind fills of both operands, on an array with these fields; and the fills alone."""
    machine = tiny_machine(matrix=MatrixUnit(4, 4, **fields), sparsity=sparsity or Sparsity())
    before = simulate_code(*FILLS, semaphores=[0], machine=machine)
    after = simulate_code(*FILLS, *code, semaphores=[0], machine=machine)
    return after, after.cycles - before.cycles


@pytest.mark.parametrize(("rows", "preload"), [(1, 4), (2, 2), (3, 2), (4, 1), (8, 1)])
def test_preload_rows(rows: int, preload: int) -> None:
    """4 rows of weights, `rows` a cycle (4 accesses, 2 x rows a cycle); 8 rows stream; fill 7."""
    result, cycles = array(matmul(8, 4, 4, waits=[0]), preload_rows=rows)
    assert stalls(result, "matrix")["preload"] == preload
    assert cycles == preload + 8 + 7


def test_a_preload_ahead_takes_the_place_of_the_matmul_s_own() -> None:
    """4 rows of weights come in beside the 8 rows of another tile; the same 8 rows follow."""
    first, second = matmul(8, 4, 4, waits=[0]), matmul(8, 4, 4, b=272, c=128)
    late, cycles = array(first, second, double_buffered_weights=False)
    assert stalls(late, "matrix")["preload"] == 4 + 4 and cycles == 4 + 8 + 4 + 8 + 7
    ahead, cycles = array(first, preload(4, 4, b=272), second)
    assert stalls(ahead, "matrix")["preload"] == 4 and cycles == 4 + 8 + 8 + 7
    # other weights than those preloaded come in again
    other, cycles = array(preload(4, 4, b=288, waits=[0]), matmul(8, 4, 4))
    assert stalls(other, "matrix")["preload"] == 4 + 4 and cycles == 4 + 4 + 8 + 7


def test_a_preload_takes_one_tile_of_weights_that_stay() -> None:
    with pytest.raises(SimulationError, match="8 x 4 weights are more than one tile of 4 x 4"):
        array(preload(8, 4))
    with pytest.raises(SimulationError, match="keeps no weights"):
        array(preload(4, 4), dataflow="output-stationary")


def test_preload_rows_of_sums() -> None:
    """Output-stationary: 4 rows of sums are swapped in 2 cycles, the reduction of 8 takes 8."""
    _, cycles = array(matmul(4, 8, 4, waits=[0]), dataflow="output-stationary", preload_rows=2)
    assert cycles == 2 + 8 + 7


def test_preload_rows_of_dot_products() -> None:
    """The weights' 4 accesses go through two ports twice a cycle."""
    _, cycles = array(matmul(8, 4, 4, waits=[0]), dataflow="dot-product", preload_rows=2)
    assert cycles == 1 + 8 + 1


def test_input_stationary() -> None:
    """The left operand (4 x 4) is preloaded in 4 cycles, 12 columns of weights stream, fill 7.

    Weight-stationary the same product has 3 tiles of weights; here it is one command of one tile.
    """
    result, cycles = array(matmul(4, 4, 12, waits=[0]), dataflow="input-stationary")
    assert stalls(result, "matrix")["preload"] == 4
    assert stalls(result, "matrix")["busy"] == 12
    assert cycles == 4 + 12 + 7


def test_input_stationary_blocks_of_rows() -> None:
    """10 rows are 3 blocks of 4: each streams 4 columns while the next 4 reductions are loaded."""
    result, cycles = array(matmul(10, 4, 4, waits=[0]), dataflow="input-stationary")
    assert stalls(result, "matrix")["busy"] == 12
    assert cycles == 4 + 12 + 7
    paid, cycles = array(
        matmul(10, 4, 4, waits=[0]), dataflow="input-stationary", double_buffered_weights=False
    )
    assert stalls(paid, "matrix")["busy"] == 4 + 2 * (4 + 4)
    assert cycles == 4 + 20 + 7


def test_input_stationary_keeps_inputs() -> None:
    """The same inputs with other weights need no preload; others do; a write to them ends it."""
    first, again = matmul(4, 4, 8, waits=[0]), matmul(4, 4, 8, b=288, c=256)
    result, _ = array(first, again, dataflow="input-stationary")
    assert stalls(result, "matrix")["preload"] == 4
    other = matmul(4, 4, 8, a=32, c=256)
    exposed, _ = array(first, other, dataflow="input-stationary", double_buffered_weights=False)
    assert stalls(exposed, "matrix")["preload"] == 8


def test_reduction_longer_than_the_array_needs_tiles() -> None:
    """8 reductions are 2 tiles: 4 + 8 + 8 + 7; each row of sums is read and written twice."""
    _, cycles = array(matmul(8, 8, 4, waits=[0]), max_tiles=2)
    assert cycles == 4 + 16 + 7


def test_sums_still_in_the_array() -> None:
    """4 rows stream in 4 cycles; their sums can be added to 10 after: the next waits for 6.

    Without a limit, or onto other sums, or overwriting, it streams right behind.
    """
    one = matmul(4, 4, 4, waits=[0])
    on_top, other = matmul(4, 4, 4, overwrite=-1), matmul(4, 4, 4, c=256)
    late, cycles = array(one, on_top, accumulate_latency=10)
    assert cycles == 4 + 4 + 6 + 4 + 7
    assert stalls(late, "matrix")["drain"] == 6 + 7
    _, free = array(one, on_top)
    _, apart = array(one, other, accumulate_latency=10)
    _, over = array(one, matmul(4, 4, 4), accumulate_latency=10)
    assert free == apart == over == 4 + 4 + 4 + 7
    _, long = array(
        matmul(16, 4, 4, waits=[0]), matmul(16, 4, 4, overwrite=-1), accumulate_latency=10
    )
    assert long == 4 + 16 + 16 + 7  # streams of 16 cycles hide it


def test_sums_of_tiles_within_a_command() -> None:
    """Two tiles of one reduction, 4 rows each: the second waits until 10 after the first."""
    _, cycles = array(matmul(4, 8, 4, waits=[0]), max_tiles=2, accumulate_latency=10)
    assert cycles == 4 + 10 + 4 + 7


def test_compressed_weights_at_twice_the_rate() -> None:
    """A reduction of 8 is one tile: 4 rows of values are loaded in 4 cycles, 8 rows stream.

    Half of the MACs are done, and 20 bytes decoded: at 4 a cycle that takes 5 cycles.
    """
    one = smatmul(8, 8, 4, waits=[0])
    result, cycles = array(one, sparsity=Sparsity("2:4", rate=2))
    assert cycles == 4 + 8 + 7
    assert stalls(result, "matrix")["preload"] == 4
    assert result.macs == 8 * 8 * 4 // 2
    slow, cycles = array(one, sparsity=Sparsity("2:4", 4.0, 2))
    assert cycles == 5 + 8 + 7
    assert stalls(slow, "matrix")["preload"] == 5


def test_compressed_weights_at_the_plain_rate() -> None:
    """A reduction of 8 is two tiles, each of 10 bytes: decoded at 1 a cycle, the second is late."""
    one = smatmul(8, 8, 4, waits=[0])
    result, cycles = array(one, sparsity=Sparsity("2:4"), max_tiles=2)
    assert cycles == 4 + 8 + 8 + 7
    assert result.macs == 8 * 8 * 4
    _, cycles = array(one, sparsity=Sparsity("2:4", 1.0), max_tiles=2)
    assert cycles == 10 + 8 + 10 + 7


def test_compressed_dot_products() -> None:
    """Values are 4 accesses, index bytes 1, two a cycle."""
    _, cycles = array(
        smatmul(8, 8, 4, waits=[0]), sparsity=Sparsity("2:4", rate=2), dataflow="dot-product"
    )
    assert cycles == 3 + 8 + 1


def test_compressed_weights_are_kept() -> None:
    """The same again needs no preload, nor does it bring that of a dense tile at its place."""
    sparsity, one = Sparsity("2:4", rate=2), smatmul(2, 8, 4, waits=[0])
    kept, _ = array(one, smatmul(2, 8, 4), sparsity=sparsity)
    assert stalls(kept, "matrix")["preload"] == 4
    other, _ = array(one, matmul(2, 4, 4), sparsity=sparsity, double_buffered_weights=False)
    assert stalls(other, "matrix")["preload"] == 8


def test_compressed_weights_need_the_machine() -> None:
    """Nor may they be more than it holds."""
    with pytest.raises(SimulationError, match="takes no 2:4-compressed weights"):
        array(smatmul(8, 8, 4, waits=[0]))
    with pytest.raises(SimulationError, match="more than 1 tiles of 4 x 4"):
        array(smatmul(8, 8, 4, waits=[0]), sparsity=Sparsity("2:4"))


def test_sums_in_place_need_not_leave_the_array() -> None:
    """An output-stationary array adds to what it holds."""
    code = [matmul(4, 4, 4, waits=[0]), matmul(4, 4, 4, overwrite=-1)]
    _, slow = array(*code, dataflow="output-stationary", accumulate_latency=100)
    _, fast = array(*code, dataflow="output-stationary")
    assert slow == fast


def window(
    kind: str, p: int, t: int, c: int, *, a: int = 0, b: int = 256, out: int = 0, **kw: Any
) -> Any:
    """A window over `p` positions of `t` taps, `c` channels apart; taps of `c` weights."""
    source = spm(a, (p, c), (t, c), (c, 1))
    weights = [spm(b, (t, c), (c, 1))] if kind == "mmac" else []
    result = spm(out, (p, c), (c, 1)) if kind == "mmax" else acc(out, (p, 4 * c), (c, 4))
    return ins(kind, source, *weights, result, p_rank=1, t_rank=1, **kw)


WINDOWS: dict[str, Any] = {"dataflow": "dot-product", "pixels": 2, "window_channels": 4}
"""Two positions of four channels a cycle."""


def test_windows_on_the_array() -> None:
    """5 positions in 3 steps, 3 taps, 6 channels in 2 groups: 3 x 3 x 2; latency 1.

    Before: the weights' 3 rows of 6 bytes are 6 accesses, half of them of the first group, two a
    cycle.  Sums and maxima have none to read.
    """
    result, cycles = array(window("mmac", 5, 3, 6, waits=[0]), **WINDOWS)
    assert stalls(result, "matrix")["busy"] == 18
    assert stalls(result, "matrix")["preload"] == 2
    assert cycles == 2 + 18 + 1
    assert result.macs == 5 * 3 * 6
    for kind, out in (("msum", 0), ("mmax", 512)):
        result, cycles = array(window(kind, 5, 3, 6, out=out, waits=[0]), **WINDOWS)
        assert cycles == 18 + 1, kind
        assert "preload" not in stalls(result, "matrix")
        assert result.macs == 0


def test_windows_on_a_systolic_array_fill_it() -> None:
    """As above, behind 4 + 4 - 2 more cycles of fill and drain."""
    _, cycles = array(window("msum", 5, 3, 6, waits=[0]), pixels=2, window_channels=4)
    assert cycles == 18 + 7


def test_weights_of_groups_of_channels() -> None:
    """One position, 4 taps, 3 groups of one channel: 4 rows of 3 bytes, 4 accesses, 1 a group.

    Without double buffering each group's weights are read before it streams.
    """
    fields = {**WINDOWS, "window_channels": 1}
    _, hidden = array(window("mmac", 1, 4, 3, waits=[0]), **fields)
    _, exposed = array(window("mmac", 1, 4, 3, waits=[0]), **fields, double_buffered_weights=False)
    assert hidden == 1 + 3 * 4 + 1
    assert exposed == hidden + 2


def test_a_window_displaces_the_stationary_tile() -> None:
    """The product's weights are read again behind it (2 cycles), while it works."""
    one = matmul(2, 4, 4, waits=[0])
    pool = window("msum", 8, 1, 4, out=256)
    kept, cycles = array(one, matmul(2, 4, 4), **WINDOWS)
    assert stalls(kept, "matrix")["preload"] == 2
    assert cycles == 2 + 1 + 1 + 1
    fields = {**WINDOWS, "double_buffered_weights": False}
    lost, cycles = array(one, pool, matmul(2, 4, 4), **fields)
    assert stalls(lost, "matrix")["preload"] == 2 + 2
    assert cycles == 2 + 1 + 4 + 2 + 1 + 1


def test_what_follows_a_maximum_may_read_it() -> None:
    """The second pools what the first has written: it starts when that is there, 1 after its end.

    Sums go to accumulators, which the array does not read.
    """
    first = window("mmax", 4, 1, 4, out=512, waits=[0])
    second = window("mmax", 4, 1, 4, a=512, out=768)
    result, cycles = array(first, second, **WINDOWS)
    assert cycles == 2 + 1 + 2 + 1
    assert stalls(result, "matrix")["drain"] == 1 + 1
    _, sums = array(window("msum", 4, 1, 4, waits=[0]), window("msum", 4, 1, 4, out=256), **WINDOWS)
    assert sums == 2 + 2 + 1


def test_an_array_that_takes_no_windows() -> None:
    with pytest.raises(SimulationError, match=r"msum .*the array of tiny takes no windows"):
        array(window("msum", 1, 1, 1, waits=[0]))


def test_configuration() -> None:
    """5 cycles for each command unlike the one before on its queue.

    Issued: fill 6, fill 7 (the same at another address), fill of another size 13, load 19, the
    same load again 20, fill as before 21; `sync` and loops configure nothing.
    """
    control = replace(tiny_machine().control, config_cycles=5)
    machine = tiny_machine(control=control)
    code = [fill(16), fill(16, 256), fill(8, 512), load(16, 0, 768), ins("sync", queue=3)]
    result = simulate_code(*code, load(16, 0, 800), fill(8, 520), machine=machine, check=False)
    assert stalls(result, "control")["busy"] == 8 + 3 * 5
    rolled = simulate_code(loop(3, fill(16), clip(4, 0, 512)), machine=machine)
    assert stalls(rolled, "control")["busy"] == 2 + 3 * 3 + 6 * 5
    alike = simulate_code(loop(3, fill(16), fill(16, 256)), machine=machine)
    assert stalls(alike, "control")["busy"] == 2 + 3 * 3 + 5
