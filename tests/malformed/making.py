"""Hostile models made by hand, and the table of those that tests compile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
)

FLOAT = TensorProto.FLOAT
Build = Callable[[Path], tuple[Path, list[str]]]


class Case(NamedTuple):
    """One hostile input."""

    id: str
    build: Build
    expected: tuple[str, ...]


CASES: list[Case] = []


def bytes_case(id: str, data: bytes, *expected: str) -> None:
    def build(folder: Path) -> tuple[Path, list[str]]:
        path = folder / "model.onnx"
        path.write_bytes(data)
        return path, []

    CASES.append(Case(id, build, expected))


def model_case(
    id: str, make: Callable[[], ModelProto], *expected: str, args: Sequence[str] = ()
) -> None:
    def build(folder: Path) -> tuple[Path, list[str]]:
        path = folder / "model.onnx"
        path.write_bytes(make().SerializeToString())
        return path, list(args)

    CASES.append(Case(id, build, expected))


def info(name: str, shape: Sequence[int | str] | None = (1, 4), kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def array(name: str, values: Any, dtype: Any = np.float32) -> TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(values, dtype), name)


def node(
    op: str,
    inputs: Sequence[str],
    outputs: Sequence[str] = ("y",),
    name: str | None = None,
    **attributes: Any,
) -> NodeProto:
    return helper.make_node(
        op, inputs, outputs, f"the_{op.lower()}" if name is None else name, **attributes
    )


def model(
    nodes: Sequence[NodeProto],
    *,
    inputs: Sequence[Any] | None = None,
    outputs: Sequence[Any] | None = None,
    weights: Sequence[TensorProto] = (),
    opset: int | None = 17,
    functions: Sequence[FunctionProto] = (),
    imports: Sequence[Any] = (),
) -> ModelProto:
    graph = GraphProto(name="g", node=nodes, initializer=weights)
    graph.input.extend([info("x")] if inputs is None else inputs)
    graph.output.extend([info("y", None)] if outputs is None else outputs)
    out = ModelProto(ir_version=8, graph=graph)
    if opset is not None:
        out.opset_import.append(helper.make_opsetid("", opset))
    out.opset_import.extend(imports)
    out.functions.extend(functions)
    return out


def single(
    op: str,
    inputs: Sequence[str] = ("x",),
    *,
    weights: Sequence[TensorProto] = (),
    x: Any = None,
    opset: int = 17,
    **attributes: Any,
) -> Callable[[], ModelProto]:
    def make() -> ModelProto:
        return model(
            [node(op, inputs, **attributes)],
            weights=weights,
            inputs=[info("x") if x is None else x],
            opset=opset,
        )

    return make
