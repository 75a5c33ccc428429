"""The `.tw` artefact: a zip that ordinary tools open, written byte-identically for equal contents.

manifest.json          versions, target, tensors, steps, placement, hash of every other member
constants.bin          the constants blob that CPU kernels and NPU programs address
cpu/kernels.ll         LLVM IR of the CPU end (host-independent; compiled and cached on load)
npu/segment_K.twb      one encoded program per NPU segment
debug/graph.mlir       the graph after quantisation, for `tilewright compare` (unless stripped)
debug/constants.npz    what it needs beyond constants.bin
ir/PHASE.mlir          IR after each phase, when asked for

An artefact of kind "program" (a model with open dimensions, or with nodes that run on the host)
has instead:

model.onnx             the model, weights included
plan.json              what has been learned about its parts: inputs specialised by value, ranges
regions/KEY.json       the manifest of each part compiled ahead
blobs/HASH             the members of all parts
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from .. import __version__
from ..dialects.errors import ArtefactError
from .files import write_atomically

FORMAT = "tilewright-artefact"
FORMAT_VERSION = 1
PROGRAM = "program"
"""`kind` in the manifest of a program."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_STORED = (".bin", ".npz", ".twb", ".onnx")
MAX_MEMBER_BYTES = 16 << 30
MAX_PACKED_BYTES = 1 << 30
"""Unpacked size of a compressed member (text): deflate makes at most a thousandth of it."""


def digest(data: bytes) -> str:
    """Hex blake2b (16 bytes) of `data`."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass
class Artefact:
    """A manifest (JSON values) and the other members by name."""

    manifest: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])

    def to_bytes(self) -> bytes:
        """The zip; members sorted, no times, hashes of all members in the manifest."""
        buffer = io.BytesIO()
        self.write(buffer)
        return buffer.getvalue()

    def write(self, file: IO[bytes]) -> None:
        """Write the zip to an open file."""
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tilewright": __version__,
            **self.manifest,
            "files": {
                name: {"bytes": len(data), "blake2b": digest(data)}
                for name, data in sorted(self.files.items())
            },
        }
        manifest["blake2b"] = _manifest_digest(manifest)
        members = {
            "manifest.json": json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n",
            **dict(sorted(self.files.items())),
        }
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.external_attr = 0o644 << 16
                stored = name.endswith(_STORED)
                info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                archive.writestr(info, data)

    def save(self, path: str | Path) -> None:
        """Write the artefact (to a temporary file first, then renamed)."""
        write_atomically(Path(path), self.write)


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    """Digest of all of the manifest but the digest itself."""
    rest = {key: value for key, value in manifest.items() if key != "blake2b"}
    return digest(json.dumps(rest, sort_keys=True).encode())


def load_artefact(path: str | Path) -> Artefact:
    """Read and check an artefact; ArtefactError says what does not fit."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except FileNotFoundError:
        raise ArtefactError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise ArtefactError(f"{path} is a folder, not an artefact") from None
    except (
        zipfile.BadZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,  # RecursionError among them
        OSError,
        ValueError,
        MemoryError,
        zlib.error,
    ) as error:
        raise ArtefactError(
            f"{path} is not a readable .tw artefact: {error}",
            hint="compile the model again with `tilewright compile`",
        ) from None


def _read(archive: zipfile.ZipFile, path: Path) -> Artefact:
    infos = {info.filename: info for info in archive.infolist()}
    if "manifest.json" not in infos:
        raise ArtefactError(f"{path} has no manifest.json: not a tilewright artefact")
    for info in archive.infolist():
        packed = info.compress_type != zipfile.ZIP_STORED
        if info.file_size > (MAX_PACKED_BYTES if packed else MAX_MEMBER_BYTES):
            raise ArtefactError(f"{path}: member {info.filename} claims {info.file_size} bytes")
    try:
        found: object = json.loads(archive.read("manifest.json"))
    except (json.JSONDecodeError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtefactError(f"{path}: manifest.json is damaged: {error}") from None
    manifest = cast("dict[str, Any]", found if isinstance(found, dict) else {})
    if manifest.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not a tilewright artefact")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ArtefactError(
            f"{path} has artefact format {manifest.get('format_version')} (made by tilewright "
            f"{manifest.get('tilewright')}); this version reads format {FORMAT_VERSION}",
            hint="compile the model again with this version",
        )
    if manifest.get("blake2b") != _manifest_digest(manifest):
        raise ArtefactError(f"{path}: manifest.json is damaged (it does not have its own hash)")
    del manifest["blake2b"]
    listed: Mapping[str, Any] = manifest.pop("files", {})
    files: dict[str, bytes] = {}
    for name, entry in listed.items():
        if name not in infos:
            raise ArtefactError(f"{path}: member {name} is missing")
        if infos[name].file_size != entry["bytes"]:
            raise ArtefactError(
                f"{path}: member {name} has {infos[name].file_size} bytes, "
                f"expected {entry['bytes']}"
            )
        try:
            data = archive.read(name)
        except (zipfile.BadZipFile, zlib.error):
            data = b""
        if digest(data) != entry["blake2b"]:
            raise ArtefactError(
                f"{path}: member {name} is damaged (its hash differs from the manifest's)"
            )
        files[name] = data
    steps = ("steps", "arena_bytes") if manifest.get("kind") != PROGRAM else ()
    for key in ("target", "inputs", "outputs", *steps):
        if key not in manifest:
            raise ArtefactError(f"{path}: the manifest lacks {key!r}")
    return Artefact(manifest, files)
