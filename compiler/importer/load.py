"""From a path, bytes or a parsed model to a `ModelProto`, without loading external data."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ...dialects.errors import ModelError

NEWEST_OPSET = 28
"""The newest version of the default operator set that is understood."""


def load(source: str | Path | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, Path | None]:
    """The model and the folder its external data may lie in; ModelError if there is no such model."""
    if isinstance(source, onnx.ModelProto):
        return source, None
    if isinstance(source, bytes):
        return _parse(source, "the model"), None
    path = Path(source)
    if path.is_dir():
        raise ModelError(f"{str(path)!r} is a folder", hint="give the .onnx file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from None
    return _parse(data, repr(path.name)), path.parent


def _parse(data: bytes, what: str) -> onnx.ModelProto:
    if not data:
        raise ModelError(f"{what} is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{what} is not an ONNX model: the protobuf is truncated or damaged"
        ) from None
    return model


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Version by domain (the default domain is ""; 1 if the model imports none); ModelError if too new."""
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
