"""Leaves of the vector unit: one command each, with hardware loops for dimensions beyond its limit.

Dimensions are merged where they are one for every operand, so a whole tile is usually a descriptor
of one or two dimensions.  Reductions (vmac, vsum, vmax) take position dimensions, tap dimensions
and one channel dimension, the one that is innermost in the output.
"""

from __future__ import annotations

from ....dialects.loop import ApplyOp, NestOp, captured
from ....dialects.npu.isa import BY_MNEMONIC, MAX_DIMS
from ...loop.tiling.classify import innermost_dim, reduction_of
from .emitter import Dim, Emitter, capacity, coalesce, dims_of, operands_of

_ONE = Dim(1, (0, 0, 0, 0, 0))


def lower_elementwise(nest: NestOp, kind: str, out: Emitter) -> None:
    """vrequant, vadd, vmul, vlut, vclip."""
    values, maps = operands_of(nest)
    dims, base = dims_of(maps, values, nest.sizes)
    dims = coalesce(dims)
    outer, dims = dims[:-MAX_DIMS], dims[-MAX_DIMS:]
    with out.loops(outer):
        accesses = [out.access(i, b, dims) for i, b in enumerate(base)]
        params = _params(nest)
        if kind == "vlut":
            (table,) = captured(nest)
            values.insert(1, table)
            accesses.insert(1, out.access(0, 0, []).get(0, [256], [1]))
        out.command(kind, values, accesses, **params)


def _params(nest: NestOp) -> dict[str, int]:
    """The parameters of the leaf's last function, by the command's names."""
    last = [op for op in nest.body.block.ops if isinstance(op, ApplyOp)][-1]
    if last.fn.data == "widen":  # the index of a look-up
        return {}
    given = {k: int(v) for k, v in last.param_values.items()}
    return {"lo": given["min"], "hi": given["max"]} if last.fn.data == "clip" else given


def lower_window(nest: NestOp, kind: str, out: Emitter) -> None:
    """vmac, vsum, vmax: reductions over taps."""
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
    if reduction.b is not None:  # weights that vary by anything but the channel need a loop
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
        if reduction.b is not None:
            accesses.append(out.access(1, base[1], [*taps, channel]))
        accesses.append(out.access(len(values) - 1, base[-1], [*positions, channel]))
        params = {
            "p_rank": len(positions),
            "t_rank": len(taps),
            "a_zp": reduction.a_zp,
            "b_zp": reduction.b_zp,
            "overwrite": reducing,
        }
        allowed = BY_MNEMONIC[kind].params
        out.command(kind, values, accesses, **{k: params[k] for k in allowed})
