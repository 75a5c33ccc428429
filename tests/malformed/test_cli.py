"""Malformed input through the command lines: exit code 2, one message, no traceback, no file."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malformed.cases import CASES, Case
from support.models import inputs_for, small_cnn, tilewright
from tilewright.backends.targets import load as targets
from tilewright.compiler import opt
from tilewright.compiler.artefact import load_artefact
from tilewright.compiler.manifest import infos
from tilewright.dialects.errors import TilewrightError


def assert_refused(*argv: object, about: str = "") -> str:
    """Exit code 2 and one message; returns it."""
    code, _, err = tilewright(*map(str, argv))
    assert code == 2, f"exit code {code}: {err}"
    assert err.count("error:") >= 1 and "Traceback" not in err
    assert about in err
    assert len(err) < 4000
    return err


def assert_harmless(*argv: object) -> int:
    """Success or a refusal, never a crash or a bug report."""
    code, _, err = tilewright(*map(str, argv))
    assert code in (0, 2), err
    assert "Traceback" not in err
    return code


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, and its artefacts for the CPU and an NPU."""
    at = tmp_path_factory.mktemp("artefacts")
    onnx.save(small_cnn(), at / "m.onnx")
    np.savez(at / "cal.npz", **inputs_for(small_cnn()))
    assert tilewright("compile", str(at / "m.onnx"), "-o", str(at / "cpu.tw"))[0] == 0
    code, _, err = tilewright(
        "compile", str(at / "m.onnx"), "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", str(at / "cal.npz"), "-o", str(at / "npu.tw"),
        "--emit", "binary,graph,loop,npu",
    )  # fmt: skip
    assert code == 0, err
    return at


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


def mutated(original: bytes, data: st.DataObject) -> bytes:
    """Some bytes changed, and perhaps the end lost."""
    out = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        out[data.draw(st.integers(0, len(out) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del out[data.draw(st.integers(0, len(out) - 1)) :]
    return bytes(out)


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


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested JSON."""
    out = [at] if at else []
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
    for key, inner in items:
        out += places(inner, (*at, key))
    return out


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """JSON with the value at a path replaced, or removed where `new` is Ellipsis."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return copy


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
