"""Checking manifests: what whoever holds an artefact can have changed, hashes included.

Every field that running, simulating and comparing read has the type and the range they rely on;
anything else is an ArtefactError that names the field:

    {"inputs": [{"name": "x", "shape": [1, -3], ...  ->  inputs[0].shape: -3 is not an extent

Kernels are another matter: they are code, and run with the rights of whoever runs them.  What they
say of themselves is believed: how far they reach in the arena and in the constants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import ml_dtypes
import numpy as np

from ..dialects.errors import ArtefactError
from .tensors import OPTIONAL, SEQUENCE, TENSOR, UNRANKED, TensorInfo, numpy_type

MOST_BYTES = 1 << 44
"""Largest extent, offset and size."""


def fail(where: str, value: Any, what: str) -> ArtefactError:
    """The error for a field that is not what it should be."""
    text = repr(value)
    return ArtefactError(
        f"the artefact is damaged: {where} is {text[:60]}{'...' if len(text) > 60 else ''}, "
        f"expected {what}",
        hint="compile the model again with `tilewright compile`",
    )


def table(value: Any, where: str) -> Mapping[str, Any]:
    """`value` as a JSON object."""
    if not isinstance(value, dict):
        raise fail(where, value, "a table")
    return cast("dict[str, Any]", value)


def items(value: Any, where: str) -> Sequence[Any]:
    """`value` as a JSON list."""
    if not isinstance(value, list):
        raise fail(where, value, "a list")
    return cast("list[Any]", value)


def text(value: Any, where: str) -> str:
    """`value` as text."""
    if not isinstance(value, str):
        raise fail(where, value, "text")
    return value


def integer(value: Any, where: str, least: int = 0, most: int = MOST_BYTES) -> int:
    """`value` as a whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise fail(where, value, f"a whole number from {least} to {most}")
    return value


def number(value: Any, where: str) -> float:
    """`value` as a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise fail(where, value, "a finite number")
    return float(value)


def texts(value: Any, where: str) -> list[str]:
    """`value` as a list of texts."""
    return [text(item, f"{where}[{i}]") for i, item in enumerate(items(value, where))]


def infos(value: Any, where: str) -> list[TensorInfo]:
    """Inputs or outputs."""
    return [_info(entry, f"{where}[{i}]") for i, entry in enumerate(items(value, where))]


def _info(value: Any, where: str) -> TensorInfo:
    entry = table(value, where)
    shape = tuple(integer(d, f"{where}.shape") for d in items(entry.get("shape"), f"{where}.shape"))
    if math.prod(shape) > MOST_BYTES:
        raise fail(f"{where}.shape", list(shape), "fewer elements")
    kind = entry.get("kind", TENSOR)
    if kind not in (TENSOR, UNRANKED, SEQUENCE, OPTIONAL):
        raise fail(f"{where}.kind", kind, "a kind of tensor")
    return TensorInfo(
        text(entry.get("name"), f"{where}.name"), shape, _dtype(entry.get("dtype"), where),
        integer(entry.get("offset", 0), f"{where}.offset"),
        _dims(entry.get("dims"), len(shape), f"{where}.dims"), str(kind),
    )  # fmt: skip


def _dtype(value: Any, where: str) -> str:
    name = text(value, f"{where}.dtype")
    try:
        dtype: np.dtype[Any] = numpy_type(name)
    except (TypeError, ValueError, AttributeError, SyntaxError):
        raise fail(f"{where}.dtype", value, "an element type") from None
    if dtype.name != name or not (dtype.kind in "biufcO" or hasattr(ml_dtypes, name)):
        raise fail(f"{where}.dtype", value, "an element type")
    return name


def _dims(value: Any, rank: int, where: str) -> tuple[int | str, ...] | None:
    if value is None:
        return None
    dims = items(value, where)
    if len(dims) != rank:
        raise fail(where, value, f"{rank} dimensions")
    return tuple(d if isinstance(d, str) else integer(d, where, -1) for d in dims)


def check_manifest(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """ArtefactError unless the manifest of a compiled module is sound, with `files` beside it."""
    kernels = files.get("cpu/kernels.ll", b"")
    arena = integer(manifest.get("arena_bytes"), "arena_bytes", reach(kernels, "arena"))
    consts = len(files.get("constants.bin", b""))
    integer(consts, "the size of constants.bin", reach(kernels, "consts"))
    integer(manifest.get("scratch_bytes", 0), "scratch_bytes")
    for group in ("inputs", "outputs"):
        for index, info in enumerate(infos(manifest.get(group), group)):
            where = f"{group}[{index}]"
            if info.dtype == "object":
                raise fail(f"{where}.dtype", info.dtype, "an element type")
            if info.offset + info.bytes > arena:
                raise fail(f"{where}.offset", info.offset, f"it to end within {arena} bytes")
            if info.offset % numpy_type(info.dtype).itemsize:
                raise fail(f"{where}.offset", info.offset, "it to be aligned")
    check_target(manifest.get("target"))
    for index, step in enumerate(items(manifest.get("steps"), "steps")):
        _check_step(table(step, f"steps[{index}]"), f"steps[{index}]", files)
    for node, reason in table(manifest.get("placement", {}), "placement").items():
        text(reason, f"placement of {node!r}")


def reach(kernels: bytes, base: str) -> int:
    """Bytes of `base` (arena or consts) that functions of cpu/kernels.ll touch."""
    if not kernels:
        return 0
    mark = f"@tw_{base}_bytes = constant i64 ".encode()
    at = kernels.rfind(mark)  # at the end of what may be megabytes
    found = re.compile(rb"\d{1,18}\b").match(kernels, at + len(mark)) if at >= 0 else None
    if found is None:
        raise ArtefactError(
            f"cpu/kernels.ll of the artefact does not say how much of {base} it uses",
            hint="compile the model again with `tilewright compile`",
        )
    return int(found[0])


def check_target(value: Any) -> None:
    """ArtefactError unless the target is named, and its machine is a table."""
    target = table(value, "target")
    text(target.get("name"), "target.name")
    if "machine" in target:
        table(target["machine"], "target.machine")


def _check_step(step: Mapping[str, Any], where: str, files: Mapping[str, bytes]) -> None:
    if step.get("kind") == "cpu":
        entry = text(step.get("entry"), f"{where}.entry")
        kernels = files.get("cpu/kernels.ll", b"")
        if not re.fullmatch(r"tw_\w+", entry) or f"@{entry}(".encode() not in kernels:
            raise fail(f"{where}.entry", entry, "a function of cpu/kernels.ll")
        return
    if step.get("kind") != "npu":
        raise fail(f"{where}.kind", step.get("kind"), "cpu or npu")
    if text(step.get("program"), f"{where}.program") not in files:
        raise fail(f"{where}.program", step["program"], "a member of the artefact")
    layers = items(step.get("layers"), f"{where}.layers")
    for layer in layers:
        texts(layer, f"{where}.layers")
    work = items(step.get("work"), f"{where}.work")
    if len(work) != len(layers):
        raise fail(f"{where}.work", work, f"{len(layers)} entries")
    for row in work:
        entry = table(row, f"{where}.work")
        integer(entry.get("vector_elements"), f"{where}.work.vector_elements")
        for shape in items(entry.get("contractions"), f"{where}.work.contractions"):
            extents = items(shape, f"{where}.work.contractions")
            if len(extents) != 3:
                raise fail(f"{where}.work.contractions", shape, "three extents")
            for extent in extents:
                integer(extent, f"{where}.work.contractions", least=1)
        for shape in items(entry.get("shapes", []), f"{where}.work.shapes"):
            _check_shape(table(shape, f"{where}.work.shapes"), f"{where}.work.shapes")


def _check_shape(shape: Mapping[str, Any], where: str) -> None:
    names = ["kind", "batch", "m", "n", "k", "taps"]
    if sorted(shape) != sorted(names):
        raise fail(where, shape, ", ".join(names))
    text(shape["kind"], f"{where}.kind")
    for name in names[1:]:
        integer(shape[name], f"{where}.{name}", least=1)
