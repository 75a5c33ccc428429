"""Whole models evaluated on the host alone, node by node, and ONNX's own conformance cases."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from tilewright.backends.host import Value, evaluate
from tilewright.backends.host.registry import plain_domain, to_array

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


class HostModel:
    """A model whose every node runs through `evaluate`."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.opsets = {plain_domain(e.domain): e.version for e in model.opset_import}
        self.functions = {(plain_domain(f.domain), f.name): f for f in model.functions}

    def graph(self, graph: onnx.GraphProto, outer: Mapping[str, Value]) -> list[Value]:
        """Outputs of a graph with the names of `outer` bound."""
        constants = {t.name: to_array(t) for t in graph.initializer}
        for sparse in graph.sparse_initializer:
            dense = np.zeros(sparse.dims, numpy_helper.to_array(sparse.values).dtype)
            dense.reshape(-1)[numpy_helper.to_array(sparse.indices)] = to_array(sparse.values)
            constants[sparse.values.name] = dense
        scope: dict[str, Value] = {**constants, **outer}

        def run_graph(body: onnx.GraphProto, bound: Mapping[str, Value]) -> list[Value]:
            return self.graph(body, {**scope, **bound})

        for node in graph.node:
            inputs = [scope[name] if name else None for name in node.input]
            outputs = evaluate(node, inputs, self.opsets, run_graph, functions=self.functions)
            scope.update(zip(node.output, outputs, strict=False))
        return [scope[output.name] for output in graph.output]

    def run(self, inputs: Sequence[Value]) -> list[Value]:
        """Outputs for inputs in the order of the graph's inputs."""
        constants = {t.name for t in self.model.graph.initializer}
        names = [i.name for i in self.model.graph.input]
        if len(inputs) != len(names):
            names = [name for name in names if name not in constants]
        return self.graph(self.model.graph, dict(zip(names, inputs, strict=False)))


@dataclass(frozen=True)
class Case:
    """One conformance case: a model, and what it makes of inputs."""

    name: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float


def _normal(item: Any) -> Any:
    return to_array(item) if isinstance(item, onnx.TensorProto) else item


def _read(path: str, type: onnx.TypeProto) -> Any:
    data = Path(path).read_bytes()
    if type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return to_array(onnx.TensorProto.FromString(data))


def _from_disk(folder: str, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
    for data in sorted(glob.glob(os.path.join(folder, "test_data_set*"))):
        sides: list[list[Any]] = []
        for side, values in (("input", model.graph.input), ("output", model.graph.output)):
            count = len(glob.glob(os.path.join(data, f"{side}_*.pb")))
            files = [os.path.join(data, f"{side}_{i}.pb") for i in range(count)]
            sides.append([_read(f, values[i].type) for i, f in enumerate(files)])
        yield sides[0], sides[1]


def cases(kind: str) -> Iterator[Case]:
    """ONNX's conformance cases of a kind."""
    loaded: Any = load_model_tests(kind=kind)
    for case in loaded:
        if case.model_dir is None:
            data = [([_normal(v) for v in i], [_normal(v) for v in o]) for i, o in case.data_sets]
            yield Case(case.name, case.model, data, case.rtol, case.atol)
        else:
            model = onnx.load(os.path.join(case.model_dir, "model.onnx"))
            data = list(_from_disk(case.model_dir, model))
            yield Case(case.name, model, data, case.rtol, case.atol)


def _compare(expected: Any, outputs: Any, rtol: float, atol: float) -> None:
    """As ONNX's runner does, but for sequences of scalars, which it cannot compare."""
    assert len(expected) == len(outputs)
    for want, have in zip(expected, outputs, strict=True):
        assert (type(want) is list) == (type(have) is list)
        if type(have) is list:
            _compare(want, have, rtol, atol)
        else:
            Runner.assert_similar_outputs([want], [have], rtol, atol)


def check(case: Case) -> None:
    """Run a case on the host and compare."""
    host = HostModel(case.model)
    for inputs, expected in case.data:
        _compare(expected, host.run(inputs), case.rtol, case.atol)
