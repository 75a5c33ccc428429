"""From a path, bytes or a parsed model to a `ModelProto`, without loading external data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...dialects.errors import ModelError
from .wire import cut_weights

NEWEST_OPSET = 28
"""The newest version of the default operator set that is understood."""


@dataclass(frozen=True)
class Loaded:
    """A model, the folder its external data may lie in, and its weights.

    `weights` are raw data by position in `graph.initializer`, cut out of the proto (see `wire.py`);
    None where the proto has them.
    """

    model: onnx.ModelProto
    folder: Path | None = None
    weights: Sequence[memoryview | None] = ()


def load(source: str | Path | bytes | onnx.ModelProto) -> Loaded:
    """Read a model; ModelError if there is none."""
    if isinstance(source, onnx.ModelProto):
        return Loaded(source)
    if isinstance(source, bytes):
        return _parse(source, "the model", None)
    path = Path(source)
    if path.is_dir():
        raise ModelError(f"{str(path)!r} is a folder", hint="give the .onnx file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from None
    return _parse(data, repr(path.name), path.parent)


def _parse(data: bytes, what: str, folder: Path | None) -> Loaded:
    if not data:
        raise ModelError(f"{what} is empty")
    model = onnx.ModelProto()
    small, weights = cut_weights(data) or (data, [])
    try:
        model.ParseFromString(small)
    except DecodeError:
        raise ModelError(
            f"{what} is not an ONNX model: the protobuf is truncated or damaged"
        ) from None
    if not _is_text(model.graph.node) or not all(_is_text(f.node) for f in model.functions):
        raise ModelError(f"{what} is damaged: names are not text")
    infos = (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.functions)
    if not _all_text([i.name for i in infos]):
        raise ModelError(f"{what} is damaged: names are not text")
    return Loaded(model, folder, weights)


def _is_text(nodes: Iterable[onnx.NodeProto]) -> bool:
    """Whether all names are valid UTF-8: protobuf gives those that are not as bytes."""
    stack = list(nodes)
    while stack:
        node = stack.pop()
        names = [node.name, node.op_type, node.domain, *node.input, *node.output]
        for attribute in node.attribute:
            names += [attribute.name, attribute.ref_attr_name]
            for graph in (attribute.g, *attribute.graphs):
                stack.extend(graph.node)
        if not _all_text(names):
            return False
    return True


def _all_text(names: Iterable[object]) -> bool:
    return all(isinstance(name, str) for name in names)


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Version by domain (the default one is "", 1 if not imported); ModelError if too new."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(entry.version, versions.get(domain, entry.version))
    versions.setdefault("", 1)
    if not 1 <= versions[""] <= NEWEST_OPSET:
        raise ModelError(
            f"opset {versions['']} is not supported, only 1 to {NEWEST_OPSET}",
            hint="convert the model with onnx.version_converter, or export it for an older opset",
        )
    return versions
