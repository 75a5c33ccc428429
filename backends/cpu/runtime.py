"""One inference on the CPU: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp

from ...dialects.constants import Array, ConstantStore
from ...dialects.errors import InputError
from ...dialects.types import element_of, numpy_dtype, shape_of
from .emit import emit_module, places
from .jit import CpuModule, aligned, load


@dataclass(frozen=True)
class Slot:
    """An input or output of the program in its arena."""

    name: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def view(self, arena: Array) -> Array:
        """The slot as an array over `arena`."""
        size = prod(self.shape) * self.dtype.itemsize
        return arena[self.offset : self.offset + size].view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class CpuProgram:
    """A loaded program with its constants; each call has its own arena."""

    module: CpuModule
    consts: Array
    arena_bytes: int
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]

    def __call__(
        self, inputs: Mapping[str, Array] | Sequence[Array], arena: Array | None = None
    ) -> list[Array]:
        """Outputs (copies) for the given inputs; InputError if shape or dtype differ.

        `arena` may be one of `new_arena()` to use again.
        """
        arena = self.new_arena() if arena is None else arena
        given = [inputs[s.name] for s in self.inputs] if isinstance(inputs, Mapping) else inputs
        for slot, array in zip(self.inputs, given, strict=True):
            if array.shape != slot.shape or array.dtype != slot.dtype:
                raise InputError(
                    f"input {slot.name!r} should be {slot.dtype}{list(slot.shape)}, "
                    f"got {array.dtype}{list(array.shape)}"
                )
            slot.view(arena)[...] = array
        self.module.call("tw_main", self.consts, arena)
        return [slot.view(arena).copy() for slot in self.outputs]

    def new_arena(self) -> Array:
        """A zeroed, aligned arena."""
        return aligned(self.arena_bytes)


def slots(func: FuncOp) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    """Inputs and outputs of an allocated `@main`."""
    where, args = places(func), func.body.block.args
    count = func.attributes["num_inputs"]
    assert isinstance(count, IntegerAttr)
    names: list[str] = []
    for key in ("input_names", "output_names"):
        attr = func.attributes.get(key)
        if isinstance(attr, ArrayAttr):
            names += [n.data for n in cast(ArrayAttr[StringAttr], attr).data]
    if len(names) != len(args):
        names = [f"arg{i}" for i in range(len(args))]
    found = tuple(
        Slot(n, where[a].offset, shape_of(a), numpy_dtype(element_of(a)))
        for n, a in zip(names, args, strict=True)
    )
    return found[: count.value.data], found[count.value.data :]


def program(module: ModuleOp, store: ConstantStore) -> CpuProgram:
    """Compile and load an allocated program."""
    from ...passes.base import main_function
    from ...passes.loop.packing import pack_constants

    func = main_function(module)
    blob = pack_constants(module, store)
    consts = aligned(len(blob))
    consts[:] = np.frombuffer(blob, np.uint8)
    size = func.attributes["arena_bytes"]
    assert isinstance(size, IntegerAttr)
    return CpuProgram(load(emit_module(module, store)), consts, size.value.data, *slots(func))


def compile_and_run(
    module: ModuleOp, store: ConstantStore, inputs: Mapping[str, Array] | Sequence[Array]
) -> list[Array]:
    """Compile an allocated program and run it once."""
    return program(module, store)(inputs)
