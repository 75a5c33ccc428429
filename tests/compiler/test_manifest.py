"""Extents of layers in a manifest are checked like all else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.models import inputs_for, small_cnn
from tilewright.compiler import api
from tilewright.compiler.artefact import Artefact
from tilewright.compiler.manifest import check_manifest
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
