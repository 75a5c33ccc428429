"""Every model on every target: accuracy, bit-exactness, cycles, compile time, operation counts.

    python -m benchmarks.models [--models M1,M2] [--targets T1,T2] [--json OUT.json]

For each model: fp32 on the CPU end against onnxruntime (largest error relative to the output's
range); int8 on every target: outputs of the simulated NPU against those of the CPU end, and the
integer tensors of the reference semantics against both (all must be bit-identical); cycles and the
lower bound; compile seconds and operations at each level.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.compiler.compare import compare_artefacts
from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.importer import open_dimensions
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.tensors import read_npz

MODELS = Path(os.environ.get("TILEWRIGHT_MODELS", Path(__file__).parents[2] / "shared" / "models"))
TARGETS = ("gemmini-16x16", "ethos-u65-512", "tpu-v1", "auto-200")
REAL = (
    "squeezenet1.1_fp32", "mnist_cntk", "mlperf_tiny_kws_dscnn", "mlperf_tiny_ic_resnet8",
    "mlperf_tiny_vww_mbv1_025", "mlperf_tiny_ad_autoencoder", "pilotnet", "nanodet_m_320",
    "ultraface_rfb320", "deeplabv3_mnv2_dm05", "keypoint_classifier", "super_resolution",
)  # fmt: skip
ARCH = ("resnet18_ts17", "resnet50_ts17", "mobilenetv2_ts17", "yolov8n_ts17")


@dataclass
class TargetRow:
    """One model on one target."""

    cycles: int
    lower_bound_cycles: int
    utilization: float
    identical_to_cpu: bool
    compile_seconds: float
    simulate_seconds: float
    cpu_nodes: int
    ops: dict[str, int]


@dataclass
class ModelRow:
    """One model: fp32 error against onnxruntime, then a row per target."""

    model: str
    fp32_error: float = float("nan")
    fp32_compile_seconds: float = float("nan")
    int8_sqnr_db: float = float("nan")
    targets: dict[str, TargetRow] = field(default_factory=dict[str, TargetRow])
    failures: list[str] = field(default_factory=list[str])


def model_path(name: str) -> Path:
    """The file of a model, in `real/` or `arch/`."""
    return next(
        p
        for p in (MODELS / "real" / f"{name}.onnx", MODELS / "arch" / f"{name}.onnx")
        if p.exists()
    )


def sample_inputs(name: str, executable: Executable) -> dict[str, Any]:
    """Real inputs where there are some, seeded noise otherwise."""
    found = sorted((MODELS / "inputs").glob(f"{name}.*.npz")) + sorted(
        (MODELS / "arch").glob(f"{name}.npz")
    )
    if found:
        arrays = read_npz(found[0])
        return {i.name: arrays[i.name] for i in executable.inputs}
    if "ic_resnet8" in name:
        with np.load(MODELS / "data" / "cifar10_test_500.npz") as data:
            return {
                executable.inputs[0].name: data["x"][:1].transpose(0, 3, 1, 2).astype(np.float32)
            }
    rng = np.random.default_rng(0)
    return {i.name: rng.random(i.shape).astype(i.dtype) for i in executable.inputs}


def fixed_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes for inputs with open dimensions: 1 in their place, so that all is one module."""
    return {
        name: [d or 1 for d in dims]
        for name, dims in open_dimensions(path).items()
        if dims is not None and None in dims
    }


def measure(name: str, targets: list[str]) -> ModelRow:
    """All figures of one model; failures are rows of text, not exceptions."""
    row = ModelRow(name)
    path = model_path(name)
    try:
        started = time.perf_counter()
        floating = compile_model(str(path), CompileOptions(shapes=fixed_shapes(path)))
        row.fp32_compile_seconds = time.perf_counter() - started
        assert floating.artefact is not None
        executable = Executable(floating.artefact)
        inputs = sample_inputs(name, executable)
        comparison = compare_artefacts(str(path), executable, inputs)
        row.fp32_error = max(t.max_rel_error for t in comparison.outputs)
    except Exception as error:
        row.failures.append(failure("fp32", error))
        return row
    for target in targets:
        try:
            row.targets[target] = _on_target(row, path, target, inputs)
        except Exception as error:
            row.failures.append(failure(target, error))
    return row


def failure(what: str, error: Exception) -> str:
    """An exception as one line."""
    return f"{what}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _on_target(row: ModelRow, path: Path, target: str, inputs: dict[str, Any]) -> TargetRow:
    started = time.perf_counter()
    options = CompileOptions(
        target=target, quantize="int8", calibration=inputs, shapes=fixed_shapes(path)
    )
    result = compile_model(str(path), options)
    seconds = time.perf_counter() - started
    assert result.artefact is not None
    executable = Executable(result.artefact)
    on_cpu = executable.run(inputs)
    started = time.perf_counter()
    on_npu, figures = executable.simulate(inputs)
    simulate_seconds = time.perf_counter() - started
    if np.isnan(row.int8_sqnr_db):
        comparison = compare_artefacts(str(path), executable, inputs)
        row.int8_sqnr_db = min(
            (t.sqnr_db for t in comparison.outputs if t.sqnr_db is not None), default=float("inf")
        )
    return TargetRow(
        figures.cycles,
        figures.lower_bound_cycles,
        figures.utilization,
        all(
            np.array_equal(on_cpu[n], on_npu[n], equal_nan=on_cpu[n].dtype.kind == "f")
            for n in on_cpu
        ),
        seconds,
        simulate_seconds,
        len(result.ctx.placement),
        dict(result.phase_ops),
    )


def lines(row: ModelRow) -> Iterator[str]:
    """The row as text."""
    yield (
        f"{row.model:<28} fp32 error {row.fp32_error:.1e} of range, "
        f"compiled in {row.fp32_compile_seconds:.2f} s; "
        f"int8 output SQNR {row.int8_sqnr_db:.1f} dB"
    )
    for target, t in row.targets.items():
        yield (
            f"  {target:<16} {t.cycles:>12,} cycles = "
            f"{t.cycles / max(1, t.lower_bound_cycles):5.2f}x bound, "
            f"utilisation {t.utilization:6.1%}, "
            f"{'bit-identical' if t.identical_to_cpu else 'DIFFERENT'}, "
            f"compile {t.compile_seconds:5.2f} s, simulate {t.simulate_seconds:5.2f} s, "
            f"{t.cpu_nodes} nodes on CPU, ops {t.ops}"
        )
    for failure in row.failures:
        yield f"  FAILED {failure}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(REAL + ARCH))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--json")
    args = parser.parse_args()
    rows: list[ModelRow] = []
    for name in args.models.split(","):
        rows.append(measure(name, [t for t in args.targets.split(",") if t]))
        for line in lines(rows[-1]):
            print(line, flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
