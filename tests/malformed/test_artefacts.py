"""Damaged and forged artefacts through the command line: refused, or harmless."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malformed.forging import assert_harmless, assert_refused, changed, mutated, places
from tilewright.compiler.artefact import load_artefact
from tilewright.compiler.manifest import infos

# --- artefacts ---

Members = dict[str, bytes]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {i.filename: archive.read(i) for i in archive.infolist()}


def write(path: Path, content: Members) -> None:
    """The members as an archive; hashes are left as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)


def use(path: Path) -> None:
    """Every command that reads artefacts."""
    for command in ("run", "simulate", "disassemble"):
        assert_harmless(command, path)
    assert_harmless("compare", path, path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.data())
def test_manifests_of_other_shapes(
    folder: Path, tmp_path_factory: Any, data: st.DataObject
) -> None:
    """Any value of the manifest replaced by any JSON, or missing."""
    content = members(folder / "npu.tw")
    manifest = json.loads(content["manifest.json"])
    at = data.draw(st.sampled_from(places(manifest)))
    content["manifest.json"] = json.dumps(
        changed(manifest, at, data.draw(st.just(...) | JSON))
    ).encode()
    path = tmp_path_factory.getbasetemp() / "manifest.tw"
    write(path, content)
    use(path)


@given(st.data())
def test_bits_flipped_in_artefacts(
    folder: Path, tmp_path_factory: Any, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.tw"
    path.write_bytes(mutated((folder / "npu.tw").read_bytes(), data))
    use(path)


@given(st.data())
def test_forged_members(folder: Path, tmp_path_factory: Any, data: st.DataObject) -> None:
    """Members changed together with their hashes, as someone would who means harm.

    Kernels are machine code in all but name: whether to run those is up to whoever trusts the file.
    """
    artefact = load_artefact(folder / "npu.tw")
    name = data.draw(
        st.sampled_from([n for n in artefact.files if n.startswith(("npu/", "debug/"))])
    )
    artefact.files[name] = mutated(artefact.files[name], data)
    path = tmp_path_factory.getbasetemp() / "forged.tw"
    artefact.save(path)
    assert_harmless("disassemble", path)
    assert_harmless("simulate", path)
    assert_harmless("compare", path, path)


def bomb(path: Path) -> None:
    """A member of a kilobyte that says it is 8 GiB of zeros once unpacked."""
    content = members(path)
    manifest = json.loads(content["manifest.json"])
    manifest["files"]["constants.bin"]["bytes"] = 1 << 33
    content["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    raw = bytearray(path.read_bytes())
    at = -1
    while (at := raw.find(b"PK\x01\x02", at + 1)) >= 0:  # central directory: sizes at offset 24
        if raw[at + 46 :].startswith(b"constants.bin"):
            raw[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(raw)


def encrypted(path: Path) -> None:
    """Every member marked as encrypted."""
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := raw.find(magic, at + 1)) >= 0:
            raw[at + offset] |= 1
    path.write_bytes(raw)


def compressed_strangely(path: Path) -> None:
    """Every member in a compression method nobody has."""
    raw = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x01\x02", 10), (b"PK\x03\x04", 8)):
        at = -1
        while (at := raw.find(magic, at + 1)) >= 0:
            raw[at + offset] = 77
    path.write_bytes(raw)


def edit(**values: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        content = members(path)
        manifest = json.loads(content["manifest.json"]) | values
        content["manifest.json"] = json.dumps(manifest).encode()
        write(path, content)

    return apply


def deep(path: Path) -> None:
    """A manifest of a hundred thousand nested lists."""
    write(path, members(path) | {"manifest.json": b"[" * 100_000})


def without_member(name: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        content = members(path)
        del content[name]
        manifest = json.loads(content["manifest.json"])
        del manifest["files"][name]
        content["manifest.json"] = json.dumps(manifest).encode()
        write(path, content)

    return apply


def offset(value: int) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        manifest = json.loads(members(path)["manifest.json"])
        manifest["inputs"][0]["offset"] = value
        edit(inputs=manifest["inputs"])(path)

    return apply


def shrunk(path: Path) -> None:
    """An arena that holds inputs and outputs, but not what lies between them."""
    manifest = json.loads(members(path)["manifest.json"])
    tensors = infos(manifest["inputs"] + manifest["outputs"], "tensors")
    end = max(t.offset + t.bytes for t in tensors)
    assert end < manifest["arena_bytes"]
    edit(arena_bytes=end)(path)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "bomb": bomb,
    "encrypted": encrypted,
    "compression": compressed_strangely,
    "nested-manifest": deep,
    "inputs-null": edit(inputs=None),
    "files-list": edit(files=[]),
    "files-null": edit(files={"constants.bin": None}),
    "arena-giant": edit(arena_bytes=1 << 60),
    "arena-negative": edit(arena_bytes=-5),
    "arena-small": edit(arena_bytes=16),
    "arena-shrunk": shrunk,
    "arena-text": edit(arena_bytes="many"),
    "scratch-negative": edit(scratch_bytes=-4096),
    "steps-unknown": edit(steps=[{"kind": "gpu"}]),
    "steps-entry": edit(steps=[{"kind": "cpu", "entry": "nowhere"}]),
    "steps-program": edit(steps=[{"kind": "npu", "program": "nowhere", "layers": [], "work": []}]),
    "target-empty": edit(target={}),
    "target-machine": edit(target={"name": "a", "machine": {"name": 3}}),
    "no-kernels": without_member("cpu/kernels.ll"),
    "no-constants": without_member("constants.bin"),
    "input-beyond": offset(1 << 40),
    "input-before": offset(-64),
    "input-odd": offset(3),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_hostile_artefacts(folder: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "a.tw"
    path.write_bytes((folder / "npu.tw").read_bytes())
    damage(path)
    assert_refused("run", path)
    assert_refused("simulate", path)
