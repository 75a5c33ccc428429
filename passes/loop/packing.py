"""The constants block: every `loop.global` at its offset, as one run of bytes.

`assign_offsets` lays constants out in order of first use, aligned, equal contents once;
`pack_constants` fills the block.  Both are deterministic, so the block is part of the artefact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, MemRefType, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import SSAValue

from ...dialects.constants import Array, ConstantStore, content_key
from ...dialects.errors import IRError
from ...dialects.graph import ConstantOp, ConstantRefAttr
from ...dialects.loop import GlobalOp
from ...dialects.types import element_of, integer, numpy_dtype, shape_of, string, tensor
from ..base import main_function

ALIGNMENT = 64
"""Bytes; of every buffer."""


CONSTANT_ALIGNMENT = 256
"""Bytes; of every constant, so that rows of weights do not straddle DRAM bursts."""


def align(size: int, to: int = ALIGNMENT) -> int:
    """`size` rounded up to an alignment."""
    return -(-size // to) * to


def buffer_bytes(value: SSAValue) -> int:
    """Bytes of a memref value."""
    return math.prod(shape_of(value)) * numpy_dtype(element_of(value)).itemsize


def global_array(op: GlobalOp, store: ConstantStore) -> Array:
    """The contents of a global, in the shape and type of its memref."""
    constant = ConstantOp(op.value, tensor(shape_of(op.result), element_of(op.result)))
    return constant.array(store)


def _globals(func: FuncOp) -> Iterator[GlobalOp]:
    return (op for op in func.walk() if isinstance(op, GlobalOp))


def assign_offsets(func: FuncOp, store: ConstantStore) -> int:
    """Set `offset` of every global of `func`; returns the size of the block in bytes."""
    placed: dict[str, int] = {}
    end = 0
    for op in _globals(func):
        key = (
            op.value.key.data
            if isinstance(op.value, ConstantRefAttr)
            else content_key(global_array(op, store))
        )
        if key not in placed:
            placed[key] = end
            end += align(buffer_bytes(op.result), CONSTANT_ALIGNMENT)
        op.offset = integer(placed[key])
    return end


class ConstantAppender:
    """Adds constants to an allocated `@main`, behind those it has; equal ones share a place."""

    def __init__(self, main: FuncOp, store: ConstantStore):
        self.main, self.store = main, store
        self.offsets: dict[str, int] = {}

    @property
    def ready(self) -> bool:
        """Whether allocate-arena has placed the constants."""
        return isinstance(self.main.attributes.get("const_bytes"), IntegerAttr)

    def add(self, array: Array, type: MemRefType[Any], like: GlobalOp) -> GlobalOp:
        """A declaration, yet to be inserted, of `array` as `type`, with the name of `like`."""
        key = self.store.add(array)
        if key not in self.offsets:
            size = self.main.attributes["const_bytes"]
            assert isinstance(size, IntegerAttr)
            self.offsets[key] = size.value.data
            end = size.value.data + align(array.nbytes, CONSTANT_ALIGNMENT)
            self.main.attributes["const_bytes"] = integer(end)
            first = self.main.body.block.first_op
            assert first is not None
            self.main.body.block.insert_op_before(self._declare(key, type, like), first)
        return self._declare(key, type, like)

    def _declare(self, key: str, type: MemRefType[Any], like: GlobalOp) -> GlobalOp:
        out = GlobalOp(ConstantRefAttr(string(key)), type, self.offsets[key])
        out.result.name_hint = like.result.name_hint
        return out


def pack_constants(module: ModuleOp, store: ConstantStore) -> bytes:
    """The constants block of `@main`; IRError if it has not been allocated."""
    func = main_function(module)
    size = func.attributes.get("const_bytes")
    if not isinstance(size, IntegerAttr):
        raise IRError("the function has no const_bytes", hint="run allocate-arena first")
    places: dict[int, GlobalOp] = {}
    for op in _globals(func):
        if op.offset is None:
            raise IRError("a loop.global has no offset", hint="run allocate-arena first")
        places.setdefault(op.offset.value.data, op)
    parts: list[
        bytes | memoryview
    ] = []  # joined at once: weights are in memory once more, not twice
    end = 0
    for start in sorted(places):
        if start < end:
            raise IRError(f"the loop.global at offset {start} overlaps the one before it")
        array = np.ascontiguousarray(global_array(places[start], store))
        parts += [bytes(start - end), array.reshape(-1).view(np.uint8).data]
        end = start + array.nbytes
    if end > size.value.data:
        raise IRError(f"const_bytes is {size.value.data}, the constants end at {end}")
    parts.append(bytes(size.value.data - end))
    return b"".join(parts)
