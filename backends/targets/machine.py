"""The description of an NPU, as plain data: the one interface through which passes see a target.

Read from TOML by `backends/targets/load.py`; nothing in a pass names a machine.  Rates are per
core and clock cycle, sizes in bytes, latencies in cycles, energies in pJ.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

DATAFLOWS = ("weight-stationary", "output-stationary", "input-stationary", "dot-product")
QUEUE_NAMES = ("load", "store", "matrix", "vector")
SPARSITIES = ("none", "2:4")
REDUCTIONS = ("lanes", "tree")


@dataclass(frozen=True)
class MatrixUnit:
    """An array that holds `rows` x `columns` weights (reduction x output channels).

    `pixels` rows of the left operand enter per cycle.  `dataflow`: "weight-stationary" (systolic:
    fill and drain of rows + columns cycles, weights preloaded), "output-stationary" (systolic,
    accumulates in place), "input-stationary" (as weight-stationary, the left operand preloaded:
    `pixels` columns of weights enter per cycle) or "dot-product" (adder trees: no fill or drain).
    `double_buffered_weights`: the next weights load while the present ones compute.
    `max_tiles`: stationary tiles that one command steps through by itself.
    `preload_rows`: rows of the stationary tile loaded per cycle.  `accumulate_latency`: cycles from
    a sum's entering the array until it can be added to again.
    `window_channels`: channels that take part per cycle, beside `pixels` positions, in depthwise
    convolutions and pooling on the array; 0: those run on the vector unit.
    """

    rows: int
    columns: int
    pixels: int = 1
    dataflow: str = "weight-stationary"
    double_buffered_weights: bool = True
    max_tiles: int = 1
    preload_rows: int = 1
    accumulate_latency: int = 0
    window_channels: int = 0

    @property
    def macs_per_cycle(self) -> int:
        """Peak multiply-accumulates a cycle."""
        return self.rows * self.columns * self.pixels


@dataclass(frozen=True)
class Sparsity:
    """Structured sparsity of weights that the array takes; `pattern` "2:4" or "none".

    2:4: of every four neighbours along the reduction at most two are not zero; these two are
    stored, with two bits each for their places (`dialects/sparsity.py`).  A decoder between
    scratchpad and array takes `decode_bytes_per_cycle` of that (0: as fast as weights are loaded).
    `rate`: terms of the reduction that a row of the array does: 2 where it selects its activation
    among four, 1 where weights are decompressed and zeros multiplied like others.
    """

    pattern: str = "none"
    decode_bytes_per_cycle: float = 0.0
    rate: int = 1


@dataclass(frozen=True)
class VectorUnit:
    """`lanes` elements a cycle; the other fields are cycles per group of `lanes` elements.

    `add` and `multiply` (of two tensors) cost as much as `requantize` where they are 0.
    `reduction`: "lanes" (each sums up a result of its own, one tap after the other) or "tree"
    (there is also a tree across lanes, which sums up as many taps as there are lanes).
    """

    lanes: int
    startup: int = 4
    mac: float = 1.0
    requantize: float = 1.0
    lookup: float = 1.0
    move: float = 1.0
    divide: float = 16.0
    add: float = 0.0
    multiply: float = 0.0
    reduction: str = "lanes"

    def groups(self, positions: Any, channels: Any, row: int | None = None) -> Any:
        """Groups of lanes that take one tap each of `positions` x `channels` (numbers or arrays).

        Where channels are fewer than lanes, several positions share a group; where they are part
        of a `row` that is longer, only as many as whole rows would.
        """
        together = self.lanes // (row or channels)
        together = together + (together == 0)
        return -(-positions // together) * -(-channels // self.lanes)

    def cost(self, mnemonic: str) -> float:
        """Cycles per group of a vector command."""
        if mnemonic in ("vmac", "vsum", "vsquare"):
            return self.mac
        if mnemonic == "vrequant":
            return self.requantize
        special = {
            "vadd": self.add or self.requantize,
            "vmul": self.multiply or self.requantize,
            "vlut": self.lookup,
            "vsumexp": self.lookup + self.mac,
            "vexp": self.lookup + self.requantize,
            "vnorm": 2 * self.requantize,
            "vrecip": self.divide,
            "vrsqrt": 2 * self.divide,
        }
        return special.get(mnemonic, self.move)


@dataclass(frozen=True)
class Memory:
    """On-chip memory: equal `banks`, each with `ports` accesses of `width` bytes a cycle.

    The defaults are the smallest memory, not a balanced one.  To keep the array busy, an
    accumulator needs `ports` = 2 (a read and a write a cycle) and `width` = 4 * columns * pixels,
    and a scratchpad several banks, so that DMA and array do not wait for each other; stalls for
    want of them are those called `bank` in reports.  `interleave`: bytes after which the next bank
    follows, so that neighbouring accesses go to different banks; 0: a bank is one range.
    """

    bytes: int
    banks: int = 1
    ports: int = 1
    width: int = 16
    latency: int = 1
    interleave: int = 0

    @property
    def regions(self) -> int:
        """Address ranges that are accessed independently: interleaved banks are one, together."""
        return 1 if self.interleave else self.banks

    @property
    def region_ports(self) -> int:
        """Accesses a cycle of one such range."""
        return self.ports * self.banks // self.regions


@dataclass(frozen=True)
class Dram:
    """Off-chip memory seen from the DMA engines; bandwidth shared by all of them."""

    bytes_per_cycle: float
    burst_bytes: int = 64
    read_latency: int = 100
    write_latency: int = 50
    outstanding_reads: int = 16
    outstanding_writes: int = 8


@dataclass(frozen=True)
class Control:
    """The control processor: fetch rate, cycles to issue a command, depth of each command queue.

    `config_cycles`: to configure a unit, for a command that differs from the one before it on its
    queue in more than addresses.
    """

    fetch_bytes_per_cycle: float = 16.0
    issue_cycles: int = 1
    queue_depths: dict[str, int] = field(
        default_factory=lambda: {"load": 8, "store": 4, "matrix": 16, "vector": 16}
    )
    config_cycles: int = 0


@dataclass(frozen=True)
class Network:
    """What connects the cores; `bytes_per_cycle` of each core's port, in and out; 0: no network."""

    bytes_per_cycle: float = 0.0
    latency: int = 0


@dataclass(frozen=True)
class Energy:
    """Energy per action in pJ (MAC, vector element, byte moved), and idle power per cycle."""

    mac: float = 0.2
    vector: float = 0.1
    spm_byte: float = 1.25
    acc_byte: float = 0.6
    dram_byte: float = 50.0
    network_byte: float = 2.0
    idle_cycle: float = 0.0


@dataclass(frozen=True)
class Machine:
    """One NPU target."""

    name: str
    description: str
    source: str
    clock_hz: float
    matrix: MatrixUnit
    vector: VectorUnit
    scratchpad: Memory
    accumulator: Memory
    dram: Dram
    control: Control = field(default_factory=Control)
    network: Network = field(default_factory=Network)
    sparsity: Sparsity = field(default_factory=Sparsity)
    energy: Energy = field(default_factory=Energy)
    cores: int = 1
    dma_bytes_per_cycle: float = 16.0
    alignment: int = 64

    @property
    def sparse(self) -> bool:
        """Whether the array takes 2:4-compressed weights."""
        return self.sparsity.pattern == "2:4"

    def unit(self, sparse: bool = False) -> MatrixUnit:
        """The matrix unit as weights see it: compressed ones have `rate` times its rows."""
        m, rate = self.matrix, self.sparsity.rate if sparse else 1
        return (
            m if rate == 1 else replace(m, rows=m.rows * rate, preload_rows=m.preload_rows * rate)
        )

    @property
    def peak_macs_per_cycle(self) -> int:
        """Of the whole machine (all cores)."""
        return self.matrix.macs_per_cycle * self.cores

    @property
    def accumulator_rows(self) -> int:
        """Rows of `columns` 32-bit accumulators."""
        return self.accumulator.bytes // (4 * self.matrix.columns)
