"""The evaluator itself: inputs, observers, regions, errors."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.parser import Parser

from tilewright.dialects.constants import Array
from tilewright.dialects.errors import InputError
from tilewright.dialects.semantics.graph import evaluate
from tilewright.passes.base import CompilerContext

TEXT = """
func.func @main(%x: tensor<2xf32>, %y: tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>)
    attributes {input_names = ["left", "right"]} {
  %r = graph.region(%a = %x : tensor<2xf32>, %b = %y : tensor<2xf32>) -> tensor<2xf32> {
    %s = graph.map "sub" %a, %b : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
    %t = graph.map "neg" %s : (tensor<2xf32>) -> tensor<2xf32>
    graph.yield %t : tensor<2xf32>
  }
  func.return %r, %x : tensor<2xf32>, tensor<2xf32>
}
"""
X, Y = np.asarray([1, 2], np.float32), np.asarray([5, 7], np.float32)


def setup():
    ctx = CompilerContext()
    return Parser(ctx, TEXT).parse_module(), ctx.constants


def test_inputs_by_name_and_by_order() -> None:
    module, store = setup()
    for inputs in ([X, Y], {"right": Y, "left": X}):
        difference, same = evaluate(module, inputs, store)
        np.testing.assert_array_equal(difference, [4, 5])
        np.testing.assert_array_equal(same, X)


def test_observer_sees_every_value_inside_regions_too() -> None:
    module, store = setup()
    seen = []
    evaluate(
        module, [X, Y], store, lambda op, result, value: seen.append((op.name, value.tolist()))
    )
    assert seen == [
        ("graph.map", [-4.0, -5.0]),
        ("graph.map", [4.0, 5.0]),
        ("graph.region", [4.0, 5.0]),
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"left": X}, "missing input 'right'"),
        ([X], "expected 2 inputs, got 1"),
        ([X, Y[:1]], "input 1 is float32"),
        ([X, Y.astype(np.float64)], "input 1 is float64"),
    ],
)
def test_wrong_inputs_are_told(inputs: list[Array], message: str) -> None:
    module, store = setup()
    with pytest.raises(InputError, match=message):
        evaluate(module, inputs, store)
