"""Properties of a module that passes require or ensure, each with its check.

Checked after every pass when verification is on, so that a broken assumption is found where it
breaks and not three levels further down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects.builtin import ModuleOp, TensorType
from xdsl.dialects.func import FuncOp
from xdsl.utils.exceptions import VerifyException

from ..dialects.graph import BatchNormOp, RegionOp, device_of
from ..dialects.graph.base import GraphOp
from ..dialects.loop import AllocOp, NestOp, space_of
from ..dialects.npu import AllocOp as NpuAllocOp
from ..dialects.npu import ProgramOp


def _graph_level(module: ModuleOp) -> str | None:
    for op in module.walk():
        if isinstance(op, NestOp | ProgramOp):
            return f"{op.name} at graph level"
    return None


def _tensor_loops(module: ModuleOp) -> str | None:
    for op in module.walk():
        if isinstance(op, RegionOp) or (isinstance(op, GraphOp) and op.name != "graph.constant"):
            return f"{op.name} at loop level"
    return None


def _bufferized(module: ModuleOp) -> str | None:
    for op in module.walk():
        if isinstance(op, NestOp) and op.result is not None:
            return "a loop.nest still has a tensor result"
        if isinstance(op, FuncOp) and any(
            isinstance(t, TensorType) for t in op.function_type.inputs
        ):
            return f"@{op.sym_name.data} still takes tensors"
    return None


def _arena(module: ModuleOp) -> str | None:
    for op in module.walk():
        if isinstance(op, AllocOp) and space_of(op.result) == "dram" and op.offset is None:
            return "a loop.alloc in dram has no offset"
    return None


def _placed(module: ModuleOp) -> str | None:
    for op in module.walk():
        top = op.parent_op() is not None and isinstance(op.parent_op(), FuncOp)
        if (
            top
            and isinstance(op, GraphOp | RegionOp)
            and op.name != "graph.constant"
            and device_of(op) is None
        ):
            return f"{op.name} has no device"
    return None


def _no_batch_norm(module: ModuleOp) -> str | None:
    return next((f"{op.name} remains" for op in module.walk() if isinstance(op, BatchNormOp)), None)


def _scratchpad(module: ModuleOp) -> str | None:
    for op in module.walk():
        if isinstance(op, NpuAllocOp) and op.address is None:
            return "an npu.alloc has no address"
    return None


PROPERTIES: dict[str, Callable[[ModuleOp], str | None]] = {
    "graph": _graph_level,
    "placed": _placed,
    "no-batch-norm": _no_batch_norm,
    "loop": _tensor_loops,
    "bufferized": _bufferized,
    "arena-allocated": _arena,
    "scratchpad-allocated": _scratchpad,
}
"""Property name -> check that returns why it does not hold, or None."""


def check_properties(module: ModuleOp, names: Sequence[str], who: str) -> None:
    """VerifyException naming `who` if one of the properties does not hold."""
    for name in names:
        if (why := PROPERTIES[name](module)) is not None:
            raise VerifyException(f"{who} {name!r}: {why}")
