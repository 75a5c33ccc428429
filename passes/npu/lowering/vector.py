"""Leaves of the vector unit: one command each, with hardware loops for dimensions beyond its limit.

Dimensions are merged where they are one for every operand, so a whole tile is usually a descriptor
of one or two dimensions.  Reductions (vmac, vsum, vmax) take position dimensions, tap dimensions
and one channel dimension, the one that is innermost in the output; where the machine's array takes
windows, they are commands of the matrix unit (mmac, msum, mmax).
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from ....backends.targets.machine import Machine
from ....dialects.loop import ApplyOp, NestOp, ScalarConstantOp, captured
from ....dialects.npu import AccessAttr
from ....dialects.npu.isa import BY_MNEMONIC, MAX_DIMS, ON_ARRAY
from ....dialects.types import element_of, numpy_dtype
from ...loop.tiling.classify import innermost_dim, reduction_of, takes_windows
from .emitter import Dim, Emitter, capacity, coalesce, dims_of, operands_of

_ONE = Dim(1, (0, 0, 0, 0, 0))


def lower_elementwise(nest: NestOp, kind: str, out: Emitter) -> None:
    """Commands on single elements; a table comes before the destination."""
    values, maps = operands_of(nest)
    dims, base = dims_of(maps, values, nest.sizes)
    dims = coalesce(dims)
    outer, dims = dims[:-MAX_DIMS], dims[-MAX_DIMS:]
    with out.loops(outer):
        accesses = [out.access(i, b, dims) for i, b in enumerate(base)]
        params = _params(nest)
        _insert_table(nest, values, accesses)
        out.command(kind, values, accesses, **params)


def _insert_table(nest: NestOp, values: list[SSAValue], accesses: list[AccessAttr]) -> None:
    """Add the table that `nest` reads, if it reads one, in front of the output."""
    for table in captured(nest):
        item = numpy_dtype(element_of(table)).itemsize
        values.insert(-1, table)
        accesses.insert(-1, AccessAttr.get(0, [256], [item]))


def _params(nest: NestOp) -> dict[str, int]:
    """The parameters of the leaf's last function, by the command's names."""
    ops = [op for op in nest.body.block.ops if isinstance(op, ApplyOp)]
    if not ops or ops[-1].fn.data == "widen":  # a plain copy; the index of a look-up
        return {}
    last = ops[-1]
    given = {k: int(v) for k, v in last.param_values.items()}
    if last.fn.data == "requantize" and isinstance(shift := last.args[2].owner, ScalarConstantOp):
        given["shift"] = int(shift.value.value.data)
    return {"lo": given["min"], "hi": given["max"]} if last.fn.data == "clip" else given


def lower_window(nest: NestOp, kind: str, machine: Machine, out: Emitter) -> None:
    """Reductions over taps; what a softmax subtracts is read at positions, like the result.

    Those that the array of `machine` takes go there.
    """
    reduction = reduction_of(nest)
    values, maps = operands_of(nest)
    order = [reduction.a, *([reduction.b] if reduction.b is not None else []), len(values) - 1]
    values, maps = [values[i] for i in order], [maps[i] for i in order]
    dims, base = dims_of(maps, values, nest.sizes)
    reducing = out.reducing(nest)
    inner = innermost_dim(maps[-1], nest.sizes)
    channel = dims[inner] if inner is not None else _ONE
    others = [d for d in nest.parallel if d != inner]
    outer: list[Dim] = []
    weighted = reduction.b is not None and kind != "vsumexp"
    if weighted:  # weights that vary by anything but the channel need a loop
        outer = coalesce([dims[d] for d in others if dims[d].strides[1]])
        others = [d for d in others if not dims[d].strides[1]]
    positions = coalesce([dims[d] for d in others])
    taps = coalesce([dims[d] for d in nest.reduced]) or [_ONE]
    if len(taps) > MAX_DIMS - 2:
        raise capacity(nest, f"reduces over {len(taps)} dimensions; a command has {MAX_DIMS - 2}")
    room = MAX_DIMS - 1 - len(taps)
    outer += positions[: max(0, len(positions) - room)]
    positions = positions[max(0, len(positions) - room) :] or [_ONE]
    with out.loops(outer):
        accesses = [out.access(0, base[0], [*positions, *taps, channel])]
        if weighted:
            accesses.append(out.access(1, base[1], [*taps, channel]))
        elif reduction.b is not None:
            accesses.append(out.access(1, base[1], [*positions, channel]))
        accesses.append(out.access(len(values) - 1, base[-1], [*positions, channel]))
        _insert_table(nest, values, accesses)
        params = {
            "p_rank": len(positions),
            "t_rank": len(taps),
            "a_zp": reduction.a_zp,
            "b_zp": reduction.b_zp,
            "overwrite": reducing,
        }
        mnemonic = ON_ARRAY[kind] if takes_windows(kind, machine) else kind
        allowed = BY_MNEMONIC[mnemonic].params
        out.command(mnemonic, values, accesses, **{k: params[k] for k in allowed})
