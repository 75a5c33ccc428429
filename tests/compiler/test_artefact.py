from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tilewright.compiler.artefact import Artefact, load_artefact
from tilewright.dialects.errors import ArtefactError

MANIFEST: dict[str, Any] = {
    "target": {"name": "cpu"}, "inputs": [], "outputs": [], "steps": [], "arena_bytes": 0,
}  # fmt: skip


def test_round_trip_is_byte_identical(tmp_path: Path) -> None:
    artefact = Artefact(dict(MANIFEST), {"constants.bin": b"\x01\x02", "cpu/kernels.ll": b"; text"})
    artefact.save(tmp_path / "a.tw")
    loaded = load_artefact(tmp_path / "a.tw")
    assert loaded.files == artefact.files
    assert artefact.to_bytes() == (tmp_path / "a.tw").read_bytes()
    assert zipfile.ZipFile(tmp_path / "a.tw").testzip() is None


def rewrite(path: Path, name: str, data: bytes | None) -> None:
    with zipfile.ZipFile(path) as old:
        members = {i.filename: old.read(i) for i in old.infolist()}
    if data is None:
        members.pop(name)
    else:
        members[name] = data
    with zipfile.ZipFile(path, "w") as new:
        for member, content in members.items():
            new.writestr(member, content)


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("constants.bin", b"\x01\x03", "damaged"),
        ("constants.bin", b"\x01", "bytes"),
        ("constants.bin", None, "missing"),
        ("manifest.json", None, "manifest"),
        ("manifest.json", b"{", "damaged"),
        ("manifest.json", b"[]", "not a tilewright artefact"),
        ("manifest.json", b'{"format": "tilewright-artefact", "format_version": 99}', "format 99"),
    ],
)
def test_damage_is_named(tmp_path: Path, member: str, data: bytes | None, message: str) -> None:
    path = tmp_path / "a.tw"
    Artefact(dict(MANIFEST), {"constants.bin": b"\x01\x02"}).save(path)
    rewrite(path, member, data)
    with pytest.raises(ArtefactError, match=message):
        load_artefact(path)


def test_truncation_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tw"
    Artefact(dict(MANIFEST), {"constants.bin": bytes(1000)}).save(path)
    whole = path.read_bytes()
    for length in (0, 10, 200, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtefactError):
            load_artefact(path)
