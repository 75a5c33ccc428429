"""Support functions that differ between machines, appended to emitted LLVM IR when it is compiled.

Emitted text calls these without declaring them, so that it is the same for every machine:

* `i32 @tw_flush()`, `void @tw_restore(i32)`: around floating-point sums, denormal numbers count as
  zero (trained networks hold weights near 1e-20, whose products cost a hundred cycles each
  otherwise; results move by less than 1e-37);
* `<W x i32> @tw_dot_W(<W x i32> acc, <2W x i16> a, <2W x i16> b)`: acc + a[2i] b[2i] +
  a[2i+1] b[2i+1] in every lane i, wrapping.
"""

from __future__ import annotations

from .schedule import VARIANTS

_X86_FLUSH = """
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse.stmxcsr(ptr)
define internal i32 @tw_flush() alwaysinline nounwind {
  %before = alloca i32
  %after = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %before)
  %mode = load i32, ptr %before
  %flushing = or i32 %mode, 32832
  store i32 %flushing, ptr %after
  call void @llvm.x86.sse.ldmxcsr(ptr %after)
  ret i32 %mode
}
define internal void @tw_restore(i32 %mode) alwaysinline nounwind {
  %before = alloca i32
  store i32 %mode, ptr %before
  call void @llvm.x86.sse.ldmxcsr(ptr %before)
  ret void
}
"""
"""Bits 6 and 15 of MXCSR: denormals are zero, flush to zero."""

_NO_FLUSH = """
define internal i32 @tw_flush() alwaysinline nounwind {
  ret i32 0
}
define internal void @tw_restore(i32 %mode) alwaysinline nounwind {
  ret void
}
"""

_X86_PAIRS = {
    8: ("llvm.x86.avx2.pmadd.wd", "avx2"),
    16: ("llvm.x86.avx512.pmaddw.d.512", "avx512bw"),
}


def _dot(lanes: int, features: set[str]) -> str:
    narrow, wide = f"<{2 * lanes} x i16>", f"<{lanes} x i32>"
    arguments = f"{wide} %acc, {narrow} %a, {narrow} %b"
    head = f"define internal {wide} @tw_dot_{lanes}({arguments}) alwaysinline nounwind {{\n"
    name, feature = _X86_PAIRS.get(lanes, ("", ""))
    if feature in features:
        return f"""
declare {wide} @{name}({narrow}, {narrow})
{head}  %pairs = call {wide} @{name}({narrow} %a, {narrow} %b)
  %sum = add {wide} %acc, %pairs
  ret {wide} %sum
}}
"""
    both = f"<{2 * lanes} x i32>"
    even, odd = (", ".join(f"i32 {2 * k + side}" for k in range(lanes)) for side in (0, 1))
    return f"""
{head}  %x = sext {narrow} %a to {both}
  %y = sext {narrow} %b to {both}
  %products = mul {both} %x, %y
  %even = shufflevector {both} %products, {both} poison, <{lanes} x i32> <{even}>
  %odd = shufflevector {both} %products, {both} poison, <{lanes} x i32> <{odd}>
  %pairs = add {wide} %even, %odd
  %sum = add {wide} %acc, %pairs
  ret {wide} %sum
}}
"""


def support_functions(ir: str, triple: str, features: str) -> str:
    """Definitions of the support functions that `ir` calls, for a machine."""
    has = {f[1:] for f in features.split(",") if f.startswith("+")}
    text = ""
    if "@tw_flush(" in ir:
        text += _X86_FLUSH if triple.startswith("x86_64") else _NO_FLUSH
    for lanes in sorted({v.lanes for v in VARIANTS} | {4}):
        if f"@tw_dot_{lanes}(" in ir:
            text += _dot(lanes, has)
    return text
