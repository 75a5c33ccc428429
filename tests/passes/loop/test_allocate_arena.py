"""No two buffers that live at the same time overlap; values survive the arena."""

from __future__ import annotations

from hypothesis import given, settings
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from support.loop_dags import dags
from support.loop_programs import Program, check_stages
from tilewright.compiler.staged import argument_offsets, integer_attribute
from tilewright.dialects.loop import AllocOp, NestOp, ReshapeOp, captured
from tilewright.passes.base import main_function
from tilewright.passes.loop.packing import buffer_bytes


def overlaps(module: ModuleOp) -> list[str]:
    """Pairs of buffers that share bytes while both hold live data; found from the IR alone."""
    func = main_function(module)
    args = zip(func.body.block.args, argument_offsets(func), strict=True)
    ops = list(func.body.block.ops)
    place: dict[SSAValue, tuple[int, int, set[int]]] = {
        a: (o, o + buffer_bytes(a), set(range(len(ops)))) for a, o in args
    }
    root: dict[SSAValue, SSAValue] = {a: a for a in place}
    for i, op in enumerate(ops):
        if isinstance(op, AllocOp):
            assert op.offset is not None and op.offset.value.data % 64 == 0
            root[op.result] = op.result
            place[op.result] = (
                op.offset.value.data,
                op.offset.value.data + buffer_bytes(op.result),
                set(),
            )
        elif isinstance(op, ReshapeOp) and op.x in root:
            root[op.result] = root[op.x]
        elif isinstance(op, NestOp):
            for value in (*op.operands, *captured(op)):
                if value in root:
                    place[root[value]][2].add(i)
    size = integer_attribute(func, "arena_bytes") or 0
    assert all(end <= size for _, end, _ in place.values())
    found: list[str] = []
    items = list(place.values())
    for i, (a, b, used) in enumerate(items):
        for c, d, other in items[i + 1 :]:
            if (
                a < d
                and c < b
                and used
                and other
                and min(used) <= max(other)
                and min(other) <= max(used)
            ):
                found.append(f"[{a}, {b}) and [{c}, {d})")
    return found


@settings(max_examples=100, deadline=None)
@given(dags())
def test_living_buffers_never_overlap(made: tuple[Program, ModuleOp]) -> None:
    program, module = made
    check_stages(module, program.ctx, program.inputs)
    assert not overlaps(module)
