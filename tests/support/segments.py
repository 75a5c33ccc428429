"""Building NPU segments by hand: a function over an arena and constants of random bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp, i8, i32
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue

from tilewright.dialects.graph import ConstantRefAttr
from tilewright.dialects.locations import location
from tilewright.dialects.loop import (
    AllocOp,
    ApplyOp,
    ExtractOp,
    GlobalOp,
    Linear,
    NestOp,
    ScalarConstantOp,
    ScalarYieldOp,
)
from tilewright.dialects.types import element_of, element_type, integer, memref, numpy_dtype, string
from tilewright.passes.base import CompilerContext

Row = dict[int, int]
Chain = Callable[["Scalars"], SSAValue]


@dataclass
class Scalars:
    """Scalar operations of an epilogue under construction, and its memory operands."""

    segment: Segment
    rng: np.random.Generator
    block: Block
    rank: int
    output_rows: Sequence[Row]
    output_consts: Sequence[int]
    values: list[SSAValue] = field(default_factory=list[SSAValue])
    maps: list[Linear] = field(default_factory=list[Linear])

    def apply(self, fn: str, args: Sequence[SSAValue], result: Any = i8, **params: int) -> SSAValue:
        op = ApplyOp(fn, args, result, dict(params))
        self.block.add_op(op)
        return op.result

    def operand(
        self, value: SSAValue, rows: Sequence[Row], consts: Sequence[int] | None = None
    ) -> SSAValue:
        self.values.append(value)
        self.maps.append(Linear.of(rows, self.rank, consts))
        return self.block.insert_arg(element_of(value), len(self.block.args))

    def channels(self, array: Any, dims: Sequence[Row]) -> SSAValue:
        return self.operand(self.segment.constant(array), dims)

    def requantize(
        self,
        acc: SSAValue,
        rows: Sequence[Row],
        shape: Sequence[int],
        bias: bool = True,
        per_tensor: bool = False,
        steps: int = 64,
    ) -> SSAValue:
        """Bias and requantisation per channel (`rows`, `shape`) or per tensor."""
        if bias:
            acc = self.apply(
                "add",
                [acc, self.channels(self.rng.integers(-500, 500, shape, np.int32), rows)],
                i32,
            )
        if per_tensor:
            m = ScalarConstantOp(int(self.rng.integers(1 << 30, 1 << 31)), i32)
            s = ScalarConstantOp(int(self.rng.integers(31, 40)), i32)
            self.block.add_ops([m, s])
            return self.apply("requantize", [acc, m.result, s.result], zp=-3, lo=-100, hi=127)
        m = self.channels(self.rng.integers(1 << 30, 1 << 31, shape).astype(np.int32), rows)
        s = self.channels(self.rng.integers(32, 40, shape, np.int32), rows)
        return self.apply("requantize", [acc, m, s], zp=5, lo=-128, hi=127)

    def residual(self, value: SSAValue, shape: Sequence[int]) -> SSAValue:
        other = self.operand(self.segment.buffer(shape), self.output_rows, self.output_consts)
        return self.apply(
            "qadd",
            [value, other],
            za=3,
            zb=-4,
            zp=7,
            ma=1 << 20,
            mb=700_000,
            multiplier=1 << 30,
            shift=50,
        )

    def table(self, value: SSAValue) -> SSAValue:
        table = self.segment.constant(self.rng.integers(-128, 128, 256).astype(np.int8))
        index = self.apply("widen", [value], i32, zp=-128)
        op = ExtractOp(table, [index])
        self.block.add_op(op)
        return op.result


class Segment:
    """One `@npu_segment_0` with its arena and constants."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.ctx = CompilerContext()
        self.block = Block()
        self.arena_bytes = 0
        self.consts = bytearray()
        self.count = 0

    def buffer(self, shape: Sequence[int], element: Any = i8) -> SSAValue:
        op = AllocOp(memref(shape, element, "dram"), offset=self.arena_bytes)
        item = numpy_dtype(element).itemsize
        self.arena_bytes += -(-int(np.prod(shape)) * item // 64) * 64 + 64
        self.block.add_op(op)
        return op.result

    def constant(self, array: Any) -> SSAValue:
        op = GlobalOp(
            ConstantRefAttr(string(self.ctx.constants.add(array))),
            memref(array.shape, element_type(array.dtype), "const"),
            len(self.consts),
        )
        self.consts += array.tobytes() + b"\x77" * (-array.nbytes % 64)
        self.block.add_op(op)
        return op.result

    def weights(self, shape: Sequence[int]) -> SSAValue:
        return self.constant(self.rng.integers(-128, 128, shape).astype(np.int8))

    def nest(
        self,
        domain: Sequence[int],
        ins: Sequence[tuple[SSAValue, Sequence[Row], Sequence[int] | None, int | None]],
        out: tuple[SSAValue, Sequence[Row], Sequence[int] | None],
        *,
        reduce: str = "none",
        reduced: Sequence[int] = (),
        zero_points: Sequence[int] = (0, 0),
        chain: Chain | None = None,
        accumulator: Callable[[Scalars], SSAValue] | None = None,
    ) -> NestOp:
        """A nest; the body is the usual one of `reduce` ("add": product or sum, "max": itself).

        `accumulator` makes another body.
        """
        rank = len(domain)
        body = Block(arg_types=[element_of(v) for v, *_ in ins])
        inner = Scalars(self, self.rng, body, rank, out[1], out[2] or [0] * len(out[1]))
        if reduce == "add" and accumulator is None:
            wide = [
                inner.apply("widen", [a], i32, zp=z)
                for a, z in zip(body.args, zero_points, strict=False)
            ]
            value = wide[0] if len(wide) == 1 else inner.apply("mul", wide, i32)
        else:
            value = body.args[0] if accumulator is None else accumulator(inner)
        body.add_op(ScalarYieldOp([value]))
        extra = inner.values  # operands that the body asked for
        epilogue: Region | None = None
        scalars = Scalars(
            self, self.rng, Block(arg_types=[value.type]), rank, out[1], out[2] or [0] * len(out[1])
        )
        if chain is not None:
            scalars.block.add_op(ScalarYieldOp([chain(scalars)]))
            epilogue = Region(scalars.block)
        maps = [
            *(Linear.of(rows, rank, consts) for _, rows, consts, _ in ins),
            *inner.maps,
            *scalars.maps,
            Linear.of(out[1], rank, out[2]),
        ]
        fills = [*(f for *_, f in ins), *([None] * (len(inner.maps) + len(scalars.maps)))]
        nest = NestOp(
            domain,
            [*(v for v, *_ in ins), *extra],
            scalars.values,
            maps,
            Region(body),
            epilogue,
            reduce=reduce,
            reduction_dims=reduced,
            fills=fills,
            outs=[out[0]],
            device="npu",
        )
        nest.location = location([f"node{self.count}"])
        self.count += 1
        self.block.add_op(nest)
        return nest

    def module(self) -> ModuleOp:
        self.block.add_op(ReturnOp())
        module = ModuleOp([FuncOp("npu_segment_0", ([], []), Region(self.block))])
        module.verify()
        return module

    def module_with_main(self) -> ModuleOp:
        """The segment beside an empty @main that declares its constants, as after outline-npu."""
        block = Block([op.clone() for op in self.block.ops if isinstance(op, GlobalOp)])
        block.add_op(ReturnOp())
        main = FuncOp("main", ([], []), Region(block))
        main.attributes["const_bytes"] = integer(len(self.consts))
        module = self.module()
        module.body.block.insert_op_before(main, next(iter(module.ops)))
        return module

    def memories(self) -> tuple[Any, Any]:
        arena = self.rng.integers(0, 256, self.arena_bytes + 64).astype(np.uint8)
        return arena, np.frombuffer(bytes(self.consts) or b"\0", np.uint8)
