"""From the operands of a command to plain descriptors with absolute addresses.

    npu.matmul(%xt : memref<544xi8, "spm"> at #npu.access<16 [64] sizes [4, 8] strides [8, 1]>, ...)

with %xt = npu.alloc {slots = 2, address = 1024, slot_stride = 576} inside two loops becomes

    Strided(base=1040, dims=((4, 8), (8, 1)), loops=(64,), slots=2, slot_stride=576, slot_level=2)
"""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Attribute, Operation, SSAValue

from ..types import int_values
from .attributes import AccessAttr, TensorMapAttr
from .descriptors import Strided, TensorBox
from .isa import OperandSpec
from .structure import AllocOp, CoresOp, DramOp, LoopOp


def loop_trips(op: Operation) -> tuple[int, ...]:
    """Counts of the hardware loops around `op`, outermost first; the core levels come first."""
    trips: list[int] = []
    parent = op.parent_op()
    while isinstance(parent, LoopOp):
        trips.append(parent.count.value.data)
        parent = parent.parent_op()
    cores = parent.grid if isinstance(parent, CoresOp) else ()
    return (*cores, *reversed(trips))


def cores_of(op: Operation) -> CoresOp | None:
    """The core level around `op`, if its program has one."""
    parent = op.parent_op()
    while isinstance(parent, LoopOp):
        parent = parent.parent_op()
    return parent if isinstance(parent, CoresOp) else None


def core_levels(op: Operation) -> int:
    """How many of the loop levels around `op` are the cores: 0, 1, or 2 where they form a grid."""
    level = cores_of(op)
    return 0 if level is None else len(level.grid)


def element_bytes(operand: OperandSpec, params: Mapping[str, int]) -> int:
    """Bytes of an element of `operand`, which may be given by an instruction parameter."""
    if operand.element.startswith("param:"):
        return params[operand.element.removeprefix("param:")]
    return {"i8": 1, "i32": 4}[operand.element]


def buffer_of(value: SSAValue) -> AllocOp | DramOp:
    """The operation that declares a command's operand."""
    if not isinstance(value.owner, AllocOp | DramOp):
        raise TypeError(
            f"a command's operand is made by {value.owner}, not by npu.alloc or npu.dram"
        )
    return value.owner


def slot_stride(alloc: AllocOp) -> int:
    """Bytes from one slot to the next."""
    return alloc.bytes if alloc.slot_stride is None else alloc.slot_stride.value.data


def strided(access: AccessAttr, alloc: AllocOp, address: int) -> Strided:
    """Descriptor of an on-chip operand whose buffer has slot 0 at `address`."""
    slots = alloc.slots.value.data
    base, dims, loops = address + access.base.data, access.dims, _trimmed(access.loop_strides)
    if slots == 1:
        return Strided(base, dims, loops)
    return Strided(base, dims, loops, slots, slot_stride(alloc), len(loop_trips(alloc)))


def tensor_box(access: TensorMapAttr, address: int) -> TensorBox:
    """Descriptor of a DRAM operand whose tensor is at `address`."""
    return TensorBox(
        address,
        int_values(access.extents),
        int_values(access.strides),
        int_values(access.start),
        int_values(access.steps),
        int_values(access.box),
        tuple(_trimmed(row) for row in access.loop_steps),
    )


def _trimmed(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Without trailing zeros, which mean the same."""
    end = len(strides)
    while end and strides[end - 1] == 0:
        end -= 1
    return strides[:end]


def descriptor(value: SSAValue, access: Attribute, address: int) -> Strided | TensorBox:
    """Descriptor of a command's operand, its buffer (slot 0) or tensor being at `address`."""
    buffer = buffer_of(value)
    if isinstance(buffer, AllocOp):
        assert isinstance(access, AccessAttr)
        return strided(access, buffer, address)
    assert isinstance(access, TensorMapAttr)
    return tensor_box(access, address)
