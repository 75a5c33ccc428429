"""`assign-device`: say for every operation whether the NPU or the CPU runs it, and why the CPU.

    %a = graph.conv %x, %w {device = "npu"} ...     %s = graph.softmax %f {device = "cpu"} ...

0. Selections by constant indices become slices and concatenations (`selections.py`).
1. An operation may go to the NPU if `capabilities.npu_reason` has nothing against it.
2. An accumulating operation and its requantisation go together, or both to the CPU.
3. Data movement stays where its neighbours are: a connected group of movement and tables without
   any integer arithmetic is not worth a transfer, and goes to the CPU.

Constants belong to whoever reads them and are not placed.  The reasons, by ONNX node, go to
`ctx.placement`: nodes no part of which runs on the NPU.  A conversion between real and stored
values at the NPU's border always runs on the CPU, and does not make its node one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, i32
from xdsl.ir import Operation

from ...backends.targets.machine import Machine
from ...dialects.constants import ConstantStore
from ...dialects.graph import (
    ConstantOp,
    ConvOp,
    DequantizeOp,
    MatMulOp,
    PoolOp,
    QAddOp,
    QMulOp,
    QNormOp,
    QSoftmaxOp,
    QuantizeOp,
    ReduceOp,
    RequantizeOp,
    place,
)
from ...dialects.locations import onnx_nodes
from ...dialects.types import element_of
from ..base import CompilerContext, Pass, main_function
from .capabilities import npu_reason
from .quantization_plan import single_user, users
from .selections import use_npu_forms

NO_MACHINE = "the target has no NPU"
NO_PRODUCER = "requantisation of a tensor the NPU does not compute"
ISLAND = "data movement between CPU operations: not worth a transfer"
ARITHMETIC = (
    ConvOp, MatMulOp, PoolOp, ReduceOp, RequantizeOp, QAddOp, QMulOp, QSoftmaxOp, QNormOp,
)  # fmt: skip


def _pair_reasons(ops: list[Operation], reasons: dict[Operation, str | None]) -> None:
    """Make every accumulating operation share the fate of its requantisation."""
    for op in ops:
        if not op.results or element_of(op.results[0]) != i32 or reasons.get(op, "") is not None:
            continue
        user = single_user(op.results[0])
        if not isinstance(user, RequantizeOp):
            reasons[op] = "its 32-bit result is used as it is: the NPU writes back 8 bits"
        elif (why := reasons[user]) is not None:
            reasons[op] = why
    for op in ops:
        if isinstance(op, RequantizeOp) and reasons[op] is None:
            owner = op.x.owner
            why = reasons.get(owner, NO_PRODUCER) if isinstance(owner, Operation) else NO_PRODUCER
            if why is not None:
                reasons[op] = why


def _islands(ops: list[Operation], reasons: dict[Operation, str | None]) -> None:
    """Send connected groups of NPU operations without arithmetic to the CPU."""
    seen: set[Operation] = set()
    for start in ops:
        if start in seen or reasons[start] is not None:
            continue
        group, stack = [start], [start]
        seen.add(start)
        while stack:
            for neighbour in _neighbours(stack.pop()):
                if neighbour not in seen and reasons.get(neighbour, "") is None:
                    seen.add(neighbour)
                    group.append(neighbour)
                    stack.append(neighbour)
        if not any(isinstance(op, ARITHMETIC) for op in group):
            for op in group:
                reasons[op] = ISLAND


def _neighbours(op: Operation) -> list[Operation]:
    producers = [
        o.owner
        for o in op.operands
        if isinstance(o.owner, Operation) and not isinstance(o.owner, ConstantOp)
    ]
    consumers = [u for r in op.results for u in users(r)]
    return [*producers, *consumers]


def decide(
    ops: list[Operation], machine: Machine | None, store: ConstantStore
) -> dict[Operation, str | None]:
    """For each of `ops` (program order, without constants): why it runs on the CPU, or None."""
    if machine is None:
        return dict.fromkeys(ops, NO_MACHINE)
    reasons = {op: npu_reason(op, machine, store) for op in ops}
    _pair_reasons(ops, reasons)
    _islands(ops, reasons)
    return reasons


def _is_conversion(op: Operation) -> bool:
    return isinstance(op, QuantizeOp | DequantizeOp)


def is_border(op: Operation, reasons: dict[Operation, str | None]) -> bool:
    """Whether `op` only converts what the NPU reads or has computed, or a constant."""
    match op:
        case QuantizeOp():
            return any(reasons.get(user, "") is None for user in users(op.result))
        case DequantizeOp():
            owner = op.x.owner
            return isinstance(owner, ConstantOp) or (
                isinstance(owner, Operation) and reasons.get(owner, "") is None
            )
        case _:
            return False


@dataclass(frozen=True)
class AssignDevicePass(Pass):
    """Place every operation on the NPU or the CPU, and record why a node runs on the CPU."""

    name = "assign-device"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Set `device` on every operation of `@main` but constants and the return."""
        block = main_function(module).body.block
        if ctx.machine is not None:
            use_npu_forms(list(block.ops), ctx.constants)
        ops = [op for op in block.ops if op is not block.last_op and not isinstance(op, ConstantOp)]
        reasons = decide(ops, ctx.machine, ctx.constants)
        on_npu = {node for op, why in reasons.items() if why is None for node in onnx_nodes(op)}
        for op, why in reasons.items():
            place(op, "npu" if why is None else "cpu")
        if ctx.machine is None:
            return
        for op in sorted(ops, key=_is_conversion):  # what a node computes says more about it
            if (why := reasons[op]) is not None and not is_border(op, reasons):
                for node in onnx_nodes(op):
                    if node not in on_npu:
                        ctx.placement.setdefault(node, why)


PASS = AssignDevicePass
