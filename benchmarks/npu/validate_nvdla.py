"""The layer-by-layer estimate of the NVDLA primer, from which its table of frames per second is.

The primer (nvdla.org/primer.html, "NVDLA System Integration") gives the method: a layer takes the
longest of its data transfers and its multiply-accumulates, a network the sum of its layers; if the
convolution buffer holds a fourth of the weights, the input is read four times.  The estimator
spreadsheet it refers to was not read; questions about it (issues 96, 202 of nvdla/hw) say that it
takes the larger of MAC cycles and DRAM cycles, where traffic is input, weights and output.  With
atomic-C x atomic-K multipliers a convolution takes

    MAC cycles  = positions x taps x ceil(channels / C) x ceil(filters / K)
    DRAM cycles = (input x ceil(filter groups / groups held) + weights + output) / bytes per cycle

(the first layer, of fewer channels than C, packs taps: NVDLA's image mode).  Sums of residual
blocks are the single-point processor's and read their second operand; pools are layers of their
own.  What the primer leaves open is how much of the buffer holds weights: `WEIGHT_SHARE`, one value
for all members of the family.  A quarter: half the buffer is the input's, and half the rest is
being loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from tilewright.backends.targets.machine import Machine

from .validate_layers import Layer
from .validate_results import Estimate

WEIGHT_SHARE = 0.25
"""Of the convolution buffer, for the weights in use."""


def estimate(
    layers: Sequence[Layer], machine: Machine, weight_share: float = WEIGHT_SHARE
) -> Estimate:
    """Cycles of a network by the primer's method."""
    cycles = waiting = 0.0
    for layer in layers:
        work = mac_cycles(layer, machine)
        moving = dram_bytes(layer, machine, weight_share) / machine.dram.bytes_per_cycle
        cycles += max(work, moving)
        waiting += max(moving - work, 0)
    busy = cycles - waiting
    units = {"matrix": {"busy": round(busy), "wait_load": round(waiting)}}
    return Estimate(round(cycles), sum(layer.macs for layer in layers), units)


def mac_cycles(layer: Layer, machine: Machine) -> int:
    """Cycles of the multiply-accumulate array."""
    if layer.kind != "conv":
        return 0
    rows, columns = machine.matrix.rows * machine.matrix.pixels, machine.matrix.columns
    channels, filters = layer.channels // layer.groups, layer.filters // layer.groups
    taps = prod(layer.kernel)
    depth = taps * ceil(channels / rows) if channels >= rows else ceil(taps * channels / rows)
    positions = layer.batch * layer.out_height * layer.out_width
    return positions * depth * ceil(filters / columns) * layer.groups


def dram_bytes(layer: Layer, machine: Machine, weight_share: float) -> float:
    """Traffic of a layer in 8-bit elements."""
    if layer.kind == "add":  # fused behind a convolution: reads the other operand, writes nothing
        return layer.outputs
    if layer.kind == "pool":
        return layer.inputs + layer.outputs
    filters = layer.filters // layer.groups
    group = layer.weights // layer.filters * min(machine.matrix.columns, filters)
    held = max(1, int(machine.scratchpad.bytes * weight_share // group))
    passes = ceil(ceil(filters / machine.matrix.columns) / held)
    return layer.inputs * passes + layer.weights + layer.outputs
