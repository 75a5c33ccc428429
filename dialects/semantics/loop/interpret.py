"""Walking the operations of a loop-level function.

Three forms, one walk.  Tensor form: values are arrays.  Memref form before allocation: every
`loop.alloc` is an array of its own.  Allocated form: buffers in "dram" are views of the arena and
globals views of the constants block, at their offsets.  Buffers start poisoned, so that reading
what was never written shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, cast

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue

from ...constants import Array, ConstantStore
from ...errors import InputError, IRError
from ...graph import ConstantOp, ConstantRefAttr
from ...locations import describe
from ...loop import (
    AllocOp,
    BroadcastOp,
    ConcatOp,
    CopyOp,
    DecodeOp,
    FillOp,
    ForOp,
    GlobalOp,
    NestOp,
    ReshapeOp,
    SubviewOp,
    fill_value,
    space_of,
)
from ...multicast import receivers
from ...sparsity import decode
from ...types import element_of, int_values, numpy_dtype, shape_of
from .nest import run_nest

Observe = Callable[[Operation, SSAValue, Array], None]

POISON = 0xA5
"""Byte that fresh buffers are filled with."""


def evaluate(
    module: ModuleOp | FuncOp, inputs: Mapping[str, Array] | Sequence[Array], store: ConstantStore,
    observe: Observe | None = None,
) -> list[Array]:  # fmt: skip
    """Outputs of `@main` (or the given function) in tensor form or unallocated memref form.

    `inputs` are by ONNX name or in order.  `observe` sees each nest's result.  InputError if inputs
    are missing or have another shape or type.
    """
    func = module if isinstance(module, FuncOp) else _main(module)
    args = func.body.block.args
    outputs = _names(func, "output_names")
    memref = not func.function_type.outputs.data and bool(args)
    count = _num_inputs(func, len(args) - len(outputs) if memref else len(args))
    given = _ordered(func, inputs, count)
    for i, (arg, value) in enumerate(zip(args, given, strict=False)):
        expected = (shape_of(arg), numpy_dtype(element_of(arg)))
        if (value.shape, value.dtype) != expected:
            raise InputError(
                f"input {i} is {value.dtype}{value.shape}, expected {expected[1]}{expected[0]}"
            )
    machine = _Interpreter(store=store, observe=observe)
    values = [*given, *(_poisoned(arg) for arg in args[count:])]
    machine.values |= {
        arg: np.ascontiguousarray(v).reshape(v.shape) for arg, v in zip(args, values, strict=True)
    }
    returned = machine.run_block(func.body.block.ops)
    return [machine.values[arg] for arg in args[count:]] if memref else returned


def run(func: FuncOp, arena: Array, consts: Array) -> None:
    """Execute an allocated function in place on `arena` and `consts` (uint8 arrays).

    Arguments are at the function's `arg_offsets`.  IRError if a buffer has no offset or leaves its
    memory.
    """
    _allocated(func, arena, consts).run_block(func.body.block.ops)


def run_ops(ops: Sequence[Operation], func: FuncOp, arena: Array, consts: Array) -> None:
    """Execute some operations of an allocated function (a segment) in place; errors as `run`."""
    machine = _allocated(func, arena, consts)
    for op in ops:
        for used in _uses(op):
            machine.declare(used)
    machine.run_block(ops)


def _allocated(func: FuncOp, arena: Array, consts: Array) -> _Interpreter:
    """An interpreter over `arena` and `consts` that knows the function's arguments."""
    machine = _Interpreter(arena=arena, consts=consts)
    offsets = func.attributes.get("arg_offsets")
    if func.body.block.args:
        if not isinstance(offsets, DenseArrayBase):
            raise IRError("the function has no arg_offsets", hint="run allocate-arena first")
        starts = int_values(cast(DenseArrayBase[Any], offsets))
        for arg, offset in zip(func.body.block.args, starts, strict=True):
            machine.values[arg] = _at(arena, offset, arg)
    return machine


def _poisoned(value: SSAValue) -> Array:
    dtype, shape = numpy_dtype(element_of(value)), shape_of(value)
    raw = np.full(math.prod(shape) * dtype.itemsize, POISON, np.uint8)
    return raw.view(dtype).reshape(shape)


def _at(memory: Array, offset: int, value: SSAValue) -> Array:
    """The buffer `value` at byte `offset` of `memory`."""
    dtype, shape = numpy_dtype(element_of(value)), shape_of(value)
    end = offset + math.prod(shape) * dtype.itemsize
    if offset < 0 or end > memory.size:
        raise IRError(f"buffer at bytes {offset} to {end} leaves a memory of {memory.size} bytes")
    return memory[offset:end].view(dtype).reshape(shape)


class _Interpreter:
    """The values of one execution."""

    def __init__(
        self,
        *,
        store: ConstantStore | None = None,
        arena: Array | None = None,
        consts: Array | None = None,
        observe: Observe | None = None,
    ):
        self.store, self.arena, self.consts, self.observe = store, arena, consts, observe
        self.values: dict[SSAValue, Array] = {}
        self._ivs: dict[SSAValue, int] = {}
        self.peers: dict[int, list[_Interpreter]] = {}  # by mask of core levels

    def run_block(self, ops: Iterable[Operation]) -> list[Array]:
        """Execute operations in order; returns the operands of `func.return`."""
        ops = list(ops)
        last: dict[SSAValue, int] = {}
        for i, op in enumerate(ops):
            for used in _uses(op):
                last[used] = i
        for i, op in enumerate(ops):
            if isinstance(op, ReturnOp):
                return [self.values[v] for v in op.operands]
            self._step(op)
            for used in _uses(op):
                if (
                    last[used] == i
                    and isinstance(used.owner, Operation)
                    and used.owner.parent is op.parent
                ):
                    self.values.pop(used, None)
        return []

    def declare(self, value: SSAValue) -> None:
        """Make a buffer known whose declaration is not among the operations executed."""
        owner = value.owner
        if value not in self.values and isinstance(owner, AllocOp | GlobalOp | ReshapeOp):
            for operand in owner.operands:
                self.declare(operand)
            self._step(owner)

    def _step(self, op: Operation) -> None:
        match op:
            case NestOp():
                out = _poisoned(op.output) if op.result is not None else self.values[op.output]
                run_nest(op, self.values.__getitem__, out)
                self.values[op.output] = out
                if self.observe is not None:
                    self.observe(op, op.output, out)
            case ConstantOp():
                assert self.store is not None
                self.values[op.result] = op.array(self.store)
            case GlobalOp():
                self.values[op.result] = self._global(op)
            case AllocOp():
                self.values[op.result] = self._alloc(op)
            case ReshapeOp():
                self.values[op.result] = self.values[op.x].reshape(shape_of(op.result))
            case DecodeOp():
                stored, axis = self.values[op.x], op.axis.value.data
                self.values[op.result] = decode(stored, shape_of(op.result), axis)
            case SubviewOp():
                self.values[op.result] = self._subview(op, self.values[op.buffer])
            case BroadcastOp():
                self._broadcast(op.tile, self.values[op.tile], op.levels)
            case ConcatOp():
                value = np.concatenate([self.values[a] for a in op.args], axis=op.axis.value.data)
                self.values[op.result] = value
            case FillOp():
                buffer, number = self.values[op.buffer], fill_value(op.value)
                assert number is not None
                buffer[...] = np.asarray(number).astype(buffer.dtype)
            case CopyOp():
                self._copy(op)
            case ForOp() if "cores" in op.attributes:
                self._cores(op)
            case ForOp():
                for i in op.values:
                    self._ivs[op.iv] = i
                    self.run_block(op.body.block.ops)
            case _:
                raise IRError(f"{describe(op)} has no loop semantics")

    def _global(self, op: GlobalOp) -> Array:
        if self.consts is not None:
            if op.offset is None:
                raise IRError(f"{describe(op)} has no offset", hint="run allocate-arena first")
            return _at(self.consts, op.offset.value.data, op.result)
        assert self.store is not None
        if isinstance(op.value, ConstantRefAttr):
            return self.store[op.value.key.data].reshape(shape_of(op.result))
        from ...types import tensor

        return ConstantOp(op.value, tensor(shape_of(op.result), element_of(op.result))).array(
            self.store
        )

    def _alloc(self, op: AllocOp) -> Array:
        if self.arena is None or space_of(op.result) in ("spm", "acc"):
            return _poisoned(op.result)
        if op.offset is None:
            raise IRError(f"{describe(op)} has no offset", hint="run allocate-arena first")
        return _at(self.arena, op.offset.value.data, op.result)

    def _cores(self, op: ForOp) -> None:
        """Iterations side by side: each operation in all cores, then the next.

        Cores only meet in what they broadcast and in the arena, and never within one operation of
        the core level, so that this order is as good as any.
        """
        levels = [op]
        while isinstance(inner := levels[-1].body.block.first_op, ForOp) and (
            "cores" in inner.attributes
        ):
            levels.append(inner)
        cores: list[_Interpreter] = []
        for index in product(*(level.values for level in levels)):
            core = _Interpreter(store=self.store, arena=self.arena, consts=self.consts)
            core.values = dict(self.values)
            core._ivs = self._ivs | {v.iv: i for v, i in zip(levels, index, strict=True)}
            cores.append(core)
        grid = [len(level.values) for level in levels]
        for number, core in enumerate(cores):
            core.peers = {
                mask: [cores[c] for c in receivers(number, grid, mask)]
                for mask in range(1 << len(grid))
            }
        for step in levels[-1].body.block.ops:
            for core in cores:
                core._step(step)

    def _broadcast(self, tile: SSAValue, values: Array, levels: int) -> None:
        """Write what lies in a tile to the same place in other cores."""
        for peer in self.peers.get(levels, ()):
            if isinstance(tile.owner, SubviewOp):
                self._subview(tile.owner, peer.values[tile.owner.buffer])[...] = values
            else:
                peer.values[tile][...] = values

    def _subview(self, op: SubviewOp, big: Array) -> Array:
        """A box as a view; IRError if it leaves the buffer."""
        start = op.start([self._ivs[v] for v in op.ivs])
        index: list[slice] = []
        for low, step, n, extent in zip(
            start, int_values(op.steps), shape_of(op.result), big.shape, strict=True
        ):
            end = low + (n - 1) * step + 1
            if low < 0 or end > extent:
                raise IRError(f"{describe(op)} leaves its buffer: [{low}, {end}) of {extent}")
            index.append(slice(low, end, step))
        return big[tuple(index)]

    def _copy(self, op: CopyOp) -> None:
        """Move a box; elements outside the large buffer read as the fill and are not written."""
        big, tile = self.values[op.big], self.values[op.tile]
        start, perm, steps = (
            op.start([self._ivs[v] for v in op.ivs]),
            int_values(op.perm),
            int_values(op.steps),
        )
        index: list[Array] = [
            start[axis] + np.arange(tile.shape[k]) * steps[axis] for k, axis in enumerate(perm)
        ]
        inside = [
            np.flatnonzero((i >= 0) & (i < big.shape[axis]))
            for i, axis in zip(index, perm, strict=True)
        ]
        there = np.ix_(*(i[kept] for i, kept in zip(index, inside, strict=True)))
        here = np.ix_(*inside)
        view = big.transpose(perm)
        if op.kind.data == "store":
            view[there] = tile[here]
            return
        if any(len(kept) != n for kept, n in zip(inside, tile.shape, strict=True)):
            if (fill := op.fill_number) is None:
                raise IRError(f"{describe(op)} reads outside its buffer without a fill")
            tile[...] = np.asarray(fill).astype(tile.dtype)
        tile[here] = view[there]
        if op.levels is not None:
            self._broadcast(op.tile, tile, op.levels)


def _uses(op: Operation) -> list[SSAValue]:
    """Values from outside that `op` reads or writes, those captured in its regions included."""
    used = list(op.operands)
    for region in op.regions:
        for inner in region.walk():
            used.extend(inner.operands)
    return used


def _main(module: ModuleOp) -> FuncOp:
    for op in module.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise IRError("the module has no func.func @main")


def _names(func: FuncOp, attribute: str) -> list[str]:
    attr = func.attributes.get(attribute)
    if not isinstance(attr, ArrayAttr):
        return []
    return [str(a.data) for a in attr.data if isinstance(a, StringAttr)]  # pyright: ignore[reportUnknownVariableType]


def _num_inputs(func: FuncOp, otherwise: int) -> int:
    attr = func.attributes.get("num_inputs")
    value = getattr(getattr(attr, "value", None), "data", None)
    return value if isinstance(value, int) else otherwise


def _ordered(
    func: FuncOp, inputs: Mapping[str, Array] | Sequence[Array], count: int
) -> list[Array]:
    if isinstance(inputs, Mapping):
        names = _names(func, "input_names") or [str(i) for i in range(count)]
        if missing := [n for n in names[:count] if n not in inputs]:
            raise InputError(f"missing input {missing[0]!r}")
        return [inputs[n] for n in names[:count]]
    if len(inputs) != count:
        raise InputError(f"expected {count} inputs, got {len(inputs)}")
    return list(inputs)
