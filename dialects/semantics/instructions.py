"""The exact meaning of each machine instruction, on numpy views of its operands.

`execute` is shared by the npu level's interpreter and the simulator, so both agree by construction;
how descriptors become views (with every bounds check) is here, too:

    views = [view_of(memory, access, iterations, trips, dtype, where) for ...]
    execute("matmul", views, params, overwrite=overwrites(params["overwrite"], iterations))

Operands in DRAM become a `DramView` (`dram_view`), because a box may hang over the tensor's edges.
All arithmetic is exact: matrix products run in float32 when every partial sum is provably below
2^24, else in float64 (9-bit factors: exact up to 2^36 terms), and then wrap to 32 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import Array
from ..errors import SimulationError
from ..fixed_point import requantize
from ..npu.descriptors import Strided, TensorBox, byte_span, resolve_access, resolve_box
from ..sparsity import expand
from .row_instructions import ROWS

View = Any  # an ndarray or a DramView; strict typing would only restate the table
ELEMENT_DTYPES = {
    1: np.dtype(np.int8),
    2: np.dtype(np.int16),
    4: np.dtype(np.int32),
    8: np.dtype(np.int64),
}
"""Signed integer type that moves elements of so many bytes."""


@dataclass(frozen=True)
class DramView:
    """The part of a box inside its tensor, and which part of the box that is."""

    inside: Array
    region: tuple[slice, ...]
    complete: bool


def _inside(start: int, step: int, box: int, extent: int) -> tuple[int, int]:
    """Half-open range of t < box with 0 <= start + t * step < extent."""
    if step == 0:
        return (0, box) if 0 <= start < extent else (0, 0)
    if step > 0:
        low, high = -(start // step), -((start - extent) // step)
    else:
        low, high = -((start - extent + 1) // step), start // -step + 1
    low = max(low, 0)
    return low, max(low, min(high, box))


def inside_ranges(box: TensorBox, start: Sequence[int]) -> list[tuple[int, int]]:
    """Per axis, the half-open range of box indices whose coordinates lie inside the tensor."""
    return [_inside(*axis) for axis in zip(start, box.steps, box.box, box.extents, strict=True)]


def check_bounds(low: int, high: int, size: int, where: str) -> None:
    """SimulationError unless bytes [low, high) lie in a memory of `size` bytes."""
    if low < 0 or high > size:
        raise SimulationError(
            f"{where}: bytes [{low}, {high}) are outside a memory of {size} bytes"
        )


def dram_view(
    memory: Array, box: TensorBox, iterations: Sequence[int], element: int, where: str
) -> DramView:
    """View of the box in `memory` (uint8); SimulationError outside the memory.

    `where` names the instruction and its layer for the message.
    """
    start = resolve_box(box, iterations)
    ranges = inside_ranges(box, start)
    shape = tuple(high - low for low, high in ranges)
    if 0 in shape:
        empty = np.empty(shape, ELEMENT_DTYPES[element])
        return DramView(empty, tuple(slice(low, high) for low, high in ranges), False)
    strides = tuple(step * stride for step, stride in zip(box.steps, box.strides, strict=True))
    base = box.base + sum(
        (s + low * p) * b
        for s, (low, _), p, b in zip(start, ranges, box.steps, box.strides, strict=True)
    )
    low, high = byte_span(tuple(zip(shape, strides, strict=True)), element)
    check_bounds(base + low, base + high, memory.size, where)
    inside = np.ndarray(shape, ELEMENT_DTYPES[element], memory.data, base, strides)
    return DramView(inside, tuple(slice(low, high) for low, high in ranges), shape == box.box)


def strided_view(memory: Array, address: int, access: Strided, element: int, where: str) -> Array:
    """View of the elements of `access` in `memory` (uint8) with element 0 at `address`.

    SimulationError outside the memory, or where 32-bit elements are not on multiples of 4.
    """
    low, high = byte_span(access.dims, element)
    check_bounds(address + low, address + high, memory.size, where)
    strides = access.strides
    if element == 4 and (address % 4 or any(s % 4 for s in strides)):
        raise SimulationError(
            f"{where}: 32-bit elements at address {address} with strides {strides} are not aligned"
        )
    return np.ndarray(access.shape, ELEMENT_DTYPES[element], memory.data, address, strides)


def view_of(
    memory: Array,
    access: Strided | TensorBox,
    iterations: Sequence[int],
    trips: Sequence[int],
    element: int,
    where: str,
    first: int = 0,
) -> Array | DramView:
    """The operand's elements in the present iteration: an array on chip, a `DramView` in DRAM.

    `first`: the outermost loop level that slots count, behind those of the cores.
    """
    if isinstance(access, TensorBox):
        return dram_view(memory, access, iterations, element, where)
    address = resolve_access(access, iterations, trips, first)
    return strided_view(memory, address, access, element, where)


def _distinct(view: Array) -> Array:
    """`view` with broadcast (stride 0) dimensions shrunk to 1: the same under broadcasting."""
    return view[tuple(slice(0, 1) if s == 0 else slice(None) for s in view.strides)]


def _widen(view: Array, zero_point: int) -> Array:
    return view.astype(np.int32) - np.int32(zero_point)


def _load(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    source, destination = views
    if not source.complete:
        destination[...] = params["fill"]
    destination[source.region] = source.inside


def _store(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    destination, source = views
    destination.inside[...] = source[destination.region]


def _send(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    source, destination = views
    destination[...] = source


BLOCK = 1 << 18
"""Multiply-accumulates of a matrix product that OpenBLAS does in the calling thread."""


def _product(left: Array, right: Array) -> Array:
    """Exact left @ right, in blocks of rows too small for BLAS to hand to other threads.

    Products of one command are so short that waking threads costs more than it saves, and on a
    machine that is busy with something else a hundred times more.
    """
    k, n = right.shape
    rows = max(1, BLOCK // (k * n))
    whole = len(left) // rows * rows
    if whole <= rows:
        return left @ right
    out = np.empty((len(left), n), left.dtype)
    np.matmul(left[:whole].reshape(-1, rows, k), right, out=out[:whole].reshape(-1, rows, n))
    if whole < len(left):
        np.matmul(left[whole:], right, out=out[whole:])
    return out


def _matmul(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, b, acc = views
    _accumulate(acc, a, b, params, params["b_zp"], overwrite)


def _smatmul(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, b, acc, index = views
    _accumulate(acc, a, expand(b, index, b.ndim - 2), params, 0, overwrite)


def _accumulate(
    acc: Array, a: Array, b: Array, params: Mapping[str, int], zb: int, overwrite: bool
) -> None:
    """Add the product of a and b to acc, or write it there."""
    rows, za = params["m_rank"], params["a_zp"]
    k, n = math.prod(a.shape[rows:]), b.shape[-1]
    # twice that of a weight: two values of a compressed one may add up
    bound = max(127 - za, za + 128) * max(127 - zb, zb + 128) * k * (1 if b.dtype == np.int8 else 2)
    dtype = np.float32 if bound < 1 << 24 else np.float64
    left = a.astype(dtype).reshape(-1, k)
    right = b.astype(dtype).reshape(k, n)
    if za:
        left -= za
    if zb:
        right -= zb
    product = _product(left, right).reshape(acc.shape)
    product = (
        product.astype(np.int32) if bound < 1 << 31 else product.astype(np.int64).astype(np.int32)
    )
    if overwrite:
        acc[...] = product
    else:
        acc += product


def _taps(views: Sequence[View], params: Mapping[str, int]) -> tuple[int, int]:
    p = params["p_rank"]
    return p, p + params["t_rank"]


def _vmac(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, b, acc = views
    first, last = _taps(views, params)
    positions = (slice(None),) * first
    weights = _widen(b, params["b_zp"])
    total = np.zeros(acc.shape, np.int32)
    for tap in np.ndindex(*a.shape[first:last]):
        total += _widen(a[positions + tap], params["a_zp"]) * weights[tap]
    acc[...] = total if overwrite else acc + total


def _vsum(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, acc = views
    first, last = _taps(views, params)
    taps = math.prod(a.shape[first:last])
    total = a.sum(axis=tuple(range(first, last)), dtype=np.int64) - taps * params["a_zp"]
    total = total.astype(np.int32)
    acc[...] = total if overwrite else acc + total


def _vmax(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, destination = views
    first, last = _taps(views, params)
    largest = a.max(axis=tuple(range(first, last)))
    destination[...] = largest if overwrite else np.maximum(largest, destination)


def _shift(value: int | Array) -> int | Array:
    if np.min(value) < 1 or np.max(value) > 62:
        raise SimulationError(
            f"a requantisation shift of {np.min(value)}..{np.max(value)} is outside 1..62"
        )
    return value


def _vrequant(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    acc, bias, multiplier, shift, destination = views
    total = acc + _distinct(bias)  # wraps in i32
    destination[...] = requantize(
        total,
        _distinct(multiplier),
        _shift(_distinct(shift)),
        params["zp"],
        params["lo"],
        params["hi"],
    )


def _scaled(acc: Array, params: Mapping[str, int]) -> Array:
    return requantize(
        acc, params["multiplier"], _shift(params["shift"]), params["zp"], params["lo"], params["hi"]
    )


def _vadd(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, b, destination = views
    acc = _widen(a, params["za"]) * np.int32(params["ma"]) + _widen(b, params["zb"]) * np.int32(
        params["mb"]
    )
    destination[...] = _scaled(acc, params)


def _vmul(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, b, destination = views
    destination[...] = _scaled(_widen(a, params["za"]) * _widen(b, params["zb"]), params)


def _vlut(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, table, destination = views
    destination[...] = table.reshape(-1)[a.astype(np.int16) + 128]


def _vclip(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    a, destination = views
    destination[...] = np.clip(a, params["lo"], params["hi"])


def _vfill(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    views[0][...] = params["value"]


def _preload(views: Sequence[View], params: Mapping[str, int], overwrite: bool) -> None:
    """Nothing that a program can see."""


_EXECUTE: dict[str, Callable[[Sequence[View], Mapping[str, int], bool], None]] = {
    "load": _load, "store": _store, "send": _send, "matmul": _matmul, "smatmul": _smatmul,
    "preload": _preload,
    "vmac": _vmac, "vsum": _vsum, "vmax": _vmax, "vrequant": _vrequant, "vadd": _vadd,
    "vmul": _vmul, "vlut": _vlut, "vclip": _vclip, "vfill": _vfill, "mmac": _vmac, "msum": _vsum,
    "mmax": _vmax, **ROWS,
}  # fmt: skip


def execute(
    mnemonic: str, views: Sequence[View], params: Mapping[str, int], *, overwrite: bool = True
) -> None:
    """Run one instruction: read and write `views` (operands in the order of the table).

    What `send` and broadcasting loads write in other cores is copied by the caller
    (`npu.cores.spreads`).

    `params` has each parameter of the instruction.  `overwrite` is a reduction's, resolved for this
    iteration (`descriptors.overwrites`).  Operands may alias only where they are the same view.
    """
    _EXECUTE[mnemonic](views, params, overwrite)
