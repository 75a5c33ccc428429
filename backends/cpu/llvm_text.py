"""LLVM IR text: typed values, value numbering and structured loops.

Text costs a third of llvmlite's builder objects and needs no llvmlite to emit.  A `Function`
hands out `Value`s (a name or literal with its type); an instruction without effect that was
already emitted in an enclosing scope is not emitted again, so emitters may ask for the same load,
broadcast or address as often as they like.

    f = Function("k", ["x", "y"])
    with f.loop(0, 8, 1) as loop:
        v = f.load(f.address("%x", loop.index, F32), F32)
        f.store(f.binary("fadd", v, v), f.address("%y", loop.index, F32))

Index arithmetic takes `int | str`: integers are folded, strings are i64 values.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    IntegerType,
    Signedness,
)
from xdsl.ir import Attribute

Index = int | str
"""An i64: a known integer or the name of a value."""


class Type(NamedTuple):
    """`kind` is "i" (signed or bool), "u", "f" or "bf" (bfloat16, kept as its bits in an i16)."""

    kind: str
    bits: int
    lanes: int = 1

    @property
    def is_float(self) -> bool:
        """Whether values are floating-point (including bfloat16)."""
        return self.kind in ("f", "bf")

    @property
    def is_bool(self) -> bool:
        """Whether values are truth values."""
        return self.bits == 1

    @property
    def scalar(self) -> str:
        """LLVM's name of one lane in a register."""
        return _FLOATS[self.bits] if self.kind == "f" else f"i{self.bits}"

    @property
    def memory(self) -> str:
        """LLVM's name of one element in memory (bool is a byte)."""
        return "i8" if self.bits == 1 else self.scalar

    @property
    def text(self) -> str:
        """LLVM's name of the whole value."""
        return _vector(self.scalar, self.lanes)

    @property
    def bytes(self) -> int:
        """Size of one element in memory."""
        return max(self.bits // 8, 1)

    def wide(self, lanes: int) -> Type:
        """The same element in `lanes` lanes."""
        return Type(self.kind, self.bits, lanes)


_FLOATS = {16: "half", 32: "float", 64: "double"}


@lru_cache(maxsize=1024)
def _vector(scalar: str, lanes: int) -> str:
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


I1, I8, I16, I32, I64 = (Type("i", bits) for bits in (1, 8, 16, 32, 64))
F16, F32, F64 = (Type("f", bits) for bits in (16, 32, 64))


@lru_cache(maxsize=256)
def type_of(element: Attribute) -> Type:
    """The register type of an MLIR element type."""
    match element:
        case IntegerType():
            unsigned = element.signedness.data == Signedness.UNSIGNED
            return Type("u" if unsigned else "i", element.width.data)
        case Float16Type():
            return F16
        case Float32Type():
            return F32
        case Float64Type():
            return F64
        case BFloat16Type():
            return Type("bf", 16)
        case _:
            raise TypeError(f"no CPU representation of element type {element}")


class Value(NamedTuple):
    """A register or literal with its type."""

    name: str
    type: Type

    @property
    def typed(self) -> str:
        """`type name`, as an operand is written."""
        return f"{self.type.text} {self.name}"


@lru_cache(maxsize=65536)
def _literal(value: float | int, type: Type) -> str:
    if type.kind == "f":
        if type.bits == 16:
            return f"0xH{struct.unpack('<H', struct.pack('<e', np.float16(value)))[0]:04X}"
        rounded = float(np.float32(value)) if type.bits == 32 else float(value)
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    if type.kind == "bf":
        return str(int(np.asarray(value, ml_dtypes.bfloat16).view(np.uint16)))
    if type.is_bool:
        return "true" if value else "false"
    wrapped = int(value) & ((1 << type.bits) - 1)
    return str(wrapped - (1 << type.bits) if wrapped >> (type.bits - 1) else wrapped)


@lru_cache(maxsize=65536)
def constant(value: float | int, type: Type) -> Value:
    """A literal; integers wrap to the type's width."""
    with np.errstate(over="ignore"):
        text = _literal(value, type.wide(1))
    return Value(text if type.lanes == 1 else f"splat ({type.scalar} {text})", type)


@dataclass
class Loop:
    """What `Function.loop` yields: fill `results` with the next carried values inside the loop."""

    index: Index
    carried: list[Value]
    results: list[Value] = field(default_factory=list[Value])


class Function:
    """One LLVM function returning void whose parameters are all pointers."""

    def __init__(self, name: str, parameters: Sequence[str], attributes: str = "") -> None:
        self.name = name
        self.declarations: set[str] = set()
        arguments = ", ".join(f"ptr %{p}" for p in parameters)
        self._head = f"define {attributes} void @{name}({arguments}) nounwind noinline"
        self._lines: list[str] = []
        self._count = 0
        self._block = "entry"
        self._scopes: list[dict[str, str]] = [{}]

    # --- instructions ---
    def op(self, text: str) -> str:
        """The name of `text`'s result; emitted unless an enclosing scope already has it."""
        for scope in self._scopes:
            if (known := scope.get(text)) is not None:
                return known
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        self._scopes[-1][text] = name
        return name

    def effect(self, text: str) -> None:
        """Emit an instruction for its effect."""
        self._lines.append(f"  {text}")

    def binary(self, operator: str, a: Value, b: Value) -> Value:
        """`operator` on two values of one type."""
        return Value(self.op(f"{operator} {a.typed}, {b.name}"), a.type)

    def compare(self, predicate: str, a: Value, b: Value) -> Value:
        """`icmp ...` or `fcmp ...` as one bool a lane."""
        return Value(self.op(f"{predicate} {a.typed}, {b.name}"), I1.wide(a.type.lanes))

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """Lane by lane, `a` where the condition holds."""
        return Value(self.op(f"select {condition.typed}, {a.typed}, {b.typed}"), a.type)

    def convert(self, operator: str, a: Value, type: Type) -> Value:
        """A conversion (`sext`, `fptosi`, `bitcast` ...) to `type`."""
        return a if a.type == type else Value(self.op(f"{operator} {a.typed} to {type.text}"), type)

    def call(self, name: str, args: Sequence[Value], result: Type) -> Value:
        """Call an external function without effects."""
        self.declare(f"{result.text} @{name}({', '.join(a.type.text for a in args)})")
        return Value(
            self.op(f"call {result.text} @{name}({', '.join(a.typed for a in args)})"), result
        )

    def intrinsic(self, name: str, *args: Value) -> Value:
        """`llvm.name` overloaded on the type of the first argument."""
        type = args[0].type
        suffix = f"{'f' if type.is_float else 'i'}{type.bits}"
        lanes = f"v{type.lanes}" if type.lanes > 1 else ""
        return self.call(f"llvm.{name}.{lanes}{suffix}", args, type)

    def declare(self, signature: str) -> None:
        """Note an external function."""
        self.declarations.add(f"declare {signature} nounwind")

    # --- vectors ---
    def broadcast(self, value: Value, lanes: int) -> Value:
        """A scalar in every lane."""
        if lanes == value.type.lanes:
            return value
        type = value.type.wide(lanes)
        if not value.name.startswith("%"):
            return Value(f"splat ({value.typed})", type)
        first = self.op(f"insertelement {type.text} poison, {value.typed}, i64 0")
        mask = f"<{lanes} x i32> zeroinitializer"
        return Value(
            self.op(f"shufflevector {type.text} {first}, {type.text} poison, {mask}"), type
        )

    def lane(self, value: Value, lane: int) -> Value:
        """One lane as a scalar."""
        if value.type.lanes == 1:
            return value
        return Value(self.op(f"extractelement {value.typed}, i64 {lane}"), value.type.wide(1))

    def gather(self, values: Sequence[Value]) -> Value:
        """Scalars as the lanes of one vector."""
        if len(values) == 1:
            return values[0]
        type = values[0].type.wide(len(values))
        text = "poison"
        for lane, value in enumerate(values):
            text = self.op(f"insertelement {type.text} {text}, {value.typed}, i64 {lane}")
        return Value(text, type)

    def shuffle(self, value: Value, lanes: Sequence[int]) -> Value:
        """Lanes of `value` in the order given."""
        mask = f"<{len(lanes)} x i32> <{', '.join(f'i32 {k}' for k in lanes)}>"
        type = value.type
        return Value(
            self.op(f"shufflevector {type.text} {value.name}, {type.text} poison, {mask}"),
            type.wide(len(lanes)),
        )

    # --- indices and memory ---
    def add(self, a: Index, b: Index) -> Index:
        """A + b."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.op(f"add nsw i64 {a}, {b}")

    def scale(self, a: Index, factor: int) -> Index:
        """A * factor."""
        if isinstance(a, int):
            return a * factor
        return 0 if factor == 0 else a if factor == 1 else self.op(f"mul nsw i64 {a}, {factor}")

    def minimum(self, a: Index, b: int) -> Index:
        """min(a, b)."""
        if isinstance(a, int):
            return min(a, b)
        return self.call("llvm.smin.i64", [Value(a, I64), constant(b, I64)], I64).name

    def address(self, base: str, index: Index, type: Type) -> str:
        """Address of element `index` of an array of `type` at `base`."""
        if index == 0:
            return base
        return self.op(f"getelementptr {type.memory}, ptr {base}, i64 {index}")

    def load(self, address: str, type: Type) -> Value:
        """Load `type.lanes` consecutive elements; bools are bytes in memory."""
        if type.is_bool:
            raw = Type("i", 8, type.lanes)
            byte = Value(self.op(f"load {raw.text}, ptr {address}, align 1"), raw)
            return self.compare("icmp ne", byte, constant(0, raw))
        return Value(self.op(f"load {type.text}, ptr {address}, align {type.bytes}"), type)

    def store(self, value: Value, address: str) -> None:
        """Store all lanes to consecutive elements."""
        if value.type.is_bool:
            value = self.convert("zext", value, Type("i", 8, value.type.lanes))
        self.effect(f"store {value.typed}, ptr {address}, align {value.type.bytes}")

    # --- control ---
    @contextmanager
    def loop(
        self, low: int, high: int, step: int, carried: Sequence[Value] = ()
    ) -> Generator[Loop]:
        """A counted loop (at least one iteration) over [low, high) that carries values.

        On leaving, `results` are the values after the last iteration.
        """
        if high - low <= step:
            yield Loop(low, list(carried), list(carried))
            return
        self._count += 1
        n, before = self._count, self._block
        head, leave = f"loop{n}", f"done{n}"
        loop = Loop(f"%i{n}", [Value(f"%c{n}_{k}", v.type) for k, v in enumerate(carried)])
        loop.results = list(loop.carried)
        self._lines += [f"  br label %{head}", f"{head}:"]
        at = len(self._lines)
        self._block = head
        self._scopes.append({})
        yield loop
        self._scopes.pop()
        self._lines += [
            f"  %n{n} = add nuw nsw i64 %i{n}, {step}",
            f"  %t{n} = icmp slt i64 %n{n}, {high}",
            f"  br i1 %t{n}, label %{head}, label %{leave}, !llvm.loop !0",
            f"{leave}:",
        ]
        phis = [f"  %i{n} = phi i64 [{low}, %{before}], [%n{n}, %{self._block}]"]
        for inner, first, last in zip(loop.carried, carried, loop.results, strict=True):
            sources = f"[{first.name}, %{before}], [{last.name}, %{self._block}]"
            phis.append(f"  {inner.name} = phi {inner.type.text} {sources}")
        self._lines[at:at] = phis
        self._block = leave

    def text(self) -> str:
        """The whole function."""
        return "\n".join([f"{self._head} {{", "entry:", *self._lines, "  ret void", "}", ""])
