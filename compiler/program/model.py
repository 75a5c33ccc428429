"""An ONNX model as a program sees it: named nodes, known tensors, declared inputs and outputs."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from ...dialects.constants import Array
from ...dialects.errors import ModelError
from ..importer.functions import Functions
from ..importer.load import load, opsets
from ..importer.tensors import UnsupportedType, to_array
from ..tensors import OPTIONAL, SEQUENCE, TENSOR, UNRANKED, Dimension, TensorInfo

Source = str | Path | bytes | onnx.ModelProto


class Constants(Mapping[str, Array]):
    """Initializers by name, decoded at the first use.

    Types that the graph dialect lacks (strings, fp8, int4 ...) are decoded as well: operators on
    the host take them.
    """

    def __init__(
        self,
        tensors: Sequence[TensorProto],
        weights: Sequence[memoryview | None] = (),
        sparse: Sequence[SparseTensorProto] = (),
        folder: Path | None = None,
    ):
        self._folder = folder
        self._protos: dict[str, tuple[TensorProto, memoryview | None]] = {
            t.name: (t, weights[i] if i < len(weights) else None) for i, t in enumerate(tensors)
        }
        self._sparse = {s.values.name: s for s in sparse}
        self._arrays: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if (found := self._arrays.get(name)) is None:
            found = self._arrays[name] = self._decode(name)
        return found

    def _decode(self, name: str) -> Array:
        if name in self._sparse:
            return _dense(self._sparse[name])
        tensor, raw = self._protos[name]
        try:
            return to_array(tensor, self._folder, raw)
        except UnsupportedType:
            if raw is not None:
                full = TensorProto()
                full.CopyFrom(tensor)
                full.raw_data = raw.tobytes()
                tensor = full
            return decode(tensor, str(self._folder or ""))

    def __contains__(self, name: object) -> bool:
        return name in self._protos or name in self._sparse

    def __iter__(self) -> Iterator[str]:
        yield from self._protos
        yield from self._sparse

    def __len__(self) -> int:
        return len(self._protos) + len(self._sparse)


def decode(tensor: TensorProto, folder: str = "") -> Array:
    """A tensor of any ONNX type, by the onnx package; ModelError if it is damaged."""
    try:
        return onnx.numpy_helper.to_array(tensor, folder)
    except Exception as error:
        raise ModelError(f"tensor {tensor.name!r} cannot be read: {error}") from None


def _dense(sparse: SparseTensorProto) -> Array:
    """A sparse initializer as a dense array: ModelError if its indices do not fit."""
    values, indices = decode(sparse.values), decode(sparse.indices)
    dims = tuple(sparse.dims)
    if any(d < 0 for d in dims) or int(np.prod(dims, dtype=object)) > 1 << 32:
        raise ModelError(f"sparse tensor {sparse.values.name!r} has shape {list(dims)}")
    out = np.zeros(dims, values.dtype)
    try:
        if indices.ndim == 1:
            out.reshape(-1)[indices] = values
        else:
            out[tuple(indices.T)] = values
    except (IndexError, ValueError) as error:
        raise ModelError(f"sparse tensor {sparse.values.name!r}: {error}") from None
    return out


class ProgramModel:
    """A model with names for all nodes, its functions inlined."""

    def __init__(self, source: Source):
        loaded = load(source)
        model: onnx.ModelProto = loaded.model
        if model.functions:
            inliner: Any = importlib.import_module("onnx.inliner")
            model = inliner.inline_local_functions(model)
        elif source is model:  # the caller's own: unnamed nodes will be named
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            model = copy
        self.proto, graph = model, model.graph
        name_nodes(graph.node)
        self.opsets = opsets(model)
        self.functions = Functions(model)
        self.folder = loaded.folder
        self.nodes: Sequence[NodeProto] = graph.node
        self.constants = Constants(
            graph.initializer, loaded.weights, graph.sparse_initializer, loaded.folder
        )
        self.inputs = [describe(i) for i in graph.input if i.name not in self.constants]
        self.outputs = [describe(o) for o in graph.output]

    def demand_types(self) -> None:
        """ModelError if ONNX's own inference finds the types or shapes of the model wrong."""
        try:
            onnx.shape_inference.infer_shapes(self.proto, check_type=True, strict_mode=True)
        except onnx.shape_inference.InferenceError as error:
            text = " ".join(str(error).split())
            found = _INFERENCE.search(text)
            if found is None:
                raise ModelError(text) from None
            op, node, reason = found.groups()
            reason = reason.removeprefix("[ShapeInferenceError] ")
            raise ModelError(reason, node=node, op=op) from None


_INFERENCE = re.compile(r"\(op_type: ?(\w+), node name: ?([^)]*)\): (.*?)(?= \(op_type|$)")
"""What an error of ONNX's inference says of its first node."""


def name_nodes(nodes: Sequence[NodeProto]) -> None:
    """Give unnamed nodes the name that the importer would use for them."""
    for index, node in enumerate(nodes):
        if not node.name:
            node.name = f"{node.op_type}_{index}"


def describe(info: ValueInfoProto) -> TensorInfo:
    """Kind, element type and dimensions as declared; -1 is an extent without a name."""
    type, kind = info.type, TENSOR
    if type.HasField("optional_type"):
        type, kind = type.optional_type.elem_type, OPTIONAL
    if type.HasField("sequence_type"):
        type, kind = type.sequence_type.elem_type, SEQUENCE if kind == TENSOR else kind
    tensor = type.tensor_type
    dims: list[Dimension] | None = None
    if tensor.HasField("shape"):
        dims = [
            d.dim_value if d.HasField("dim_value") else (d.dim_param or -1)
            for d in tensor.shape.dim
        ]
    elif kind == TENSOR:
        kind = UNRANKED
    return TensorInfo(
        info.name,
        tuple(d if isinstance(d, int) and d >= 0 else 1 for d in dims or ()),
        dtype_name(tensor.elem_type),
        dims=None if dims is None else tuple(dims),
        kind=kind,
    )


def dtype_name(elem_type: int) -> str:
    """The numpy name of an ONNX element type; "object" for strings and what has none."""
    if elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return "object"
    try:
        dtype: np.dtype[Any] = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    except KeyError:
        raise ModelError(f"{elem_type} is not an ONNX element type") from None
    return dtype.name
