"""TensorProto to numpy, uncopied, and proof against hostile protos.

Raw data becomes a read-only view of the protobuf's own bytes.  Before anything is read, the
declared shape is checked against the bytes that are there, so that a tensor of 2^40 declared
elements costs nothing.  External data is memory-mapped and confined to the model's folder: no
absolute paths, no `..`, no symbolic links that lead out of it, no bytes beyond the end of the file.
"""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto

from ...dialects.constants import Array
from ...dialects.errors import ModelError
from ...dialects.types import element_type

_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
"""The typed field that holds elements of a type; all others are in `int32_data`."""

_BITS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
"""Types whose typed field holds bit patterns in 32-bit integers."""


_PACKED: dict[int, tuple[int, Any]] = {
    TensorProto.INT4: (4, ml_dtypes.int4),
    TensorProto.UINT4: (4, ml_dtypes.uint4),
    TensorProto.INT2: (2, ml_dtypes.int2),
    TensorProto.UINT2: (2, ml_dtypes.uint2),
}
"""Bits and dtype of types of which several share a byte: constants that rules may unpack, but no
element types of the graph dialect."""


class UnsupportedType(Exception):
    """An element type that no tensor of the graph dialect has (strings, complex, float8)."""


def numpy_type(data_type: int) -> np.dtype[Any]:
    """The numpy dtype of an ONNX element type.

    Raises `UnsupportedType` if the dialect has no such tensors, ModelError if ONNX has none.
    """
    if data_type not in TensorProto.DataType.values() or data_type == TensorProto.UNDEFINED:
        raise ModelError(f"{data_type} is not an ONNX element type")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(data_type)
    try:
        element_type(dtype)
    except (KeyError, TypeError):
        name = TensorProto.DataType.Name(data_type).lower()
        raise UnsupportedType(f"the compiler has no {name} tensors") from None
    return dtype


def to_array(
    tensor: TensorProto, folder: Path | None, raw: bytes | memoryview | None = None
) -> Array:
    """The contents of `tensor`, read-only and uncopied where it is raw or external.

    `folder` is where external data may lie (None: nowhere); `raw` is raw data that was cut out of
    the proto.  Raises ModelError if the contents do not fit the declared shape, and
    `UnsupportedType`.
    """
    packed = _PACKED.get(tensor.data_type)
    dtype = numpy_type(tensor.data_type) if packed is None else np.dtype(np.uint8)
    shape = tuple(tensor.dims)
    if any(d < 0 for d in shape):
        raise ModelError(f"tensor {tensor.name!r} has the negative shape {list(shape)}")
    if packed is None:
        return _contents(tensor, dtype, shape, folder, raw)
    size, bits = math.prod(shape), packed[0]
    held = _contents(tensor, dtype, (-(-size * bits // 8),), folder, raw)
    return _unpacked(held, size, bits, np.dtype(packed[1])).reshape(shape)


def _unpacked(held: Array, size: int, bits: int, dtype: np.dtype[Any]) -> Array:
    """`size` integers of few bits from bytes, the lowest bits first."""
    codes = np.stack([held >> shift for shift in range(0, 8, bits)], -1).reshape(-1)[:size]
    codes = codes & ((1 << bits) - 1)
    if not dtype.name.startswith("u"):  # extend the sign
        codes = (codes ^ (1 << (bits - 1))).astype(np.int8) - np.int8(1 << (bits - 1))
    array = codes.astype(dtype)
    array.flags.writeable = False
    return array


def _contents(
    tensor: TensorProto,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    folder: Path | None,
    raw: bytes | memoryview | None,
) -> Array:
    """The data of `tensor` as `dtype` of `shape`."""
    size = math.prod(shape)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external(tensor, dtype, size, folder).reshape(shape)
    if raw is None and tensor.HasField("raw_data"):
        raw = tensor.raw_data
    if raw is not None:
        if len(raw) != size * dtype.itemsize:
            raise ModelError(
                f"tensor {tensor.name!r} has {len(raw)} bytes of data, "
                f"its shape {list(shape)} of {dtype.name} needs {size * dtype.itemsize}"
            )
        return np.frombuffer(raw, dtype.newbyteorder("<") if dtype.kind != "V" else dtype).reshape(
            shape
        )
    values = getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data"))
    if len(values) != size:
        raise ModelError(
            f"tensor {tensor.name!r} has {len(values)} elements of data, "
            f"its shape {list(shape)} needs {size}"
        )
    if tensor.data_type in _BITS:
        array = np.array(values, np.int64).astype(np.uint16).view(dtype)
    else:
        array = np.array(
            values,
            np.int64 if dtype.kind in "iub" and tensor.data_type != TensorProto.UINT64 else None,
        )
        array = array.astype(dtype)
    array.flags.writeable = False
    return array.reshape(shape)


def _external(tensor: TensorProto, dtype: np.dtype[Any], size: int, folder: Path | None) -> Array:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"external data {location!r} of tensor {tensor.name!r}"
    if folder is None:
        raise ModelError(f"{what} cannot be found", hint="give the model by path, not as bytes")
    pure = PurePosixPath(location)
    if (
        not location
        or "\0" in location
        or pure.is_absolute()
        or PureWindowsPath(location).anchor
        or ".." in pure.parts
    ):
        raise ModelError(f"{what} must be a relative path inside the model's folder")
    path = (folder / pure).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelError(f"{what} leads out of the model's folder")
    if not path.is_file():
        raise ModelError(f"{what} does not exist", hint=f"expected beside the model at {pure}")
    try:
        offset, length = (
            int(entries.get("offset", 0)),
            int(entries.get("length", size * dtype.itemsize)),
        )
    except ValueError:
        raise ModelError(f"{what} has an offset or length that is not a number") from None
    if offset < 0 or length != size * dtype.itemsize:
        raise ModelError(
            f"{what}: {length} bytes from {offset} do not hold {size} elements of {dtype.name}"
        )
    if offset + length > path.stat().st_size:
        raise ModelError(
            f"{what}: {length} bytes from {offset} lie beyond "
            f"the file's {path.stat().st_size} bytes"
        )
    if length == 0:
        return np.zeros(0, dtype)
    try:
        return np.asarray(np.memmap(path, np.uint8, "r", offset, (length,))).view(dtype)
    except OSError as error:
        raise ModelError(f"{what} cannot be read: {error.strerror}") from None
