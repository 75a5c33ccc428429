"""Labels, categories and maps of `ai.onnx.ml`.  A map is a Python dict."""

from __future__ import annotations

from typing import Any

import numpy as np

from .casting import cast
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]

_ML = "ai.onnx.ml"


def _first(call: Call, *names: str) -> tuple[str, Array] | None:
    """The first of several alternative attributes that is given, as an array."""
    types: dict[str, Any] = {"floats": np.float32, "int64s": np.int64, "strings": object}
    for name in names:
        value = call.attr(name)
        if value is not None and len(value):
            kind = types.get(name.rsplit("_", 1)[1])
            array: Array = np.asarray(value) if kind is None else np.array(value, kind)
            return name, array.reshape(-1)
    return None


def _looked_up(x: Array, keys: Array, values: Array, default: Any) -> Array:
    """`values[i]` where an element equals `keys[i]` (NaN equals NaN), else `default`."""
    if keys.dtype.kind == "f":
        x = x.astype(keys.dtype)
    table: dict[Any, int] = {}
    missing = -1
    for i, key in enumerate(keys.tolist()):
        if key != key:
            missing = i if missing < 0 else missing
        else:
            table.setdefault(key, i)
    distinct, inverse = np.unique(
        x.astype(np.str_) if x.dtype == object else x, return_inverse=True
    )
    spots = np.array(
        [missing if key != key else table.get(key, -1) for key in distinct.tolist()], np.int64
    )
    found = spots[inverse.reshape(x.shape)] if distinct.size else np.zeros(x.shape, np.int64)
    out = np.full(x.shape, default, values.dtype)
    out[found >= 0] = values[found[found >= 0]]
    return out


@operator("LabelEncoder", domain=_ML)
def label_encoder(call: Call) -> list[Value]:
    """Each element replaced by the value of its key; in opset 1 strings and their positions."""
    x = call.tensor(0)
    if call.opset < 2:
        classes = np.array(call.required("classes_strings"), object)
        places = np.arange(len(classes), dtype=np.int64)
        if x.dtype == object:
            return [_looked_up(x, classes, places, call.attr("default_int64", -1))]
        return [_looked_up(x, places, classes, call.attr("default_string", "_Unused"))]
    names = ("strings", "int64s", "floats", "tensor")
    keys = _first(call, *(f"keys_{name}" for name in names))
    values = _first(call, *(f"values_{name}" for name in names))
    if keys is None or values is None or len(keys[1]) != len(values[1]):
        raise HostError("keys and values differ in number")
    kind = values[0].removeprefix("values_").removesuffix("s")
    default = call.attr(f"default_{kind}")
    if kind == "tensor":
        default = _tensor_default(default, values[1].dtype)
    return [_looked_up(x, keys[1], values[1], default)]


def _tensor_default(default: Array | None, dtype: np.dtype[Any]) -> Any:
    if default is not None and default.size:
        return default.reshape(-1)[0]
    return {"O": "_Unused", "i": -1, "u": -1}.get(dtype.kind, 0.0)


@operator("CategoryMapper", domain=_ML)
def category_mapper(call: Call) -> list[Value]:
    """Strings to integers or back."""
    x = call.tensor(0)
    numbers = np.array(call.required("cats_int64s"), np.int64)
    strings = np.array(call.required("cats_strings"), object)
    if len(numbers) != len(strings):
        raise HostError("the categories differ in number")
    if x.dtype == object:
        return [_looked_up(x, strings, numbers, call.attr("default_int64", -1))]
    return [_looked_up(x, numbers, strings, call.attr("default_string", "_Unused"))]


@operator("ZipMap", domain=_ML)
def zip_map(call: Call) -> list[Value]:
    """A map from label to score for each row."""
    x = call.tensor(0)
    labels: list[Any] = call.attr("classlabels_strings") or call.attr("classlabels_int64s") or []
    rows: Array = x.reshape(1, -1) if x.ndim == 1 else x
    if rows.shape[1] != len(labels):
        raise HostError(f"{len(labels)} labels for {rows.shape[1]} scores")
    return [[dict(zip(labels, row, strict=True)) for row in rows.tolist()]]


@operator("CastMap", domain=_ML)
def cast_map(call: Call) -> list[Value]:
    """The values of a map with integer keys as a row, by key if sparse."""
    values: dict[int, Any] = call.value(0)
    if not isinstance(call.value(0), dict):
        raise HostError("the input is not a map")
    element = {"TO_FLOAT": 1, "TO_STRING": 8, "TO_INT64": 7}[call.attr("cast_to", "TO_FLOAT")]
    sparse = call.attr("map_form", "DENSE") == "SPARSE"
    width = int(call.attr("max_map", 1)) if sparse else len(values)
    row: list[Any] = [0.0] * width
    for place, key in enumerate(sorted(values)):
        at = key if sparse else place
        if 0 <= at < width:
            row[at] = values[key]
    text = any(isinstance(v, str) for v in row)
    return [cast(np.array([row], object if text else None), element)]


@operator("OneHotEncoder", domain=_ML)
def one_hot_encoder(call: Call) -> list[Value]:
    """One column per category; without `zeros`, every element must be one of them."""
    x = call.tensor(0)
    categories = _first(call, "cats_strings", "cats_int64s")
    if categories is None:
        raise HostError("there are no categories")
    keys = categories[1]
    places = np.arange(len(keys), dtype=np.int64)
    spot = _looked_up(x if x.dtype == object else x.astype(np.int64), keys, places, -1)
    if not call.attr("zeros", 1) and (spot < 0).any():
        raise HostError("an element is none of the categories")
    return [(spot[..., None] == places).astype(np.float32)]
