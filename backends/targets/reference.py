"""Generates `docs/machine.md`: every field of a machine description, and the targets that ship.

    python -m tilewright.backends.targets.reference > docs/machine.md

Names, types and defaults come from the dataclasses of `machine.py`; `MEANING` adds unit and
meaning, and a test demands that it names every field and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints

from .load import list_targets, load_target
from .machine import Machine

MEANING: dict[str, tuple[str, str]] = {
    "name": ("", "name in reports and artefacts; not `cpu`"),
    "description": ("", "one line for `tilewright targets`"),
    "source": ("", "where the figures come from"),
    "clock_hz": ("Hz", "clock of all units; turns cycles into seconds"),
    "cores": ("", "equal cores; all figures of this file are per core"),
    "dma_bytes_per_cycle": (
        "B/cycle",
        "throughput of each DMA queue (load, store) on its on-chip side",
    ),
    "alignment": ("B", "power of two that on-chip buffers are aligned to"),
    "matrix.rows": ("", "extent of the array along the reduction (input channels x taps)"),
    "matrix.columns": ("", "extent along the output channels"),
    "matrix.pixels": ("1/cycle", "rows of the left operand (output positions) taken a cycle"),
    "matrix.dataflow": (
        "",
        "`weight-stationary` (systolic: fill and drain, weights preloaded), `output-stationary` "
        "(systolic, accumulates in place), `input-stationary` (as weight-stationary, but the left "
        "operand is preloaded and weights stream) or `dot-product` (adder trees: no fill or drain)",
    ),
    "matrix.double_buffered_weights": ("", "the next weights load while the present ones compute"),
    "matrix.max_tiles": ("", "stationary tiles that one command steps through by itself"),
    "matrix.preload_rows": ("1/cycle", "rows of the stationary tile loaded a cycle"),
    "matrix.accumulate_latency": (
        "cycles",
        "from a row's entering the array until its sums can be added to again; 0: no limit",
    ),
    "matrix.window_channels": (
        "1/cycle",
        "channels of a depthwise convolution or pooling that the array takes a cycle, beside "
        "`pixels` positions; 0: the vector unit does those",
    ),
    "vector.lanes": ("", "elements in a group, which the costs below are of"),
    "vector.startup": ("cycles", "before the first group of a command"),
    "vector.mac": ("cycles/group", "a multiply-accumulate or a sum (depthwise, average pooling)"),
    "vector.requantize": ("cycles/group", "requantisation"),
    "vector.add": ("cycles/group", "sum of two tensors; 0: as `requantize`"),
    "vector.multiply": ("cycles/group", "product of two tensors; 0: as `requantize`"),
    "vector.lookup": ("cycles/group", "look-up in a table of 256 entries"),
    "vector.move": ("cycles/group", "maximum (pooling), clip, fill, copy"),
    "vector.divide": ("cycles/group", "quotient of 64 by 32 bits; a square root takes as long"),
    "vector.reduction": (
        "",
        "`lanes`: each lane sums up results of its own, one tap after the other; `tree`: or a tree "
        "across lanes sums up as many taps of a result as there are lanes, where that is faster",
    ),
    "bytes": ("B", "capacity; at most 2^32, divisible by `banks`"),
    "banks": ("", "equal ranges of consecutive addresses that are accessed independently"),
    "ports": ("1/cycle", "accesses of a bank"),
    "width": ("B", "width of an access"),
    "latency": ("cycles", "from an access to its data"),
    "interleave": (
        "B",
        "after so many bytes follows the next bank; 0: a bank is one range of addresses",
    ),
    "dram.bytes_per_cycle": ("B/cycle", "bandwidth, shared by load and store"),
    "dram.burst_bytes": ("B", "size of a request; each moves a whole, aligned burst"),
    "dram.read_latency": ("cycles", "from a request to its first data"),
    "dram.write_latency": ("cycles", "from the last data to the acknowledgement"),
    "dram.outstanding_reads": ("", "read requests in flight at most"),
    "dram.outstanding_writes": ("", "write requests in flight at most"),
    "control.fetch_bytes_per_cycle": ("B/cycle", "machine code fetched"),
    "control.issue_cycles": ("cycles", "least time to issue a command"),
    "control.config_cycles": (
        "cycles",
        "to configure a unit for a command that differs from the one before on its queue in more "
        "than addresses",
    ),
    "control.queue_depths": (
        "",
        "commands a queue holds, waiting and running: `{ load = .., store = .., matrix = .., "
        "vector = .. }`; queues left out keep their default",
    ),
    "network.bytes_per_cycle": (
        "B/cycle",
        "what a core sends, and what a core receives, at most; 0: the cores are not connected",
    ),
    "network.latency": ("cycles", "from the last data sent to their arrival"),
    "sparsity.pattern": (
        "",
        "`2:4`: the array takes weights of which at most two of every four neighbours along the "
        "reduction are not zero, stored as those two and two bits each for their places, in 5/8 "
        "of the bytes; needs weights that stay in the array (`weight-stationary`, `dot-product`)",
    ),
    "sparsity.decode_bytes_per_cycle": (
        "B/cycle",
        "such bytes decoded on their way into the array; 0: as fast as it is loaded",
    ),
    "sparsity.rate": (
        "",
        "terms of the reduction that a row of the array does: 2 where it selects its activations, "
        "1 where zeros are multiplied like others",
    ),
    "energy.mac": ("pJ", "a multiply-accumulate of the matrix unit, or an element that it pools"),
    "energy.vector": ("pJ", "an element of a vector command"),
    "energy.spm_byte": ("pJ/B", "scratchpad, read or written"),
    "energy.acc_byte": ("pJ/B", "accumulators, read or written"),
    "energy.dram_byte": ("pJ/B", "DRAM, counted in whole bursts"),
    "energy.network_byte": ("pJ/B", "network between cores, for each core that receives"),
    "energy.idle_cycle": ("pJ/cycle", "of each core, busy or not"),
}
"""(unit, meaning) of every field; those of scratchpad and accumulator, which are one class, have
no prefix."""

MEMORIES = {
    "scratchpad": "On-chip memory that holds 8-bit tensors and parameters. The default is one "
    "bank, for which DMA, array and vector unit wait in turn (stall `bank`): several banks let "
    "them overlap.",
    "accumulator": "On-chip memory that holds 32-bit sums. The defaults stall all but the smallest "
    "arrays (stall `bank`): to add a row of sums a cycle takes `ports` = 2, a read and a write, "
    "and `width` = 4 x columns x pixels.",
}
"""What the two on-chip memories hold, and what their defaults mean."""

_HEAD = """\
<!-- Generated by `python -m tilewright.backends.targets.reference`; do not edit. -->
# Machine description

A target is a TOML file with the keys below. Rates are per core and clock cycle. A key without a
default must be given; unknown keys, wrong types and impossible machines are errors that name the
file, the table and the key. How each figure enters the simulated time is in [timing.md](timing.md);
[targets.md](targets.md) shows how to write such a file.
"""


def key_of(section: str, name: str) -> str:
    """The key in `MEANING` of a field."""
    return f"{section}.{name}" if section not in ("", "scratchpad", "accumulator") else name


def _section(cls: Any, section: str) -> Iterator[str]:
    hints = get_type_hints(cls)
    yield f"\n## {f'`[{section}]`' if section else 'Top level'}\n"
    if cls.__name__ == "Memory":
        yield MEMORIES[section] + "\n"
    yield "| key | type | unit | default | meaning |\n|---|---|---|---|---|"
    for f in fields(cls):
        if not is_dataclass(hints[f.name]):
            unit, meaning = MEANING[key_of(section, f.name)]
            kind = "table" if f.name == "queue_depths" else hints[f.name].__name__
            yield f"| `{f.name}` | {kind} | {unit} | {_default(f)} | {meaning} |"


def _default(f: Field[Any]) -> str:
    if callable(f.default_factory):
        return ", ".join(f"{k} {v}" for k, v in f.default_factory().items())
    if f.default is MISSING:
        return ""
    return f"`{str(f.default).lower() if isinstance(f.default, bool) else f.default}`"


def _array(m: Machine) -> str:
    pixels = f" x {m.matrix.pixels} pixels" if m.matrix.pixels > 1 else ""
    return f"{m.matrix.rows} x {m.matrix.columns}{pixels}, {m.matrix.dataflow}"


def _figures(m: Machine) -> str:
    tops = 2 * m.peak_macs_per_cycle * m.clock_hz / 1e12
    bandwidth = m.dram.bytes_per_cycle * m.cores * m.clock_hz / 1e9
    return (
        f"| `{m.name}` | {m.cores} | {_array(m)} | {m.clock_hz / 1e9:g} | {tops:.3g} "
        f"| {f'{m.sparsity.pattern}, rate {m.sparsity.rate}' if m.sparse else ''} "
        f"| {m.scratchpad.bytes // 1024:,} | {m.accumulator.bytes / 1024:,g} | {m.vector.lanes} "
        f"| {bandwidth:,.4g} | {m.source} |"
    )


def machine_markdown() -> str:
    """The page as Markdown."""
    lines = [_HEAD.rstrip()]
    lines += _section(Machine, "")
    for name, hint in get_type_hints(Machine).items():
        if is_dataclass(hint):
            lines += _section(hint, name)
    lines.append(
        "\n## Targets that ship\n\nScratchpad, accumulators and lanes are per core, TOPS (two "
        "operations a multiply-accumulate, zeros counted) and bandwidth of the whole machine. The "
        "files say of every value where it comes from, or that it is assumed.\n\n"
        "| target | cores | array | GHz | int8 TOPS | sparsity | scratchpad KiB | accumulators KiB "
        "| lanes | DRAM GB/s | source |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    lines += [_figures(m) for m in map(load_target, list_targets()) if m is not None]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(machine_markdown(), end="")
