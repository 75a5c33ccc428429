"""loop.subview: text, verification, and meaning as a view of its buffer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.parser import Parser
from xdsl.utils.exceptions import VerifyException

from tilewright.dialects.constants import Array
from tilewright.dialects.errors import IRError
from tilewright.dialects.loop import SubviewOp
from tilewright.dialects.semantics.loop import run
from tilewright.passes.base import CompilerContext

BODY = """
func.func @f() {{
  %y = loop.alloc {{offset = 0 : i64}} : memref<6x8xi8, "dram">
  loop.for %h = 0 to {stop} step 2 {{
    %t = loop.subview %y[%h] at affine_map<(d0) -> (d0, 1)> {steps}: memref<6x8xi8, "dram"> -> {type}
    loop.fill %t with 7 : i64 : {type}
  }}
  func.return
}}
"""  # noqa: E501


def parse(stop: int = 6, steps: str = "", type: str = 'memref<2x3xi8, "dram">') -> ModuleOp:
    text = BODY.format(stop=stop, steps=steps, type=type)
    return Parser(CompilerContext(), text).parse_module()


def execute(module: ModuleOp, arena: Array) -> None:
    [func] = module.ops
    assert isinstance(func, FuncOp)
    run(func, arena, np.zeros(1, np.uint8))


@pytest.mark.parametrize("steps", ["", "steps [1, 2] "])
def test_text_round_trips(steps: str) -> None:
    module = parse(steps=steps)
    module.verify()
    again = Parser(CompilerContext(), str(module)).parse_module()
    assert str(again) == str(module) and module.is_structurally_equivalent(again)
    assert ("steps [1, 2]" in str(module)) == bool(steps)


@pytest.mark.parametrize(
    ("steps", "type", "match"),
    [
        ("", 'memref<2xi8, "dram">', "rank"),
        ("", 'memref<2x3xi32, "dram">', "element type"),
        ("", 'memref<2x3xi8, "spm">', "space"),
        ("steps [1] ", 'memref<2x3xi8, "dram">', "every axis"),
    ],
)
def test_misfits_are_refused(steps: str, type: str, match: str) -> None:
    with pytest.raises(VerifyException, match=match):
        for op in parse(steps=steps, type=type).walk():
            if isinstance(op, SubviewOp):
                op.verify()


def test_writes_reach_the_buffer() -> None:
    arena = np.zeros(48, np.uint8)
    execute(parse(stop=4, steps="steps [1, 3] ", type='memref<2x2xi8, "dram">'), arena)
    expected = np.zeros((6, 8), np.uint8)
    expected[:4, [1, 4]] = 7
    assert (arena.reshape(6, 8) == expected).all()


def test_a_box_outside_the_buffer_is_an_error() -> None:
    with pytest.raises(IRError, match="leaves its buffer"):
        execute(parse(type='memref<3x3xi8, "dram">'), np.zeros(48, np.uint8))
    with pytest.raises(IRError, match="leaves its buffer"):
        execute(parse(type='memref<2x8xi8, "dram">'), np.zeros(48, np.uint8))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_nests_read_and_write_through_subviews(data: st.DataObject) -> None:
    """Copying a box of one buffer into a box of another, by numpy's own slices."""
    extents = [data.draw(st.integers(1, 7)) for _ in range(3)]
    boxes: list[tuple[slice, ...]] = []
    steps: list[list[int]] = []
    box = [data.draw(st.integers(1, n)) for n in extents]
    for _ in range(2):
        step = [data.draw(st.integers(1, max((n - 1) // max(b - 1, 1), 1)))
                for n, b in zip(extents, box, strict=True)]  # fmt: skip
        begin = [data.draw(st.integers(0, n - 1 - (b - 1) * s))
                 for n, b, s in zip(extents, box, step, strict=True)]  # fmt: skip
        boxes.append(tuple(
            slice(a, a + (b - 1) * s + 1, s) for a, b, s in zip(begin, box, step, strict=True)
        ))  # fmt: skip
        steps.append(step)
    size = int(np.prod(extents))
    big = "x".join(map(str, extents)) + 'xi8, "dram"'
    small = "x".join(map(str, box)) + 'xi8, "dram"'
    at = [", ".join(str(s.start) for s in b) for b in boxes]
    same = "affine_map<(a, b, c) -> (a, b, c)>"
    text = f"""
      func.func @f() {{
        %x = loop.alloc {{offset = 0 : i64}} : memref<{big}>
        %y = loop.alloc {{offset = {size} : i64}} : memref<{big}>
        %s = loop.subview %x[] at affine_map<() -> ({at[0]})> steps {steps[0]} : memref<{big}> -> memref<{small}>
        %t = loop.subview %y[] at affine_map<() -> ({at[1]})> steps {steps[1]} : memref<{big}> -> memref<{small}>
        loop.nest domain {box} ins(%s : memref<{small}>) outs(%t : memref<{small}>) maps [{same}, {same}] body {{
        ^bb0(%a: i8):
          loop.yield %a : i8
        }}
        func.return
      }}"""  # noqa: E501
    arena = np.random.default_rng(0).integers(0, 256, 2 * size).astype(np.uint8)
    expected = arena.copy()
    source, target = expected[:size].reshape(extents), expected[size:].reshape(extents)
    target[boxes[1]] = source[boxes[0]]
    execute(Parser(CompilerContext(), text).parse_module(), arena)
    assert (arena == expected).all()
