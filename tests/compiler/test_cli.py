from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.models import DIGITS, EXAMPLES, inputs_for, small_cnn, tilewright
from tilewright.compiler.artefact import load_artefact


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    path = folder / "digits.tw"
    code, out, err = tilewright(
        "compile", DIGITS, "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", EXAMPLES / "digits_calibration.npz", "-o", path,
    )  # fmt: skip
    assert code == 0, err
    assert "NPU programs: 1" in out
    return path


@pytest.fixture
def one_digit(tmp_path: Path) -> Path:
    with np.load(EXAMPLES / "digits_heldout.npz") as held:
        np.savez(tmp_path / "in.npz", **{"in:image": held["image"][0]})
    return tmp_path / "in.npz"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tilewright.compiler import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'onnx', 'xdsl', 'llvmlite', 'rich', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_run_and_simulate_agree_bit_for_bit(
    artefact: Path, one_digit: Path, tmp_path: Path
) -> None:
    assert (
        tilewright("run", artefact, "--inputs", one_digit, "--outputs", tmp_path / "cpu.npz")[0]
        == 0
    )
    code, _, err = tilewright(
        "simulate", artefact, "--inputs", one_digit, "--outputs", tmp_path / "npu.npz", "--json",
        tmp_path / "report.json", "--trace", tmp_path / "trace.json", "--report",
        tmp_path / "report.html",
    )  # fmt: skip
    assert code == 0, err
    with np.load(tmp_path / "cpu.npz") as cpu, np.load(tmp_path / "npu.npz") as npu:
        assert cpu.files == npu.files == ["logits"]
        np.testing.assert_array_equal(cpu["logits"], npu["logits"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert {
        "cycles",
        "lower_bound_cycles",
        "macs",
        "utilization",
        "dram_bytes",
        "units",
        "layers",
    } <= set(report)
    assert 0 < report["lower_bound_cycles"] <= report["cycles"]
    assert 0 < report["utilization"] <= 1
    for kinds in report["units"].values():
        assert sum(kinds.values()) == report["cycles"]
        assert all(v >= 0 for v in kinds.values())
    for layer in report["layers"]:
        assert {"name", "nodes", "unit", "cycles", "lower_bound_cycles"} <= set(layer)
        assert layer["lower_bound_cycles"] <= layer["cycles"]
    nodes = {n.name for n in onnx.load(DIGITS).graph.node}
    assert {n for layer in report["layers"] for n in layer["nodes"]} <= nodes
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["traceEvents"]
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_stacked_inputs_are_samples(artefact: Path, tmp_path: Path) -> None:
    code, _, err = tilewright(
        "run", artefact, "--inputs", EXAMPLES / "digits_heldout.npz",
        "--outputs", tmp_path / "out.npz",
    )  # fmt: skip
    assert code == 0, err
    with np.load(tmp_path / "out.npz") as out, np.load(EXAMPLES / "digits_heldout.npz") as held:
        assert (out["logits"].reshape(100, 10).argmax(1) == held["label"]).mean() >= 0.97


def test_compare_reports_every_tensor(artefact: Path, one_digit: Path, tmp_path: Path) -> None:
    code, out, err = tilewright(
        "compare", DIGITS, artefact, "--inputs", one_digit, "--json", tmp_path / "c.json"
    )
    assert code == 0, err
    assert "SQNR" in out
    result = json.loads((tmp_path / "c.json").read_text())
    assert len(result["tensors"]) >= 8
    assert result["outputs"][0]["sqnr_db"] > 15


def test_compare_two_artefacts(artefact: Path, one_digit: Path) -> None:
    code, out, err = tilewright("compare", artefact, artefact, "--inputs", one_digit)
    assert code == 0, err
    assert "inf" in out


def test_check_lists_cpu_nodes(tmp_path: Path) -> None:
    onnx.save(small_cnn(), tmp_path / "m.onnx")
    code, out, err = tilewright(
        "check", tmp_path / "m.onnx", "--target", "gemmini-16x16", "--json", "-"
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["supported"]
    assert "head/softmax" in {row["node"] for row in result["on_cpu"]}


def test_disassembly_and_targets(artefact: Path) -> None:
    code, out, err = tilewright("disassemble", artefact)
    assert code == 0, err
    assert "matmul" in out
    code, out, _ = tilewright("targets")
    assert code == 0
    for name in ("cpu", "gemmini-16x16", "ethos-u65-512", "tpu-v1", "auto-200"):
        assert name in out


def test_same_input_same_bytes(tmp_path: Path) -> None:
    onnx.save(small_cnn(), tmp_path / "m.onnx")
    np.savez(tmp_path / "cal.npz", **inputs_for(small_cnn()))
    for name in ("a.tw", "b.tw"):
        code, _, err = tilewright(
            "compile", tmp_path / "m.onnx", "--target", "gemmini-16x16", "--quantize", "int8",
            "--calibration", tmp_path / "cal.npz", "-o", tmp_path / name,
        )  # fmt: skip
        assert code == 0, err
    assert (tmp_path / "a.tw").read_bytes() == (tmp_path / "b.tw").read_bytes()


def test_emit_dump_and_time(tmp_path: Path) -> None:
    onnx.save(small_cnn(), tmp_path / "m.onnx")
    np.savez(tmp_path / "cal.npz", **inputs_for(small_cnn()))
    code, out, err = tilewright(
        "compile", tmp_path / "m.onnx", "--target", "gemmini-16x16", "--quantize", "int8",
        "--calibration", tmp_path / "cal.npz", "-o", tmp_path / "m.tw", "--emit", "graph,loop",
        "--emit", "npu,asm,llvm,binary", "--dump", "changed", "--time-passes",
        "--tilings",
    )  # fmt: skip
    assert code == 0, err
    for suffix in ("graph.mlir", "loop.mlir", "npu.mlir", "s", "ll", "twb"):
        assert (tmp_path / f"m.{suffix}").stat().st_size > 0, suffix
    assert list((tmp_path / "m.tw.dumps").glob("*-graph-canonicalize.mlir"))
    assert "lower-to-loop" in out
    assert re.search(r"^layer +tile / loops +cycles +bound +gap$", out, re.M)
    rows = load_artefact(tmp_path / "m.tw").manifest["tilings"]
    assert rows and all(row["cycles"] >= row["bound"] > 0 for row in rows)


def test_dumps_of_one_pass(tmp_path: Path) -> None:
    onnx.save(small_cnn(), tmp_path / "m.onnx")
    compiling = "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.tw", "--dump"
    code, _, err = tilewright(*compiling, "bufferise")
    assert code == 2
    assert "unknown pass 'bufferise'" in err
    assert "did you mean 'bufferize'" in err
    code, _, err = tilewright(*compiling, "fuse")
    assert code == 2
    assert "'fuse-activations' or 'fuse-regions'" in err
    code, _, err = tilewright(*compiling, "xyz")
    assert code == 2
    assert "passes are canonicalize, " in err
    assert not (tmp_path / "m.tw").exists()
    code, _, err = tilewright(*compiling, "bufferize")
    assert code == 0, err
    assert "--dump" not in err
    (file,) = (tmp_path / "m.tw.dumps").glob("*.mlir")
    assert file.name.endswith("-loop-bufferize.mlir")
    code, _, err = tilewright(*compiling, "tile-npu")
    assert code == 0, err
    assert "--dump: pass 'tile-npu' does not run with these options" in err


def test_partial_compilation_resumes(tmp_path: Path) -> None:
    onnx.save(small_cnn(), tmp_path / "m.onnx")
    assert (
        tilewright(
            "compile", tmp_path / "m.onnx", "--compile-to", "graph", "-o", tmp_path / "g.mlir"
        )[0]
        == 0
    )
    code, _, err = tilewright(
        "compile",
        tmp_path / "g.mlir",
        "--compile-from",
        "graph",
        "--constants",
        tmp_path / "g.npz",
        "-o",
        tmp_path / "m.tw",
    )
    assert code == 0, err
    whole = tmp_path / "whole.tw"
    assert tilewright("compile", tmp_path / "m.onnx", "-o", whole)[0] == 0
    np.savez(tmp_path / "in.npz", **inputs_for(small_cnn()))
    for name in ("m", "whole"):
        assert (
            tilewright(
                "run",
                tmp_path / f"{name}.tw",
                "--inputs",
                tmp_path / "in.npz",
                "--outputs",
                tmp_path / f"{name}.npz",
            )[0]
            == 0
        )
    with np.load(tmp_path / "m.npz") as a, np.load(tmp_path / "whole.npz") as b:
        np.testing.assert_array_equal(a["y"], b["y"])


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["compile", "{m}", "--target", "gemini"], "gemmini-16x16"),
        (["compile", "{m}", "--target", "gemmini-16x16", "--quantize", "int8"], "calibration"),
        (["compile", "{m}", "--quantize", "int4"], "int8"),
        (["compile", "{m}", "--emit", "wasm"], "--emit"),
        (["compile", "{m}", "--shape", "x:1x3"], "x"),
        (["compile", "{m}", "--shape", "x"], "NAME:1x3x224x224"),
        (["compile", "{m}", "--compile-to", "nowhere"], "nowhere"),
        (["compile", "{m}", "-o", "{t}/no/such/folder/m.tw"], "no/such/folder"),
        (["run", "{m}"], "artefact"),
        (["run", "{t}/absent.tw"], "absent.tw"),
        (["check", "{t}/absent.onnx"], "absent.onnx"),
        (["simulate", "{t}/cpu.tw"], "no NPU program"),
        (["run", "{t}/cpu.tw", "--inputs", "{t}/bad.npz"], "x"),
        (["run", "{t}/cpu.tw", "--inputs", "{m}"], "m.onnx"),
        (["disassemble", "{m}"], ""),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(
    tmp_path: Path, argv: list[str], expected: str
) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(small_cnn(), model)
    if "{t}/cpu.tw" in argv:
        assert tilewright("compile", model, "-o", tmp_path / "cpu.tw")[0] == 0
    np.savez(tmp_path / "bad.npz", x=np.zeros((1, 3, 5, 5), np.float32))
    before = sorted(tmp_path.iterdir())
    code, _, err = tilewright(*(a.format(m=model, t=tmp_path) for a in argv))
    assert code == 2, err
    assert expected in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before
