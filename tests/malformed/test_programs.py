"""Forged program artefacts: members changed together with their hashes, by someone who means harm.

Kernels are machine code in all but name: whether to run those is up to whoever trusts the file.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from malformed.forging import changed, places
from support.models import tilewright
from tilewright.compiler.artefact import Artefact, load_artefact

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT
info = helper.make_tensor_value_info


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """A program of an int8 convolution, TopK with k from outside, and a host node."""
    at: Path = tmp_path_factory.mktemp("programs")
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], "relu"),
            helper.make_node("TopK", ["r", "k"], ["y", "at"], "top", axis=1),
            helper.make_node("NonZero", ["y"], ["places"], "places"),
        ],
        "g", [info("x", FLOAT, ["n", 3, "h", 6]), info("k", INT64, [1])],
        [info("y", FLOAT, None), info("places", INT64, None)],
        [numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), at / "m.onnx")
    x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    np.savez(at / "in.npz", x=x, k=np.array([2]))
    code, _, err = tilewright(
        "compile", at / "m.onnx", "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", at / "in.npz", "--shape", "x:1..4x3x?x6", "-o", at / "p.tw",
    )  # fmt: skip
    assert code == 0, err
    plan = json.loads(load_artefact(at / "p.tw").files["plan.json"])
    assert plan["learned"] and plan["ranges"]
    return at


def use(folder: Path, forged: Artefact, *, must_fail: bool = False) -> None:
    """Every command that reads artefacts: success or one message, never a crash."""
    path = folder / "forged.tw"
    forged.save(path)
    given_ = ("--inputs", folder / "in.npz")
    codes: list[int] = []
    for argv in (
        ("run", path, *given_), ("run", path), ("simulate", path, *given_),
        ("disassemble", path), ("compare", path, path, *given_),
    ):  # fmt: skip
        code, _, err = tilewright(*argv)
        assert code in (0, 2) and "Traceback" not in err, err
        assert code == 0 or (err.count("error:") == 1 and len(err) < 4000)
        codes.append(code)
    assert not must_fail or codes[0] == 2


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [..., None, True, -1, 0, 3, 64, 1 << 40, 1 << 70, 1.5, float("nan"), 1e300, "", "x", "float32",
     "object", "V8", "cpu", "npu", "sequence", "any rank", [], [1], [[1]], [None], {}, {"a": 1}]
)  # fmt: skip


@settings(max_examples=60)
@given(st.data())
def test_any_value_of_the_tables_of_a_program(folder: Path, data: st.DataObject) -> None:
    artefact = load_artefact(folder / "p.tw")
    members = [n for n in artefact.files if n.startswith("regions/") or n == "plan.json"]
    which = data.draw(st.sampled_from(["manifest", *members]))
    table = artefact.manifest if which == "manifest" else json.loads(artefact.files[which])
    forged = changed(table, data.draw(st.sampled_from(places(table))), data.draw(VALUES))
    if which == "manifest":
        use(folder, Artefact(forged, artefact.files))
    else:
        files = artefact.files | {which: json.dumps(forged).encode()}
        use(folder, Artefact(artefact.manifest, files))


@settings(max_examples=20)
@given(st.data())
def test_any_byte_of_the_members_of_a_program(folder: Path, data: st.DataObject) -> None:
    artefact = load_artefact(folder / "p.tw")
    names = [n for n in artefact.files if not n.endswith(".ll")]
    name = data.draw(st.sampled_from(names))
    forged = bytearray(artefact.files[name])
    for _ in range(data.draw(st.integers(1, 5))):
        forged[data.draw(st.integers(0, len(forged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del forged[data.draw(st.integers(0, len(forged) - 1)) :]
    use(folder, Artefact(artefact.manifest, artefact.files | {name: bytes(forged)}))


def region(**fields: Any) -> Callable[[Artefact], None]:
    def apply(artefact: Artefact) -> None:
        for name in [n for n in artefact.files if n.startswith("regions/")]:
            entry = json.loads(artefact.files[name])
            entry["manifest"] |= fields
            artefact.files[name] = json.dumps(entry).encode()

    return apply


def member(name: str, data: bytes) -> Callable[[Artefact], None]:
    def apply(artefact: Artefact) -> None:
        artefact.files[name] = data

    return apply


def manifest(**fields: Any) -> Callable[[Artefact], None]:
    def apply(artefact: Artefact) -> None:
        artefact.manifest |= fields

    return apply


def cyclic(artefact: Artefact) -> None:
    """Regions whose members are the regions themselves."""
    for name in [n for n in artefact.files if n.startswith("regions/")]:
        entry = json.loads(artefact.files[name])
        entry["files"] = dict.fromkeys(entry["files"], name)
        artefact.files[name] = json.dumps(entry).encode()


def swapped(artefact: Artefact) -> None:
    """A region under the key of another one."""
    names = [n for n in artefact.files if n.startswith("regions/")]
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        entry = json.loads(artefact.files[other])
        entry["manifest"]["outputs"][0]["name"] = "other"
        artefact.files[name] = json.dumps(entry).encode()


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1], "dtype": "float32", "offset": 0, "kind": "tensor"} | fields


FORGED: dict[str, Callable[[Artefact], None]] = {
    "model-missing": lambda a: a.files.clear(),
    "model-empty": member("model.onnx", b""),
    "model-text": member("model.onnx", b"this is no model"),
    "plan-text": member("plan.json", b"{"),
    "plan-list": member("plan.json", b"[]"),
    "plan-nested": member("plan.json", b"[" * 100_000),
    "region-text": member("regions/a.json", b"\xff"),
    "region-nested": member("regions/a.json", b'{"a":' * 100_000),
    "region-no-files": member("regions/a.json", b'{"manifest": {}, "files": {"a": "nowhere"}}'),
    "regions-cyclic": cyclic,
    "regions-swapped": swapped,
    "region-arena": region(arena_bytes=1 << 60),
    "region-arena-negative": region(arena_bytes=-64),
    "region-arena-small": region(arena_bytes=8),
    "region-steps": region(steps=[{"kind": "cpu", "entry": "abort"}]),
    "region-steps-cyclic": region(steps=[{"kind": "npu", "program": "regions/a.json"}]),
    "region-inputs": region(inputs=[]),
    "region-shape": region(inputs=[tensor(shape=[1 << 40, 1 << 40])]),
    "region-outputs": region(outputs=[tensor(offset=1 << 30)]),
    "inputs-huge": manifest(inputs=[tensor(shape=[1 << 40], dims=[1 << 40])]),
    "inputs-others": manifest(inputs=[tensor(name="z")]),
    "bounds": manifest(bounds={"x": [[1]]}),
    "options": manifest(options={"target": 3}),
    "options-unknown": manifest(options={"shell": "rm"}),
    "target": manifest(target={"name": "gemmini-16x16"}),
    "machine": manifest(target={"name": "a", "machine": {"name": "a"}}),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_programs(folder: Path, forge: Callable[[Artefact], None]) -> None:
    artefact = load_artefact(folder / "p.tw")
    forge(artefact)
    use(folder, artefact, must_fail=True)


def test_members_that_claim_to_be_huge(folder: Path) -> None:
    """A blob of a kilobyte that unpacks to gigabytes."""
    raw = (folder / "p.tw").read_bytes()
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(raw)) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            data = bytes(1 << 24) if name == "model.onnx" else old.read(name)
            new.writestr(name, data)
    path = folder / "bomb.tw"
    path.write_bytes(packed.getvalue())
    code, _, err = tilewright("run", path)
    assert code == 2 and "Traceback" not in err
