"""Types of the model's inputs: symbolic dimensions bound to what the user gives, else to 1."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import ValueInfoProto
from xdsl.dialects.builtin import TensorType

from ...dialects.errors import EmptyTensorError, InputError, ModelError, Unsupported
from ...dialects.types import element_type, tensor
from .graph import Importer
from .limits import ELEMENT_LIMIT
from .tensors import UnsupportedType, numpy_type

HINT = "give it with --shape, for example --shape {name}:{shape}"


def input_types(
    inputs: Sequence[ValueInfoProto], shapes: Mapping[str, Sequence[int]], importer: Importer
) -> dict[str, TensorType[Any]]:
    """Static types by name.  A symbol that `shapes` binds in one input is bound in all.

    Raises InputError for shapes that do not fit the model, ModelError for impossible types; notes
    in the context which dimensions were taken to be 1.
    """
    names = [i.name for i in inputs]
    if len(set(names)) != len(names):
        raise ModelError(f"the inputs {names} have repeated names")
    for name in shapes:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            raise InputError(
                f"--shape: the model has no input {name!r}",
                hint=f"did you mean {close[0]!r}?"
                if close
                else f"its inputs are {', '.join(map(repr, names))}",
            )
    symbols: dict[str, int] = {}
    for info in inputs:
        if info.name in shapes:
            _bind(info, list(shapes[info.name]), symbols)
    out: dict[str, TensorType[Any]] = {}
    for info in inputs:
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            reason = f"the input is a {(kind or 'value').removesuffix('_type')}, not a tensor"
            importer.rows.append(
                Unsupported(info.name, "input", 1, reason, "export the model with tensor inputs")
            )
            out[info.name] = tensor((), element_type("float32"))
            continue
        shape = (
            list(shapes[info.name])
            if info.name in shapes
            else _default(info, symbols, importer.ctx.notes)
        )
        if 0 in shape or math.prod(shape) > ELEMENT_LIMIT:
            if 0 in shape:
                raise EmptyTensorError(f"input {info.name!r} of shape {shape} has no elements")
            raise ModelError(
                f"input {info.name!r} of shape {shape} has {math.prod(shape)} elements"
            )
        try:
            element = element_type(numpy_type(info.type.tensor_type.elem_type))
        except UnsupportedType as refusal:
            importer.rows.append(
                Unsupported(info.name, "input", 1, str(refusal), "convert it on the host")
            )
            element = element_type("float32")
        except ModelError as error:
            raise ModelError(f"input {info.name!r}: {error.message}") from None
        out[info.name] = tensor(shape, element)
    return out


def declared_dimensions(inputs: Sequence[ValueInfoProto]) -> dict[str, list[int | None]]:
    """Declared extents of the inputs that have a shape, by name; None where a dimension is open.

    Some exporters write -1 for that.
    """
    return {
        i.name: [
            d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None
            for d in i.type.tensor_type.shape.dim
        ]
        for i in inputs
        if i.type.tensor_type.HasField("shape")
    }


def _bind(info: ValueInfoProto, shape: list[int], symbols: dict[str, int]) -> None:
    declared = info.type.tensor_type.shape.dim
    if any(d < 1 for d in shape):
        raise InputError(f"--shape {info.name}: extents must be positive, not {shape}")
    if not info.type.tensor_type.HasField("shape"):
        return
    if len(shape) != len(declared):
        raise InputError(
            f"--shape {info.name}: {shape} has {len(shape)} dimensions, "
            f"the model's input has {len(declared)}"
        )
    for axis, (extent, dim) in enumerate(zip(shape, declared, strict=True)):
        if dim.HasField("dim_value"):
            if dim.dim_value > 0 and dim.dim_value != extent:
                raise InputError(
                    f"--shape {info.name}: dimension {axis} is fixed to {dim.dim_value} "
                    f"in the model, not {extent}"
                )
        elif dim.dim_param and symbols.setdefault(dim.dim_param, extent) != extent:
            raise InputError(
                f"--shape {info.name}: dimension {axis} ({dim.dim_param!r}) is {extent}, "
                f"but {symbols[dim.dim_param]} elsewhere"
            )


def _default(info: ValueInfoProto, symbols: Mapping[str, int], notes: list[str]) -> list[int]:
    type = info.type.tensor_type
    if not type.HasField("shape"):
        raise ModelError(
            f"input {info.name!r} has no shape",
            hint=HINT.format(name=info.name, shape="1x3x224x224"),
        )
    shape: list[int] = []
    for axis, dim in enumerate(type.shape.dim):
        if dim.HasField("dim_value"):
            if dim.dim_value < 0:
                raise ModelError(
                    f"input {info.name!r}: dimension {axis} is {dim.dim_value}",
                    hint=HINT.format(name=info.name, shape="1x3x224x224"),
                )
            shape.append(dim.dim_value)
        elif dim.dim_param in symbols:
            shape.append(symbols[dim.dim_param])
        else:
            shape.append(1)
            named = f" ({dim.dim_param!r})" if dim.dim_param else ""
            notes.append(
                f"input {info.name!r}: dimension {axis}{named} is open and taken to be 1; "
                f"set it with --shape {info.name}:..."
            )
    return shape
