"""Wrong and hostile data: one clear error that names the node, never an exhausted machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from support.host_calls import call
from tilewright.backends.host import refusal
from tilewright.dialects.errors import InputError, ModelError


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


X = np.arange(12, dtype=np.float32).reshape(3, 4)
IMAGE = np.zeros((1, 1, 4, 4), np.float32)
HUGE = 1 << 40

WRONG: list[tuple[str, list[Any], int, dict[str, Any]]] = [
    ("ConstantOfShape", [ints(HUGE, HUGE)], 21, {}),
    ("ConstantOfShape", [ints(-1)], 21, {}),
    ("Range", [np.array(0), np.array(HUGE), np.array(1)], 11, {}),
    ("Range", [np.array(0), np.array(5), np.array(0)], 11, {}),
    ("Range", [np.array(0.0), np.array(np.inf), np.array(1.0)], 11, {}),
    ("Expand", [X, ints(HUGE, 3, 4)], 13, {}),
    ("Expand", [X, ints(5)], 13, {}),
    ("Tile", [X, ints(HUGE, 1)], 13, {}),
    ("Tile", [X, ints(1)], 13, {}),
    ("Pad", [X, ints(0, HUGE, 0, 0)], 21, {}),
    ("Resize", [IMAGE, None, None, ints(1, 1, HUGE, HUGE)], 19, {}),
    ("Resize", [IMAGE, None, np.array([1, 1, -2, 1], np.float32)], 19, {}),
    ("OneHot", [ints(1), np.array(HUGE), np.array([0.0, 1.0])], 11, {}),
    ("HannWindow", [np.array(HUGE)], 17, {}),
    ("DFT", [X[:, :, None], np.array(HUGE)], 17, {}),
    ("CenterCropPad", [X, ints(HUGE, HUGE)], 18, {}),
    ("Add", [np.zeros((1 << 20, 1)), np.zeros((1, 1 << 20))], 14, {}),
    ("MaxUnpool", [IMAGE, np.full(IMAGE.shape, 99)], 11, {"kernel_shape": [1, 1]}),
    ("Gather", [X, ints(3)], 13, {}),
    ("GatherND", [X, ints(0, 9)], 13, {}),
    ("ScatterElements", [X, np.array([[7]]), np.ones((1, 1), np.float32)], 18, {}),
    ("ScatterND", [X, np.array([[-9]]), X[:1]], 18, {}),
    ("TopK", [X, ints(5)], 11, {}),
    ("Compress", [X, np.ones(9, bool)], 11, {"axis": 0}),
    ("SequenceAt", [[X], np.array(1)], 11, {}),
    ("SequenceAt", [X, np.array(1)], 11, {}),
    ("SequenceErase", [[]], 11, {}),
    ("NonMaxSuppression", [X, X], 11, {}),
    ("RoiAlign", [IMAGE, np.ones((1, 4), np.float32), ints(7)], 16, {}),
    ("GridSample", [IMAGE, X], 20, {}),
    ("Conv", [IMAGE, np.zeros((1, 2, 3, 3), np.float32)], 11, {}),
    ("MaxPool", [IMAGE], 12, {"kernel_shape": [9, 9]}),
    ("Cast", [np.array(["one"], object)], 21, {"to": 1}),
    ("Bernoulli", [np.array([1.5])], 15, {}),
    ("RegexFullMatch", [np.array(["a"], object)], 20, {"pattern": "("}),
    ("MatMul", [X, X], 13, {}),
    ("Reshape", [X, ints(5, 5)], 21, {}),
    ("NonZero", [None], 13, {}),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[0])
def test_wrong_data_is_an_error_that_names_the_node(
    case: tuple[str, list[Any], int, dict[str, Any]],
) -> None:
    op, inputs, opset, attributes = case
    with pytest.raises(InputError) as caught:
        call(op, inputs, opset, **attributes)
    assert caught.value.node == "the_node" and caught.value.op == op
    assert "Traceback" not in str(caught.value) and len(str(caught.value)) < 600


def test_refusals() -> None:
    assert refusal("", "NonZero", 13) is None
    assert refusal("ai.onnx", "Gelu", 20) is None
    assert refusal("ai.onnx.ml", "Scaler", 3) is None
    for domain, op, opset in (
        ("", "NoSuchOperator", 21),
        ("", "Gelu", 13),
        ("ai.onnx.preview.training", "Gradient", 1),
        ("com.example", "Own", 1),
    ):
        found = refusal(domain, op, opset)
        assert found is not None and all(found)
        with pytest.raises(ModelError, match="the_node"):
            call(op, [], opset, domain=domain)


def test_random_numbers_depend_on_seed_and_name_alone() -> None:
    attributes: dict[str, Any] = dict(shape=[1000])
    first, again, other = (
        call("RandomNormal", [], 22, name=name, **attributes)[0] for name in ("a", "a", "b")
    )
    assert (first == again).all() and (first != other).any()
    seeded = [
        call("RandomUniform", [], 22, name=name, seed=3.0, low=2.0, high=4.0, **attributes)[0]
        for name in ("a", "b")
    ]
    assert (seeded[0] == seeded[1]).all()
    assert seeded[0].min() >= 2 and seeded[0].max() < 4 and abs(seeded[0].mean() - 3) < 0.1
    draws = call("Bernoulli", [np.full(10_000, 0.3, np.float32)], 22, dtype=6)[0]
    assert draws.dtype == np.int32 and abs(draws.mean() - 0.3) < 0.02
    classes = call("Multinomial", [np.log([[0.7, 0.2, 0.1]])], 22, sample_size=10_000)[0]
    np.testing.assert_allclose(np.bincount(classes[0]) / 10_000, [0.7, 0.2, 0.1], atol=0.02)


def test_every_operator_of_every_opset_is_computed_or_refused_with_a_reason() -> None:
    refused: set[str] = set()
    schemas: Any = onnx.defs.get_all_schemas_with_history()
    for schema in schemas:
        if not schema.deprecated and refusal(schema.domain, schema.name, schema.since_version):
            refused.add(schema.name)
    assert refused <= {"Gradient", "ImageDecoder"}
