"""`bufferize`: tensors become buffers; every nest writes into one it is given.

    @main(%x: tensor<..>) -> tensor<..>           @main(%x: memref<..>, %out: memref<..>)
      %a = loop.nest ins(%x) -> tensor<..>          %a = loop.alloc : memref<.., "dram">
      %b = loop.nest ins(%a) -> tensor<..>   ->     loop.nest ins(%x) outs(%a)
      func.return %b                                loop.nest ins(%a) outs(%out)

Results are written straight into the output arguments, operands of a concatenation straight into
slices of its buffer (constant offsets in the maps of the nests that write and read them), reshapes
are aliases.  Copies are made only where that is impossible: an input or constant that is returned,
a value returned twice, an operand of a concatenation that is also read in ways a slice cannot be
(through a reshape, at computed indices, or past its edges along the joined axis).  `placement`
decides which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    FunctionType,
    MemRefType,
    ModuleOp,
    i32,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, OpResult, SSAValue

from ...dialects.graph import ConstantOp
from ...dialects.loop import (
    AllocOp,
    ConcatOp,
    ExtractOp,
    GlobalOp,
    Linear,
    NestOp,
    ReshapeOp,
    captured,
)
from ...dialects.types import element_of, integer, memref, shape_of
from ..base import CompilerContext, Pass, main_function
from .placement import Placement, Slice, copy_nest


@dataclass(frozen=True)
class _View:
    """A buffer and the offset of a value in it, for each axis."""

    base: SSAValue
    offsets: tuple[int, ...]

    def shift(self, map: Linear) -> Linear:
        """`map` of the value as a map of the buffer."""
        consts = tuple(c + o for c, o in zip(map.consts, self.offsets, strict=True))
        return Linear(map.coeffs, consts, map.num_dims)


def _buffer_type(value: SSAValue, space: str = "dram") -> MemRefType[Any]:
    return memref(shape_of(value), element_of(value), space)


class _Bufferizer:
    """Decides where every value lives, then rebuilds the function's block."""

    def __init__(self, func: FuncOp):
        self.func = func
        self.old = func.body.block
        self.places = Placement(self.old)
        self._views: dict[SSAValue, _View] = {}
        self._new: list[Operation] = []
        self._outputs: Sequence[SSAValue] = ()

    def rebuild(self) -> None:
        """Make the memref form."""
        func, old = self.func, self.old
        inputs = [_buffer_type(a) for a in old.args]
        last = old.last_op
        assert isinstance(last, ReturnOp)
        outputs = [_buffer_type(v) for v in last.arguments]
        block = Block(arg_types=[*inputs, *outputs])
        for before, after in zip(old.args, block.args, strict=False):
            after.name_hint = before.name_hint
            self._views[before] = _whole(after)
        self._outputs = block.args[len(inputs) :]
        for value, argument in zip(last.arguments, self._outputs, strict=True):
            argument.name_hint = value.name_hint
        ops = list(old.ops)
        for op in ops[:-1]:
            self._rewrite(op)
        self._new.append(ReturnOp())
        for op in reversed(ops):
            op.detach()
            op.erase()
        region = func.body
        region.detach_block(old)
        block.add_ops(self._new)
        region.add_block(block)
        func.properties["function_type"] = FunctionType.from_lists([*inputs, *outputs], [])
        func.properties.pop("arg_attrs", None)
        func.properties.pop("res_attrs", None)
        func.attributes["num_inputs"] = integer(len(inputs))

    def _rewrite(self, op: Operation) -> None:
        match op:
            case ConstantOp():
                self._global(op)
            case NestOp():
                self._nest(op)
            case ReshapeOp():
                source = self._views[op.x]
                alias = ReshapeOp(source.base, _buffer_type(op.result))
                self._emit(alias, op)
                self._views[op.result] = _whole(alias.result)
            case ConcatOp():
                self._concat(op)
            case _:
                raise TypeError(f"{op.name} cannot be bufferised")

    def _emit(self, op: Operation, source: Operation) -> None:
        op.location = source.location
        op.attributes = dict(source.attributes) | op.attributes
        if op.results and source.results:
            op.results[0].name_hint = source.results[0].name_hint
        self._new.append(op)

    def _global(self, op: ConstantOp) -> None:
        if op.result.first_use is not None:
            made = GlobalOp(op.value, _buffer_type(op.result, "const"))
            self._emit(made, op)
            self._views[op.result] = _whole(made.result)

    def _view(self, value: SSAValue) -> _View:
        """Where `value` is (to be) written; its buffer is made on first use."""
        if value in self._views:
            return self._views[value]
        if (place := self.places.slices.get(value)) is not None:
            whole = self._view(place.whole)
            offsets = list(whole.offsets)
            offsets[place.axis] += place.start
            view = _View(whole.base, tuple(offsets))
        else:
            view = _whole(self._buffer(value))
        self._views[value] = view
        return view

    def _buffer(self, value: SSAValue) -> SSAValue:
        assert isinstance(value, OpResult)
        type = _buffer_type(value)
        if (i := self.places.returned.get(value)) is None:
            made: Operation = AllocOp(type)
        elif self._outputs[i].type == type:
            return self._outputs[i]
        else:
            made = ReshapeOp(self._outputs[i], type)
        made.location = value.op.location
        made.results[0].name_hint = value.name_hint
        self._new.append(made)
        return made.results[0]

    def _nest(self, nest: NestOp) -> None:
        views = [*(self._views[v] for v in nest.reads), self._view(nest.results[0])]
        maps = nest.maps
        if any(any(v.offsets) for v in views):
            maps = ArrayAttr(
                [v.shift(m).attr for v, m in zip(views, nest.linear_maps, strict=True)]
            )
        for source in captured(nest):
            for use in tuple(source.uses):
                if isinstance(use.operation, ExtractOp) and _within(use.operation, nest):
                    use.operation.operands[use.index] = self._views[source].base
        properties = dict(nest.properties)
        properties["maps"] = maps
        counts = [len(nest.ins), len(nest.epilogue_ins), 1]
        properties["operandSegmentSizes"] = DenseArrayBase.from_list(i32, counts)
        regions = [nest.detach_region(region) for region in list(nest.regions)]
        made = NestOp.create(
            operands=[v.base for v in views],
            result_types=[],
            properties=properties,
            regions=regions,
        )
        self._emit(made, nest)

    def _concat(self, concat: ConcatOp) -> None:
        axis, start = concat.axis.value.data, 0
        whole = self._view(concat.result)
        device = concat.device.data if concat.device else None
        for value in concat.args:
            size = shape_of(value)[axis]
            if self.places.slices.get(value) != Slice(concat.result, axis, start):
                source = self._views[value]
                copy = copy_nest(value, device)
                offsets = list(whole.offsets)
                offsets[axis] += start
                maps = copy.linear_maps
                target = _View(whole.base, tuple(offsets))
                made = NestOp(
                    copy.sizes,
                    [source.base],
                    [],
                    [source.shift(maps[0]), target.shift(maps[1])],
                    copy.detach_region(copy.body),
                    outs=[whole.base],
                    device=device,
                )
                copy.erase()
                made.location = concat.location
                self._new.append(made)
            start += size


def _whole(buffer: SSAValue) -> _View:
    return _View(buffer, (0,) * len(shape_of(buffer)))


def _within(op: Operation, nest: NestOp) -> bool:
    block = op.parent_block()
    return block is not None and block.parent_op() is nest


@dataclass(frozen=True)
class BufferizePass(Pass):
    """Turn tensors into buffers: destination-passing nests, concatenations in place."""

    name = "bufferize"

    def run(self, ctx: CompilerContext, module: ModuleOp) -> None:
        """Bufferise @main."""
        _Bufferizer(main_function(module)).rebuild()


PASS = BufferizePass
