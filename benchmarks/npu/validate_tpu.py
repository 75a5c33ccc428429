"""TPU v1's weight FIFO: tiles of weights from DRAM, shifted into the array, met by rows.

Jouppi et al. (ISCA 2017) describe the machine: the unified buffer holds all activations; weights
come from DRAM in tiles of the array's size through a FIFO of four; a tile takes as many cycles to
shift in as the array has rows, hidden behind the product before it (double-buffered); products add
into accumulators, half of which one group of rows may fill while the other half is activated.  The
counters of its table 3 are those kept here:

    busy           array active
    wait_load      weight stall: the next tile has not come from DRAM
    preload        weight shift: it has, and is being shifted in
    wait_vector    non-matrix: inputs are results that are not there yet

Inputs come from the host first, while the FIFO fills.  A layer begins when the last group of the
layer before it is out of the array and activated, one row a cycle; elementwise layers and pools are
activated likewise.  More channels than the array has rows take several tiles down (each part of a
concatenation tiles of its own, as the buffer's rows are as long as the array), more filters several
across.  A group is as many rows and tiles across as half of the accumulators hold; a layer whose
rows alone are more loads its weights once for every group of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil, prod

from tilewright.backends.targets.machine import Machine

from .validate_layers import Layer
from .validate_results import Estimate

FIFO_TILES = 4
"""Depth of the weight FIFO, which a machine description does not have."""


def estimate(layers: Sequence[Layer], machine: Machine, inputs: float = 0.0) -> Estimate:
    """Cycles of a network whose activations stay on chip; its inputs take `inputs` cycles."""
    array = _Array(machine)
    array.ready = inputs
    for layer in layers:
        if layer.kind == "conv":
            array.products(layer)
        else:
            array.activate(layer)
    macs = sum(layer.macs for layer in layers)
    return Estimate(round(array.ready), macs, {"matrix": array.counters()})


class _Array:
    """Times of the array's events so far."""

    def __init__(self, machine: Machine):
        unit, dram = machine.matrix, machine.dram
        self.rows, self.columns, self.pixels = unit.rows, unit.columns, unit.pixels
        tile = unit.rows * unit.columns
        self.fetch = tile / min(dram.bytes_per_cycle, machine.dma_bytes_per_cycle)
        self.latency = dram.read_latency
        self.group = machine.accumulator.bytes // (4 * unit.columns) // 2
        self.lanes = machine.vector.lanes
        self.taken: deque[float] = deque()  # when each of the last tiles left the FIFO
        self.fetched = float(self.latency)  # the last tile's arrival
        self.shifter = 0.0  # when the buffer behind the array is free
        self.free = 0.0  # end of the last product
        self.ready = 0.0  # activations of the last layer are there
        self.busy = self.stall = self.shift = self.other = 0.0

    def products(self, layer: Layer) -> None:
        """A convolution or matrix product."""
        positions = layer.batch * layer.out_height * layer.out_width
        taps, parts = prod(layer.kernel), layer.parts or (layer.channels // layer.groups,)
        down = sum(ceil(taps * channels / self.rows) for channels in parts)
        across = ceil(layer.filters / layer.groups / self.columns) * layer.groups
        start, groups = self.ready, ceil(positions / self.group)
        for index in range(groups):
            rows = positions * (index + 1) // groups - positions * index // groups
            held = max(1, self.group // rows)
            for column in range(0, across, held):
                count = min(held, across - column)
                for _ in range(down * count):
                    self.tile(ceil(rows / self.pixels), start)
                # out of the array, then through the activation unit
                activation = rows * count * self.columns / self.lanes
                self.ready = self.free + self.rows + self.columns + activation

    def tile(self, rows: int, inputs: float) -> None:
        """One tile of weights meets `rows` rows that are there from `inputs` on."""
        room = self.taken.popleft() if len(self.taken) >= FIFO_TILES else 0.0
        self.fetched = max(self.fetched, room + self.latency) + self.fetch
        begin = max(self.fetched, self.shifter)
        shifted = begin + self.rows
        self.taken.append(begin)
        start = max(shifted, self.free, inputs)
        # what the array waits for, in the order in which it would go on
        waiting = start - self.free
        for_inputs = min(max(inputs - self.free, 0.0), waiting)
        for_weights = min(max(self.fetched - self.free - for_inputs, 0.0), waiting - for_inputs)
        self.other += for_inputs
        self.stall += for_weights
        self.shift += waiting - for_inputs - for_weights
        self.shifter = start  # its weights are in use: the buffer behind can take the next
        self.free = start + rows
        self.busy += rows

    def activate(self, layer: Layer) -> None:
        """An elementwise layer or a pool."""
        self.ready += layer.inputs / self.lanes

    def counters(self) -> dict[str, int]:
        """Cycles by kind; what remains is the last results on their way."""
        drain = self.ready - self.busy - self.stall - self.shift - self.other
        return {
            "busy": round(self.busy), "wait_load": round(self.stall), "preload": round(self.shift),
            "wait_vector": round(self.other), "drain": round(drain),
        }  # fmt: skip
