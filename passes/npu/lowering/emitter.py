"""Hardware loops under construction, and strided dimensions of leaf nests.

A leaf's dimensions become `Dim`s: a size and a byte stride for each of its operands.  Some go into
a command's descriptors, the others into hardware loops around it: `Emitter.loop` remembers the
stride that each operand advances by at each level, and `Emitter.access` writes descriptors.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

from xdsl.dialects.builtin import LocationAttr
from xdsl.ir import Block, Operation, SSAValue

from ....dialects.errors import CapacityError
from ....dialects.locations import onnx_nodes
from ....dialects.loop import ForOp, Linear, NestOp, SubviewOp, row_major_strides
from ....dialects.npu import COMMANDS, AccessAttr, CoresOp, LoopOp, TensorMapAttr, YieldOp
from ....dialects.npu.isa import MAX_LOOP_DEPTH
from ....dialects.types import element_of, int_values, numpy_dtype, shape_of
from ...loop.cores import counts


@dataclass(frozen=True)
class Dim:
    """One dimension of a leaf: size, and stride in bytes for each operand."""

    size: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """Where a subview begins in its buffer: `base` bytes, and bytes per unit of loop variables."""

    base: int
    moves: tuple[tuple[SSAValue, int], ...]


def view_of(op: SubviewOp) -> View:
    """The place of a subview in its (contiguous) buffer."""
    strides = byte_strides(op.buffer)
    per_iv, base = op.start.flat(strides)
    return View(base, tuple(zip(op.ivs, per_iv, strict=True)))


def byte_strides(value: SSAValue) -> tuple[int, ...]:
    """Byte strides of the axes of a memref: contiguous, or a subview of a contiguous one."""
    if isinstance(value.owner, SubviewOp):
        steps = int_values(value.owner.steps)
        strides = byte_strides(value.owner.buffer)
        return tuple(s * step for s, step in zip(strides, steps, strict=True))
    item = numpy_dtype(element_of(value)).itemsize
    return tuple(s * item for s in row_major_strides(shape_of(value)))


def dims_of(
    maps: Sequence[Linear], values: Sequence[SSAValue], domain: Sequence[int]
) -> tuple[list[Dim], list[int]]:
    """(dimensions with a stride per operand, byte offset of each operand's first element)."""
    flat = [map.flat(byte_strides(value)) for map, value in zip(maps, values, strict=True)]
    dims = [Dim(n, tuple(strides[d] for strides, _ in flat)) for d, n in enumerate(domain)]
    return dims, [offset for _, offset in flat]


def coalesce(dims: Sequence[Dim]) -> list[Dim]:
    """Drop dimensions of size 1 and merge neighbours that are one dimension for every operand."""
    out: list[Dim] = []
    for dim in dims:
        if dim.size == 1:
            continue
        if out and all(
            outer == inner * dim.size
            for outer, inner in zip(out[-1].strides, dim.strides, strict=True)
        ):
            out[-1] = Dim(out[-1].size * dim.size, dim.strides)
        else:
            out.append(dim)
    return out


def capacity(leaf: Operation, why: str) -> CapacityError:
    """An error that names the ONNX node of a leaf."""
    return CapacityError(why, node=" + ".join(onnx_nodes(leaf)) or None, op=leaf.name)


class Emitter:
    """Builds the body of a program: the present block, and the loops around it."""

    def __init__(self, block: Block, values: dict[SSAValue, SSAValue]):
        self.block, self.values = block, values
        self.levels: list[ForOp | Dim] = []
        # result of a reduction -> loop depth where it was cleared
        self.filled: dict[SSAValue, int] = {}
        self.location: LocationAttr | None = None
        self.source: Operation | None = None

    @property
    def depth(self) -> int:
        """Number of enclosing hardware loops."""
        return len(self.levels)

    def reducing(self, nest: NestOp) -> int:
        """Overwrite mask of a reduction's leaf: the tile loops since its result was cleared.

        Leaves after the first one (pieces of an unrolled reduction) only add.
        """
        if nest.accumulate is None:
            return 0
        cleared = self.filled.pop(self.values[nest.output], None)
        return -1 if cleared is None else levels(cleared, self.depth)

    def at(self, op: Operation) -> None:
        """Following operations implement `op`."""
        self.location, self.source = op.location, op

    def add(self, op: Operation) -> Operation:
        """Append an operation."""
        if self.location is not None:
            op.location = self.location
        self.block.add_op(op)
        return op

    @contextmanager
    def loop(self, level: ForOp | Dim) -> Generator[None]:
        """Inside: a hardware loop for a tile loop, or over a dimension of the present leaf."""
        count = len(level.values) if isinstance(level, ForOp) else level.size
        if self.depth >= MAX_LOOP_DEPTH and self.source is not None:
            raise capacity(self.source, f"needs more than {MAX_LOOP_DEPTH} nested hardware loops")
        loop, outer = LoopOp(count), self.block
        self.add(loop)
        self.block = loop.body.block
        self.levels.append(level)
        yield
        self.levels.pop()
        self.block.add_op(YieldOp())
        self.block = outer

    @contextmanager
    def cores(self, loops: Sequence[ForOp]) -> Generator[None]:
        """Inside: the core level of a grid of cores."""
        sizes = counts(loops)
        level = CoresOp(prod(sizes), inner=sizes[1] if len(sizes) > 1 else 1)
        self.add(level)
        self.block = level.body.block
        self.levels += loops
        yield

    @contextmanager
    def loops(self, dims: Sequence[Dim]) -> Generator[None]:
        """Inside: nested hardware loops over `dims`; none for sizes of 1."""
        if not dims:
            yield
        elif dims[0].size == 1:
            with self.loops(dims[1:]):
                yield
        else:
            with self.loop(dims[0]), self.loops(dims[1:]):
                yield

    def access(self, operand: int, base: int, dims: Sequence[Dim]) -> AccessAttr:
        """Descriptor of operand number `operand` of the present leaf over `dims`."""
        advance = [level.strides[operand] if isinstance(level, Dim) else 0 for level in self.levels]
        return AccessAttr.get(
            base,
            [d.size for d in dims] or [1],
            [d.strides[operand] for d in dims] or [0],
            _trim(advance),
        )

    def tensor_map(
        self,
        extents: Sequence[int],
        strides: Sequence[int],
        start: Linear,
        ivs: Sequence[SSAValue],
        steps: Sequence[int],
        box: Sequence[int],
    ) -> TensorMapAttr:
        """Descriptor of a box in DRAM whose start is `start` of tile loop variables `ivs`."""
        loops = {
            level.iv: (i, level.values)
            for i, level in enumerate(self.levels)
            if isinstance(level, ForOp)
        }
        begin, advance = list(start.consts), [[0] * self.depth for _ in extents]
        for axis, row in enumerate(start.coeffs):
            for a, iv in zip(row, ivs, strict=True):
                level, values = loops[iv]
                begin[axis] += a * values.start
                advance[axis][level] += a * values.step
        return TensorMapAttr.get(
            extents, strides, begin, steps, box, [_trim(row) for row in advance]
        )

    def command(
        self,
        mnemonic: str,
        buffers: Sequence[SSAValue],
        accesses: Sequence[AccessAttr | TensorMapAttr],
        **params: int,
    ) -> None:
        """Append a command on loop-level `buffers`."""
        given = {k: v for k, v in params.items() if v}
        placed = [self._place(b, a) for b, a in zip(buffers, accesses, strict=True)]
        whole = [self.values[b] for b in buffers]
        self.add(COMMANDS[mnemonic](whole, placed, waits=(), all_cores=False, **given))

    def _place(
        self, buffer: SSAValue, access: AccessAttr | TensorMapAttr
    ) -> AccessAttr | TensorMapAttr:
        """The descriptor relative to the whole buffer, where `buffer` is a subview."""
        if not isinstance(buffer.owner, SubviewOp) or not isinstance(access, AccessAttr):
            return access
        view = view_of(buffer.owner)
        base, advance = access.base.data + view.base, [*access.loop_strides]
        advance += [0] * (self.depth - len(advance))
        moves = dict(view.moves)
        for i, level in enumerate(self.levels):
            if isinstance(level, ForOp) and level.iv in moves:
                base += moves[level.iv] * level.values.start
                advance[i] += moves[level.iv] * level.values.step
        sizes, strides = zip(*access.dims, strict=True)
        return AccessAttr.get(base, sizes, strides, _trim(advance))


def operands_of(nest: NestOp) -> tuple[list[SSAValue], tuple[Linear, ...]]:
    """Operands of a leaf, output last, and their maps."""
    return [*nest.reads, nest.output], nest.linear_maps


def levels(low: int, high: int) -> int:
    """Bit mask of loop levels low .. high - 1."""
    return (1 << high) - (1 << low)


def _trim(row: Sequence[int]) -> list[int]:
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return list(row[:end])
