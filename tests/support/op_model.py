"""Models of one operator, and the table of those that tests run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

I64 = np.int64
F32: Any = np.float32
I8: Any = np.int8


class OpCase(NamedTuple):
    """A model of one operator."""

    id: str
    model: ModelProto


CASES: list[OpCase] = []


class In(NamedTuple):
    """A run-time input."""

    shape: tuple[int, ...]
    dtype: Any = np.float32


def op_model(
    op: str,
    args: Sequence[Any],
    *,
    opset: int = 17,
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> ModelProto:
    """`args`: `In` for a run-time input, an array (or numbers) for a constant, None if omitted."""
    inputs, weights, names = list[Any](), list[TensorProto](), list[str]()
    for i, arg in enumerate(args):
        names.append("" if arg is None else f"x{i}")
        if isinstance(arg, In):
            inputs.append(
                helper.make_tensor_value_info(
                    f"x{i}", helper.np_dtype_to_tensor_dtype(np.dtype(arg.dtype)), arg.shape
                )
            )
        elif arg is not None:
            value = np.asarray(arg)
            value = value.astype(np.float32) if value.dtype == np.float64 else value
            weights.append(onnx.numpy_helper.from_array(value, f"x{i}"))
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, "the_node", domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "g", inputs, [onnx.ValueInfoProto(name=r) for r in results], weights
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 10
    )


def case(op: str, *args: Any, id: str = "", **kw: Any) -> None:
    CASES.append(
        OpCase(f"{op}-{kw.get('opset', 17)}" + (f"-{id}" if id else ""), op_model(op, args, **kw))
    )


RNG = np.random.default_rng(1)


def w(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, I64)


X = In((2, 3, 4))
IMG = In((1, 4, 9, 8))
