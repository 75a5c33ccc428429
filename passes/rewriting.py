"""Replacing operations without losing what the user knows them by.

Every operation carries the ONNX nodes it came from (its location); an operation whose result is an
ONNX tensor also carries that tensor's name in the discardable attribute `tensor`, which survives
as long as the value means the same (in real terms: quantised is still the same tensor).
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Operation, SSAValue
from xdsl.traits import ConstantLike

from ..dialects.locations import inherit


def tensor_name(op: Operation) -> str | None:
    """Name of the ONNX tensor `op` computes, if it is known to compute one."""
    attr = op.attributes.get("tensor")
    return attr.data if isinstance(attr, StringAttr) else None


def replace(
    old: Operation, new: Sequence[Operation], results: Sequence[SSAValue] | None = None
) -> None:
    """Put `new` before `old`, use `results` (default: those of new's last) for old's, erase `old`.

    Locations, the device, the tensor name and name hints pass on to the new operations.
    """
    block = old.parent_block()
    assert block is not None
    block.insert_ops_before(list(new), old)
    for op in new:
        inherit(op, old)
        if (device := old.attributes.get("device")) is not None and not op.has_trait(ConstantLike):
            op.attributes.setdefault("device", device)
    results = list(new[-1].results) if results is None else results
    if (
        results
        and (owner := results[0].owner)
        and isinstance(owner, Operation)
        and (name := old.attributes.get("tensor"))
    ):
        owner.attributes.setdefault("tensor", name)
    for before, after in zip(old.results, results, strict=True):
        if before.name_hint and not after.name_hint:
            after.name_hint = before.name_hint
        before.replace_all_uses_with(after)
    old.detach()
    old.erase()


def erase_dead(ops: Sequence[Operation]) -> None:
    """Erase those of `ops` (in reverse order) whose results are unused."""
    for op in reversed(ops):
        if op.parent is not None and all(r.first_use is None for r in op.results):
            op.detach()
            op.erase()
