"""`cluster-devices`: order operations so that the program changes device as seldom as it can.

    npu a; cpu b; npu c(a); cpu d(b)   ->   npu a; npu c; cpu b; cpu d      (4 segments become 2)

A topological order that stays on one device while anything is ready there; among what is ready,
program order.  Constants, reshapes and unplaced concatenations do no work and follow at once.
Both starting devices are tried; the program is left alone unless the number of segments falls.
Runs on tensor form, so that lifetimes are computed on the final order.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.dialects.func import ReturnOp
from xdsl.ir import Block, Operation

from ...dialects.graph import ConstantOp, RegionOp
from ...dialects.loop import ConcatOp, NestOp, ReshapeOp, captured
from ..base import CompilerContext, Pass, main_function


def _device(op: Operation) -> str | None:
    """The device `op` works on; None if it does no work."""
    if isinstance(op, ConstantOp | ReshapeOp):
        return None
    attr = (
        op.device if isinstance(op, NestOp | ConcatOp | RegionOp) else op.attributes.get("device")
    )
    if isinstance(attr, StringAttr):
        return attr.data
    return None if isinstance(op, ConcatOp) else "cpu"


def changes(devices: Sequence[str | None]) -> int:
    """Number of segments of a sequence of devices."""
    working = [d for d in devices if d is not None]
    return sum(1 for i, d in enumerate(working) if not i or d != working[i - 1])


def clustered(ops: Sequence[Operation], devices: Sequence[str | None], start: str) -> list[int]:
    """Indices of `ops` in a topological order that stays on one device as long as possible."""
    position = {op: i for i, op in enumerate(ops)}
    users: list[list[int]] = [[] for _ in ops]
    missing = [0] * len(ops)
    for i, op in enumerate(ops):
        used = (*op.operands, *captured(op)) if isinstance(op, NestOp) else op.operands
        for value in dict.fromkeys(used):
            if isinstance(value.owner, Block) or value.owner not in position:
                continue
            users[position[value.owner]].append(i)
            missing[i] += 1
    ready: dict[str | None, list[int]] = {None: []}
    for i, count in enumerate(missing):
        if not count:
            ready.setdefault(devices[i], []).append(i)  # ascending: already a heap
    current, order = start, list[int]()
    while any(ready.values()):
        queue = ready[None] or ready.get(current) or None
        if not queue:
            current = min((heap[0], device) for device, heap in ready.items() if heap and device)[1]
            queue = ready[current]
        i = heapq.heappop(queue)
        order.append(i)
        for user in users[i]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready.setdefault(devices[user], []), user)
    return order


@dataclass(frozen=True)
class ClusterDevicesPass(Pass):
    """Reorder operations so that the program changes between NPU and CPU as seldom as possible."""

    name = "cluster-devices"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Reorder @main."""
        block = main_function(module).body.block
        last = block.last_op
        assert isinstance(last, ReturnOp)
        ops = list(block.ops)[:-1]
        devices = [_device(op) for op in ops]
        best, order = changes(devices), None
        for start in sorted({d for d in devices if d is not None}):
            candidate = clustered(ops, devices, start)
            if (count := changes([devices[i] for i in candidate])) < best:
                best, order = count, candidate
        if order is None:
            return
        for op in ops:
            op.detach()
        block.insert_ops_before([ops[i] for i in order], last)


PASS = ClusterDevicesPass
