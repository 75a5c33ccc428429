"""Malformed input through the command lines: exit code 2, one message, no traceback, no file."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malformed.cases import CASES, Case
from malformed.forging import assert_harmless, assert_refused, mutated
from support.models import inputs_for, small_cnn, tilewright
from tilewright.backends.targets import load as targets
from tilewright.compiler import opt
from tilewright.dialects.errors import TilewrightError

# --- models ---


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_models(case: Case, tmp_path: Path) -> None:
    path, args = case.build(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    err = assert_refused("compile", path, *args, "-o", tmp_path / "out.tw")
    assert all(part in err for part in case.expected)
    code, out, err = tilewright("check", str(path), *args)
    assert code == 2 and "Traceback" not in err
    assert (err.count("error:") == 1) != bool(out)
    assert sorted(tmp_path.rglob("*")) == before


# --- arrays ---


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def giant_array() -> bytes:
    """An .npz whose only member declares 2^60 elements."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    return buffer.getvalue()


X = np.zeros((1, 3, 12, 12), np.float32)
ARRAYS: dict[str, bytes] = {
    "empty": b"",
    "text": b"these are not arrays",
    "not-a-zip": npz_bytes(x=X)[10:],
    "truncated": npz_bytes(x=X)[:300],
    "damaged": npz_bytes(x=X)[:60] + b"\xff" * 200 + npz_bytes(x=X)[260:],
    "giant": giant_array(),
    "objects": npz_bytes(x=np.array([{}], dtype=object)),
    "strings": npz_bytes(x=np.array(["a"])),
    "complex": npz_bytes(x=X.astype(np.complex64)),
    "structured": npz_bytes(x=np.zeros(3, [("a", "i4")])),
    "other-name": npz_bytes(z=X),
    "other-shape": npz_bytes(x=X[:, :2]),
    "no-samples": npz_bytes(x=np.zeros((0, 1, 3, 12, 12), np.float32)),
    "no-members": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("data", ARRAYS.values(), ids=ARRAYS)
def test_arrays(folder: Path, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(data)
    assert_refused("run", folder / "cpu.tw", "--inputs", path)
    assert_refused("simulate", folder / "npu.tw", "--inputs", path)
    assert_refused("compare", folder / "m.onnx", folder / "npu.tw", "--inputs", path)
    assert_refused(
        "compile", folder / "m.onnx", "--quantize", "int8", "--calibration", path,
        "-o", tmp_path / "o.tw",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_calibration_values(folder: Path, tmp_path: Path, value: float) -> None:
    """Values without a range are refused; extreme ones that have one are not a crash."""
    x = inputs_for(small_cnn())["x"]
    x[0, 0, 0, 0] = value
    np.savez(tmp_path / "cal.npz", x=x)
    assert_harmless(
        "compile", folder / "m.onnx", "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", tmp_path / "cal.npz", "-o", tmp_path / "o.tw",
    )  # fmt: skip


@given(st.data())
def test_mutated_arrays(folder: Path, tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.npz"
    path.write_bytes(mutated(npz_bytes(x=X), data))
    assert_harmless("run", folder / "cpu.tw", "--inputs", path)


# --- targets ---

GEMMINI = (Path(targets.__file__).parent / "gemmini-16x16.toml").read_text()
TARGETS: dict[str, bytes] = {
    "empty": b"",
    "not-toml": b"name = = 3",
    "not-utf8": b"\xff\xfe\x00",
    "unknown-key": GEMMINI.encode() + b"\n[fpu]\nlanes = 3\n",
    "nested": b"a = " + b"[" * 50_000,
    "nan": GEMMINI.replace("clock_hz = ", "clock_hz = nan #").encode(),
    "big": GEMMINI.replace("rows = 16", "rows = 99999999999999999999").encode(),
    "negative": GEMMINI.replace("rows = 16", "rows = -16").encode(),
    "text": GEMMINI.replace("rows = 16", 'rows = "16"').encode(),
    "true": GEMMINI.replace("rows = 16", "rows = true").encode(),
    "table": GEMMINI.replace("[matrix]", "[[matrix]]").encode(),
}


@pytest.mark.parametrize("data", TARGETS.values(), ids=TARGETS)
def test_targets(folder: Path, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(data)
    assert_refused(
        "compile", folder / "m.onnx", "--target", path, "-o", tmp_path / "o.tw", about="t.toml"
    )
    assert_refused("check", folder / "m.onnx", "--target", path, about="t.toml")
    assert list(tmp_path.iterdir()) == [path]


@given(st.data())
def test_mutated_targets(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    path.write_bytes(mutated(GEMMINI.encode(), data))
    with contextlib.suppress(TilewrightError):
        targets.load_target(path)


# --- IR text ---

IR: dict[str, bytes] = {
    "garbage": b"this is not IR",
    "bytes": bytes(range(256)),
    "open-string": b'builtin.module attributes {a = "' + b"\\\\" * 5000 + b"x} {\n}\n",
    "open-string-2": b'"' * 3,
    "nested-regions": b'"builtin.module"() ({' * 20_000,
    "nested-attributes": b'"builtin.module"() {a = ' + b"[" * 50_000 + b"} : () -> ()",
    "nested-types": b'"builtin.module"() {a = ' + b"tuple<" * 50_000 + b"} : () -> ()",
    "unknown-op": b'builtin.module { "acme.frobnicate"() : () -> () }',
    "unknown-type": b'builtin.module { func.func @main(%a: !acme.t) { func.return } }',
    "unknown-attribute": b"builtin.module attributes {a = #acme.b} { }",
    "undefined-value": b'builtin.module { func.func @main() -> i32 { func.return %x : i32 } }',
    "no-end": b"builtin.module { func.func @main() {",
    "two-modules": b"builtin.module { } builtin.module { }",
    "big-integer": b"builtin.module attributes {a = " + b"9" * 10_000 + b" : i64} { }",
    "bad-property": b"builtin.module { func.func @main(%a: tensor<4xf32>) -> tensor<4xf32> { "
    b'%b = "graph.map"(%a) : (tensor<4xf32>) -> tensor<4xf32> '
    b"func.return %b : tensor<4xf32> } }",
    "no-main": b"builtin.module { }",
    "two-blocks": b"builtin.module { func.func @main() { func.return ^bb1: func.return } }",
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("data", IR.values(), ids=IR)
def test_ir_text(tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.mlir"
    path.write_bytes(data)
    passes = "canonicalize,lower-to-loop" if b"main" not in data or b"two" in data else "cse"
    code = opt.main([str(path), "-p", passes, "-o", str(tmp_path / "out.mlir")])
    err = capsys.readouterr().err
    assert code == 2 and err.count("error:") >= 1 and "Traceback" not in err and len(err) < 4000
    assert_refused("compile", path, "--compile-from", "graph", "-o", tmp_path / "out.tw")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("level", ["graph", "loop", "npu"])
@settings(max_examples=40)
@given(data=st.data())
def test_mutated_ir(folder: Path, tmp_path_factory: Any, level: str, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.mlir"
    text = (folder / f"npu.{level}.mlir").read_bytes()
    path.write_bytes(mutated(text, data))
    out = tmp_path_factory.getbasetemp() / "opt.mlir"
    assert opt.main(
        [str(path), "-p", "canonicalize,cse,dce" if level == "graph" else "", "-o", str(out)]
    ) in (0, 2)


PIPELINES = (
    "nowhere",
    "cse{",
    "cse{x=1}",
    "cse,,dce",
    "{}",
    "constant-fold{max-elements=many}",
    "\x00",
    "cse dce",
)


@pytest.mark.parametrize("text", PIPELINES)
def test_pipelines(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert opt.main([str(folder / "npu.graph.mlir"), "-p", text]) == 2
    err = capsys.readouterr().err
    assert err.startswith("tilewright-opt: error:") and "Traceback" not in err


@pytest.mark.parametrize("data", ARRAYS.values(), ids=ARRAYS)
def test_constants_of_ir(
    folder: Path, tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.npz").write_bytes(data)
    code = opt.main(
        [
            str(folder / "npu.graph.mlir"),
            "-p",
            "constant-fold",
            "--constants",
            str(tmp_path / "c.npz"),
        ]
    )
    assert code in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


# --- programs ---


@given(st.data())
def test_mutated_programs(folder: Path, tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.twb"
    path.write_bytes(mutated((folder / "npu.twb").read_bytes(), data))
    assert_harmless("disassemble", path)


@pytest.mark.parametrize(
    "data", [b"", b"TW", b"\0" * 64, b"poem" * 100], ids=["empty", "short", "zeros", "text"]
)
def test_programs(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.twb").write_bytes(data)
    assert_refused("disassemble", tmp_path / "p.twb")
