"""Control flow, sequences and functions, driven through whole models in ONNX's text form."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from support.host_calls import call
from support.host_models import HostModel
from tilewright.dialects.errors import InputError

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def run(text: str, *inputs: Any) -> list[Any]:
    return HostModel(onnx.parser.parse_model(HEAD + text)).run(list(inputs))


LOOP = """
agraph (int64 M, bool c, float[N] x) => (float[K] y, float[T, N] rows) {
  y, rows = Loop (M, c, x) <body = body (int64 i, bool c_in, float[A] v)
      => (bool c_out, float[B] w, float[N] row) {
    limit = Constant <value_int = 3> ()
    c_out = Less (i, limit)
    w = Concat <axis = 0> (v, v)
    row = Identity (x)
  }>
}
"""


def test_loop_stops_at_either_bound_and_carries_growing_values() -> None:
    x = np.array([1, 2], np.float32)
    for trips, steps in ((2, 2), (9, 4)):
        y, rows = run(LOOP, np.array(trips), np.array(True), x)
        assert y.shape == (2 * 2**steps,)
        assert rows.tolist() == [[1, 2]] * steps
    y, rows = run(LOOP, np.array(9), np.array(False), x)
    assert y.tolist() == [1, 2] and rows.shape[0] == 0


def test_loop_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from tilewright.backends.host import control

    monkeypatch.setattr(control, "STEP_LIMIT", 50)
    text = """
    agraph (bool c, float[1] x) => (float[1] y) {
      y = Loop (, c, x) <body = body (int64 i, bool c_in, float[1] v)
          => (bool c_out, float[1] w) {
        c_out = Identity (c_in)
        w = Add (v, v)
      }>
    }
    """
    with pytest.raises(InputError, match=r"node 'y' \(Loop\): the loop runs for more than 50"):
        run(text, np.array(True), np.ones(1, np.float32))


def test_loop_collects_into_a_sequence() -> None:
    text = """
    agraph (int64 M, float[3] x) => (seq(float[A]) s) {
      empty = SequenceEmpty <dtype = 1> ()
      s = Loop (M, , empty) <body = body (int64 i, bool c, seq(float[A]) t)
          => (bool d, seq(float[A]) u) {
        d = Identity (c)
        u = SequenceInsert (t, x)
      }>
    }
    """
    (made,) = run(text, np.array(3), np.arange(3, dtype=np.float32))
    assert [element.tolist() for element in made] == [[0, 1, 2]] * 3


def test_branches_see_the_outer_scope() -> None:
    text = """
    agraph (bool c, float[2] x) => (float[2] y) {
      z = Neg (x)
      y = If (c) <
        then_branch = one () => (float[2] a) { a = Identity (z) },
        else_branch = two () => (float[2] b) { b = Add (x, z) }
      >
    }
    """
    x = np.array([1, 2], np.float32)
    assert run(text, np.array(True), x)[0].tolist() == [-1, -2]
    assert run(text, np.array(False), x)[0].tolist() == [0, 0]


@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_scan(backward: int, axis: int) -> None:
    text = f"""
    agraph (float[2] start, float[A, B] x) => (float[2] last, float[C, D] sums) {{
      last, sums = Scan (start, x) <num_scan_inputs = 1, scan_input_directions = [{backward}],
        scan_input_axes = [{axis}], scan_output_axes = [{axis}],
        scan_output_directions = [{backward}],
        body = body (float[2] s, float[2] row) => (float[2] t, float[2] u) {{
          t = Add (s, row)
          u = Identity (t)
        }}>
    }}
    """
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    last, sums = run(text, np.zeros(2, np.float32), x if axis == 0 else x.T.copy())
    rows = np.cumsum(x[::-1], 0)[::-1] if backward else np.cumsum(x, 0)
    np.testing.assert_array_equal(sums, rows if axis == 0 else rows.T)
    np.testing.assert_array_equal(last, x.sum(0))


def test_functions_bind_attributes_and_call_each_other() -> None:
    text = """
    agraph (float[2] x) => (float[2] y) { y = own.Twice <by = 3.0> (x) }
    <domain: "own", opset_import: ["" : 21, "own" : 1]>
    Twice <by> (a) => (b) {
      c = own.Scaled <factor: float = @by> (a)
      b = own.Scaled <factor: float = @by> (c)
    }
    <domain: "own", opset_import: ["" : 21]>
    Scaled <factor> (a) => (b) {
      f = Constant <value_float: float = @factor> ()
      b = Mul (a, f)
    }
    """
    head = HEAD.replace('"" : 21', '"" : 21, "own" : 1')
    model = onnx.parser.parse_model(head + text)
    assert HostModel(model).run([np.array([1, 2], np.float32)])[0].tolist() == [9, 18]


def test_a_function_that_calls_itself_is_an_error() -> None:
    text = """
    agraph (float[2] x) => (float[2] y) { y = own.Again (x) }
    <domain: "own", opset_import: ["" : 21, "own" : 1]>
    Again (a) => (b) { b = own.Again (a) }
    """
    head = HEAD.replace('"" : 21', '"" : 21, "own" : 1')
    model = onnx.parser.parse_model(head + text)
    with pytest.raises(InputError, match="nested more than"):
        HostModel(model).run([np.zeros(2, np.float32)])


def test_sequences_do_not_change_in_place() -> None:
    first = [np.zeros(2), np.ones(2)]
    (longer,) = call("SequenceInsert", [first, np.full(2, 5.0), np.array(-1)], 11)
    assert [int(t[0]) for t in longer] == [0, 5, 1] and len(first) == 2
    (shorter,) = call("SequenceErase", [longer], 11)
    assert [int(t[0]) for t in shorter] == [0, 5]
    assert call("SequenceLength", [shorter], 11)[0] == 2
    pieces = call("SplitToSequence", [np.arange(7), np.array(3)], 11)[0]
    assert [piece.tolist() for piece in pieces] == [[0, 1, 2], [3, 4, 5], [6]]
    assert call("ConcatFromSequence", [pieces], 11, axis=0)[0].tolist() == list(range(7))


def test_optionals() -> None:
    assert not call("OptionalHasElement", [None], 18)[0]
    assert call("OptionalHasElement", [np.ones(1)], 18)[0]
    with pytest.raises(InputError, match="empty"):
        call("OptionalGetElement", [None], 18)
