"""Element types between numpy, ONNX and MLIR, and cached builders of common attributes.

Attributes verify on construction (8 to 40 us each in xDSL), so hot builders share them here.
Unsigned integers are signless in MLIR arithmetic but unsigned in ONNX: they are `ui8`, `ui16` ...
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    ArrayAttr,
    BFloat16Type,
    DenseArrayBase,
    DictionaryAttr,
    Float16Type,
    Float32Type,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    NoneAttr,
    Signedness,
    StringAttr,
    TensorType,
    bf16,
    f16,
    f32,
    f64,
    i1,
    i8,
    i16,
    i32,
    i64,
)
from xdsl.ir import Attribute, SSAValue

ui8 = IntegerType(8, Signedness.UNSIGNED)
ui16 = IntegerType(16, Signedness.UNSIGNED)
ui32 = IntegerType(32, Signedness.UNSIGNED)
ui64 = IntegerType(64, Signedness.UNSIGNED)

_PAIRS: tuple[tuple[Attribute, np.dtype[Any]], ...] = (
    (f32, np.dtype(np.float32)),
    (f64, np.dtype(np.float64)),
    (f16, np.dtype(np.float16)),
    (bf16, np.dtype(ml_dtypes.bfloat16)),
    (i1, np.dtype(np.bool_)),
    (i8, np.dtype(np.int8)),
    (i16, np.dtype(np.int16)),
    (i32, np.dtype(np.int32)),
    (i64, np.dtype(np.int64)),
    (ui8, np.dtype(np.uint8)),
    (ui16, np.dtype(np.uint16)),
    (ui32, np.dtype(np.uint32)),
    (ui64, np.dtype(np.uint64)),
)
_TO_NUMPY: dict[Attribute, np.dtype[Any]] = dict(_PAIRS)
_TO_MLIR = {dtype: element for element, dtype in _PAIRS}

FloatType = Float16Type | BFloat16Type | Float32Type | Float64Type


def numpy_dtype(element: Attribute) -> np.dtype[Any]:
    """The numpy dtype that holds elements of MLIR type `element`; KeyError if there is none."""
    return _TO_NUMPY[element]


def element_type(dtype: Any) -> Attribute:
    """The MLIR element type of a numpy dtype; KeyError if there is none."""
    return _TO_MLIR[np.dtype(dtype)]


def has_element_type(dtype: Any) -> bool:
    """Whether there is an MLIR element type of a numpy dtype."""
    return np.dtype(dtype) in _TO_MLIR


def is_float(element: Attribute) -> bool:
    """Whether `element` is a floating-point type."""
    return isinstance(element, FloatType)


@lru_cache(maxsize=65536)
def _tensor(shape: tuple[int, ...], element: Attribute, encoding: Attribute) -> TensorType[Any]:
    return TensorType(element, shape, encoding)


def tensor(
    shape: Iterable[int], element: Attribute, encoding: Attribute | None = None
) -> TensorType[Any]:
    """A (cached) ranked tensor type."""
    return _tensor(tuple(int(d) for d in shape), element, encoding or NoneAttr())


@lru_cache(maxsize=65536)
def _memref(shape: tuple[int, ...], element: Attribute, space: str) -> MemRefType[Any]:
    return MemRefType(element, shape, memory_space=StringAttr(space))


def memref(shape: Iterable[int], element: Attribute, space: str) -> MemRefType[Any]:
    """A (cached) contiguous memref type in memory `space`: "dram", "spm" or "acc"."""
    return _memref(tuple(int(d) for d in shape), element, space)


def type_of(value: SSAValue) -> TensorType[Any]:
    """The tensor type of `value`; TypeError if it is not a tensor."""
    if not isinstance(value.type, TensorType):
        raise TypeError(f"expected a tensor, got {value.type}")
    return cast(TensorType[Any], value.type)


def shaped(type: Attribute) -> TensorType[Any] | MemRefType[Any]:
    """`type` itself; TypeError if it is neither a tensor nor a memref."""
    if not isinstance(type, TensorType | MemRefType):
        raise TypeError(f"expected a tensor or memref, got {type}")
    return cast("TensorType[Any] | MemRefType[Any]", type)


def shape_of(value: SSAValue) -> tuple[int, ...]:
    """Static shape of a tensor- or memref-typed value."""
    return shaped(value.type).get_shape()


def element_of(value: SSAValue) -> Attribute:
    """Element type of a tensor- or memref-typed value."""
    return shaped(value.type).element_type


@lru_cache(maxsize=65536)
def _ints(values: tuple[int, ...]) -> DenseArrayBase[Any]:
    return DenseArrayBase.from_list(i64, values)


def ints(values: Iterable[int]) -> DenseArrayBase[Any]:
    """`array<i64: ...>` of `values` (cached)."""
    return _ints(tuple(int(v) for v in values))


@lru_cache(maxsize=65536)
def integer(value: int) -> IntegerAttr[Any]:
    """`value : i64` (cached)."""
    return IntegerAttr(value, i64)


@lru_cache(maxsize=65536)
def _real(value: float, sign: float) -> FloatAttr[Any]:
    del sign  # tells 0.0 from -0.0, which are equal
    return FloatAttr(value, f64)


def real(value: float) -> FloatAttr[Any]:
    """`value : f64` (cached); lossless in text."""
    return _real(value, math.copysign(1.0, value))


@lru_cache(maxsize=4096)
def string(value: str) -> StringAttr:
    """A (cached) string attribute."""
    return StringAttr(value)


def strings(attr: Attribute | None) -> list[str]:
    """The texts of an array of strings; empty if there is no such attribute."""
    items = cast(ArrayAttr[Attribute], attr) if isinstance(attr, ArrayAttr) else ()
    return [item.data for item in items if isinstance(item, StringAttr)]


def int_values(attr: DenseArrayBase[Any]) -> tuple[int, ...]:
    """The Python integers of an `array<i64: ...>` (cached)."""
    if attr.elt_type is i64:
        return _unpacked(attr.data.data)
    return tuple(int(v) for v in attr.get_values())


@lru_cache(maxsize=65536)
def _unpacked(data: bytes) -> tuple[int, ...]:
    return i64.unpack(data, len(data) // i64.size)


Param = int | float | str


def params_attr(params: dict[str, Param]) -> DictionaryAttr:
    """A dictionary attribute of scalar parameters (integers as i64, reals as f64)."""

    def convert(value: Param) -> Attribute:
        if isinstance(value, str):
            return string(value)
        if isinstance(value, bool | int | np.integer):
            return integer(int(value))
        return real(float(value))

    return DictionaryAttr({k: convert(v) for k, v in params.items()})


def params_dict(attr: DictionaryAttr | None) -> dict[str, Param]:
    """The inverse of `params_attr`."""
    if attr is None:
        return {}
    out: dict[str, Param] = {}
    for key, value in attr.data.items():
        if isinstance(value, IntegerAttr | FloatAttr):
            out[key] = value.value.data
        elif isinstance(value, StringAttr):
            out[key] = value.data
    return out
