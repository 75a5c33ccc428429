"""hazards between cores: memory that one core reuses while others still work on it.

The simulator finds every pair of conflicting accesses that nothing orders, whatever the timing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from xdsl.dialects.builtin import UnitAttr
from xdsl.ir import SSAValue

from support.core_segments import compile_and_run, with_cores
from support.npu_passes import run_loops
from support.npu_programs import machine
from support.random_chains import rows
from support.segments import Segment
from tilewright.backends.npu.simulator import SimulationResult
from tilewright.dialects.constants import Array
from tilewright.dialects.locations import location
from tilewright.dialects.loop import AllocOp, NestOp
from tilewright.dialects.types import shape_of

Split = tuple[int, ...]
ROWS, CHANNELS = (1,), (3,)
SIZES = (1152, 1280, 1408, 1536, 1664, 1792, 2048, 4096)
"""Scratchpads for one or more tensors of 1024 bytes, and tiles."""


@dataclass
class Layers:
    """Elementwise layers on tensors of (1, 8, 8, 16), each divided in a given way."""

    segment: Segment = field(default_factory=Segment)
    splits: list[Split] = field(default_factory=list[Split])
    local: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def buffer(self, rows: int = 8, *, local: bool = False) -> SSAValue:
        value = self.segment.buffer([1, rows, 8, 16])
        if local:
            assert isinstance(value.owner, AllocOp) and value.owner.offset is not None
            value.owner.attributes["local"] = UnitAttr()
            start = value.owner.offset.value.data
            self.local.append((start, start + rows * 128))
        return value

    def clip(
        self, x: SSAValue, y: SSAValue, split: Split, low: int, first: int = 0, node: str = ""
    ) -> SSAValue:
        """`y` = max(`x`, `low`), of the rows of `x` from `first` on; a layer of `node`."""
        same = rows(0, 1, 2, 3)
        nest: NestOp = self.segment.nest(
            shape_of(y),
            [(x, same, [0, first, 0, 0], None)],
            (y, same, None),
            accumulator=lambda k: k.apply("clip", [k.block.args[0]], min=low, max=100),
        )
        if node:
            nest.location = location([node])
        self.splits.append(split)
        return y

    def visible(self, arena: Array) -> Array:
        out = arena.copy()
        for low, high in self.local:
            out[low:high] = 0
        return out

    def run(self, size: int, cores: int = 2, max_ops: int = 4000) -> SimulationResult:
        """All of the npu phase and the simulator; memory must be as after the nests."""
        target, s = with_cores(machine(size, 4096), cores), self.segment
        module, (arena, consts) = s.module_with_main(), s.memories()
        expected, splits = self.visible(run_loops(module, arena, consts)), iter(self.splits)

        def pick(options: Sequence[Split]) -> Split:
            split = next(splits)
            assert split in options
            return split

        return compile_and_run(
            s, module, target, arena, expected, self.visible, pick, max_ops, each=False
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", [(ROWS, CHANNELS), (CHANNELS, ROWS), (ROWS, ROWS)])
def test_a_tensor_over_one_that_other_cores_still_read(
    size: int, order: tuple[Split, Split]
) -> None:
    """A core that is ahead writes its own part of %b, then sends it: over what others read of %a.

    Its own write comes after its own reads only.
    """
    layers = Layers()
    x, (one, two) = layers.buffer(), order
    for i in range(3):
        a = layers.clip(x, layers.buffer(local=True), one if i % 2 else two, -50 + i)
        layers.clip(a, layers.buffer(), two if i % 2 else one, -40 + i)
    layers.run(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("node", ["", "softmax"])
def test_a_tensor_over_one_that_was_never_read_as_a_whole(size: int, node: str) -> None:
    """Of %a the first rows are read: nobody has waited for the others when %b is written there.

    Nests of one ONNX node are told apart, too, although commands have the same location.
    """
    layers = Layers()
    x = layers.buffer()
    for i, split in enumerate((ROWS, CHANNELS, ROWS)):
        a = layers.clip(x, layers.buffer(local=True), split, -50 + i, node=node)
        layers.clip(a, layers.buffer(2), split, -40 + i, node=node)
    layers.run(size)


@pytest.mark.parametrize("size", (512, 1024, 2048))
@pytest.mark.parametrize("node", ["", "softmax"])
def test_tensors_in_dram_that_share_bytes(size: int, node: str) -> None:
    """The arena gives the bytes of %a to %b; all cores see them."""
    layers = Layers()
    x, a = layers.buffer(), layers.buffer()
    y = layers.buffer()
    for i, split in enumerate((ROWS, CHANNELS, (), ROWS, ())):
        b = layers.buffer()
        assert isinstance(a.owner, AllocOp) and isinstance(b.owner, AllocOp)
        b.owner.offset = a.owner.offset
        layers.clip(x, b, split, -50 + i, node=node)
        layers.clip(b, layers.buffer(2), ROWS if i % 2 else CHANNELS, -40 + i, 6, node=node)
    layers.clip(x, y, (), -9)
    layers.run(size)


@pytest.mark.parametrize("max_ops", [0, 40, 4000])
@pytest.mark.parametrize("cores", [2, 4])
def test_layers_in_hardware_loops(cores: int, max_ops: int) -> None:
    """Cores meet between loops of different layers, not inside them."""
    splits = [(3, 3), (1, 1), (1, 3), ()] if cores == 4 else [CHANNELS, ROWS, (), CHANNELS]
    layers = Layers()
    value = layers.buffer()
    for i, split in enumerate(splits * 2):
        value = layers.clip(value, layers.buffer(local=i % 3 == 0 or i == 4), split, -80 + i)
    layers.run(1152, cores, max_ops)
    layers_in_dram = Layers()
    value = layers_in_dram.buffer()
    for i, split in enumerate(splits * 2):
        value = layers_in_dram.clip(value, layers_in_dram.buffer(), split, -80 + i)
    layers_in_dram.run(512, cores, max_ops)
