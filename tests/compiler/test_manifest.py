"""Extents of layers, and how far kernels reach, are checked like all else in a manifest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.models import inputs_for, small_cnn
from tilewright.compiler import api
from tilewright.compiler.artefact import Artefact
from tilewright.compiler.manifest import check_manifest, reach
from tilewright.dialects.errors import ArtefactError


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    model = small_cnn()
    made = api.compile(model, "gemmini-16x16", quantize="int8", calibration=inputs_for(model))
    return made.artefact


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 3}, "kind"),
        ({"m": 0}, r"shapes\.m"),
        ({"taps": 1.5}, r"shapes\.taps"),
        ({"rank": 4}, "kind, batch, m, n, k, taps"),
    ],
)
def test_shapes(artefact: Artefact, change: dict[str, Any], message: str) -> None:
    manifest = json.loads(json.dumps(artefact.manifest))
    check_manifest(manifest, artefact.files)
    step = next(s for s in manifest["steps"] if s["kind"] == "npu")
    row = next(row for row in step["work"] if row["shapes"])
    row["shapes"][0] |= change
    with pytest.raises(ArtefactError, match=message):
        check_manifest(manifest, artefact.files)
    del row["shapes"]  # as in artefacts of older versions
    check_manifest(manifest, artefact.files)


@pytest.mark.parametrize("target", ["cpu", "gemmini-16x16"])
def test_kernels_stay_within_arena_and_constants(target: str) -> None:
    """Even where an arena that is too small holds all inputs and outputs."""
    model = small_cnn()
    made = api.compile(model, target, quantize="int8", calibration=inputs_for(model))
    manifest, files = made.artefact.manifest, made.artefact.files
    kernels, consts = files["cpu/kernels.ll"], files["constants.bin"]
    arena = reach(kernels, "arena")
    tensors = max(i.offset + i.bytes for i in (*made.inputs, *made.outputs))
    assert tensors < arena <= manifest["arena_bytes"]
    assert 0 < reach(kernels, "consts") <= len(consts)
    check_manifest(manifest | {"arena_bytes": arena}, files)
    with pytest.raises(ArtefactError, match=f"arena_bytes is {tensors}, expected .* from {arena}"):
        check_manifest(manifest | {"arena_bytes": tensors}, files)
    short = consts[: reach(kernels, "consts") - 1]
    with pytest.raises(ArtefactError, match="the size of constants"):
        check_manifest(manifest, files | {"constants.bin": short})
    silent = kernels.replace(b"@tw_arena_bytes", b"@tw_arena_kilobytes")
    with pytest.raises(ArtefactError, match="does not say how much of arena"):
        check_manifest(manifest, files | {"cpu/kernels.ll": silent})
