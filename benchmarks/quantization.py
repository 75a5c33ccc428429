"""Quality of int8: this compiler beside onnxruntime's `quantize_static`, in dB.

    python -m benchmarks.quantization [--models M1,M2] [--samples N] [--json OUT.json]

Both calibrate on the same samples by minmax, with weights per channel; both are judged on the same
other samples (on the same ones where a model has but one) by the signal-to-quantisation-noise ratio
of each output against fp32 onnxruntime: 10 log10(sum ref^2 / sum (value - ref)^2).  Ours is the
output of the CPU end, with which the simulator agrees bit for bit; onnxruntime runs its QDQ model
(preprocessed as its manual advises) without graph optimisation, so that no approximation of its
integer kernels enters.  `agree` is the share of samples whose first output has the same argmax.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from tilewright.compiler.driver import compile_model
from tilewright.compiler.executable import Executable
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.tensors import read_npz

from .models import failure

Array = np.ndarray[Any, np.dtype[Any]]
Feed = dict[str, Array]

MODELS = Path(os.environ.get("TILEWRIGHT_MODELS", Path(__file__).parents[2] / "shared" / "models"))
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
IMAGES: dict[str, tuple[Any, Any]] = {
    "mlperf_tiny_vww_mbv1_025": (0.0, 255.0),
    "deeplabv3_mnv2_dm05": (127.5, 127.5),
    "person_reid_0288": (0.0, 1.0),
    "resnet18_ts17": IMAGENET,
    "resnet50_ts17": IMAGENET,
    "mobilenetv2_ts17": IMAGENET,
    "mobilenetv3_large_ts17": IMAGENET,
    "efficientnet_b0_ts17": IMAGENET,
    "yolov8n_ts17": (0.0, 255.0),
}
"""Models that are given photographs, with mean and divisor of their pixels."""

NAMES = (
    "squeezenet1.1_fp32", "mlperf_tiny_kws_dscnn", "mlperf_tiny_ic_resnet8",
    "mlperf_tiny_vww_mbv1_025", "mlperf_tiny_ad_autoencoder", "ultraface_rfb320", "nanodet_m_320",
    "super_resolution", "pilotnet", "deeplabv3_mnv2_dm05", "espnet_cityscapes_512x1024",
    "ppocr_v3_det_en", "candy", "xfeat_320x160", "person_reid_0288", "resnet18_ts17",
    "resnet50_ts17", "mobilenetv2_ts17", "mobilenetv3_large_ts17", "efficientnet_b0_ts17",
    "yolov8n_ts17",
)  # fmt: skip


@dataclass
class Quality:
    """SQNR in dB by output, and the share of samples with the same argmax."""

    sqnr_db: dict[str, float]
    agree: float

    @property
    def worst(self) -> float:
        """The lowest SQNR of any output."""
        return min(self.sqnr_db.values(), default=float("nan"))


@dataclass
class Row:
    """One model: how many samples, and each side's figures or failure."""

    model: str
    calibrated_on: int = 0
    judged_on: int = 0
    ours: Quality | None = None
    onnxruntime: Quality | None = None
    failures: list[str] = field(default_factory=list[str])


def model_path(name: str) -> Path:
    """The file of a model, in `real/` or `arch/`."""
    found = [p for d in ("real", "arch") if (p := MODELS / d / f"{name}.onnx").exists()]
    return found[0]


def _photographs(shape: tuple[int, ...], count: int, mean: Any, divisor: Any) -> Iterator[Array]:
    from PIL import Image

    channels_last = shape[-1] == 3
    size = (shape[2], shape[1]) if channels_last else (shape[3], shape[2])
    with zipfile.ZipFile(MODELS / "data" / "imagenet_200_224.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
        for name in names[:: max(1, len(names) // count)][:count]:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                pixels = np.asarray(image.convert("RGB").resize(size), np.float32)
            pixels = ((pixels - np.float32(mean)) / np.float32(divisor)).astype(np.float32)
            yield (pixels if channels_last else pixels.transpose(2, 0, 1))[np.newaxis]


def feeds(name: str, model: onnx.ModelProto, count: int) -> list[Feed]:
    """Up to `count` inputs of a model: real ones where there are some, else seeded noise."""
    given = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in given]
    first = inputs[0].name
    shape = tuple(d.dim_value for d in inputs[0].type.tensor_type.shape.dim)
    if name in IMAGES:
        return [{first: x} for x in _photographs(shape, count, *IMAGES[name])]
    if name == "mlperf_tiny_ic_resnet8":
        with np.load(MODELS / "data" / "cifar10_train_200.npz") as data:
            pixels = data["x"][:count].astype(np.float32).transpose(0, 3, 1, 2)
        return [{first: x[np.newaxis]} for x in pixels]
    if name == "mlperf_tiny_kws_dscnn":
        with np.load(MODELS / "data" / "kws_500.npz") as data:
            real = (data["q"][:count].astype(np.float32) - data["zp"]) * data["scale"]
        return [{first: x.reshape(shape).astype(np.float32)} for x in real]
    files = sorted((MODELS / "inputs").glob(f"{name}.*.npz"))[:count]
    if files:
        return [read_npz(f) for f in files]
    rng = np.random.default_rng(0)
    return [{first: rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def quality(reference: list[list[Array]], values: list[list[Array]], names: list[str]) -> Quality:
    """Figures of `values` against `reference`, both by sample, then by output."""
    figures: dict[str, float] = {}
    for i, name in enumerate(names):
        power = sum(float(np.square(r[i].astype(np.float64)).sum()) for r in reference)
        noise = sum(
            float(np.square(v[i].astype(np.float64) - r[i]).sum())
            for r, v in zip(reference, values, strict=True)
        )
        figures[name] = 10 * float(np.log10(max(power, 1e-300) / max(noise, 1e-300)))
    same = [int(r[0].argmax() == v[0].argmax()) for r, v in zip(reference, values, strict=True)]
    return Quality(figures, float(np.mean(same)))


def _session(model: Any) -> Any:
    import onnxruntime

    options = cast(Any, onnxruntime.SessionOptions)()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantized_by_onnxruntime(model: onnx.ModelProto, calibration: list[Feed], folder: Path) -> Path:
    """`quantize_static` (QDQ, int8 activations, int8 weights per channel, minmax)."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,  # pyright: ignore[reportUnknownVariableType] (partly annotated)
    )
    from onnxruntime.quantization.shape_inference import (
        quant_pre_process,  # pyright: ignore[reportUnknownVariableType] (partly annotated)
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = iter(calibration)

        def get_next(self) -> Feed | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            return next(self.feeds, None)

    source, prepared, result = (folder / f"{n}.onnx" for n in ("source", "prepared", "result"))
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
        model = onnx.version_converter.convert_version(model, 13)
    onnx.save(model, source)
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    except Exception:
        prepared = source
    quantize_static(
        str(prepared), str(result), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )  # fmt: skip
    return result


def _ours(path: Path, calibration: list[Feed], judged: list[Feed]) -> list[list[Array]]:
    stacked = {k: np.stack([f[k] for f in calibration]) for k in calibration[0]}
    options = CompileOptions(
        quantize="int8", calibration=stacked, shapes={k: v.shape for k, v in judged[0].items()}
    )
    artefact = compile_model(str(path), options).artefact
    assert artefact is not None
    executable = Executable(artefact)
    return [list(executable.run(f).values()) for f in judged]


def measure(name: str, count: int, *, peer: bool = True) -> Row:
    """All figures of one model, half of its samples for calibration; failures are text."""
    path, row = model_path(name), Row(name)
    try:
        model = onnx.load(path)
        samples = feeds(name, model, count)
    except Exception as error:
        row.failures.append(failure("samples", error))
        return row
    half = max(1, len(samples) // 2)
    calibration, judged = samples[:half], samples[half:] or samples
    row.calibrated_on, row.judged_on = len(calibration), len(judged)
    names = [o.name for o in model.graph.output]

    def run(what: str, side: Callable[[], list[list[Array]]]) -> Quality | None:
        try:
            return quality(reference, side(), names)
        except Exception as error:
            row.failures.append(failure(what, error))
            return None

    def theirs() -> list[list[Array]]:
        with tempfile.TemporaryDirectory() as folder:
            session = _session(quantized_by_onnxruntime(model, calibration, Path(folder)))
            return [session.run(names, f) for f in judged]

    fp32 = _session(str(path))
    reference = [fp32.run(names, f) for f in judged]
    row.ours = run("ours", lambda: _ours(path, calibration, judged))
    row.onnxruntime = run("onnxruntime", theirs) if peer else None
    return row


HEADER = (
    f"{'model':<28} {'calib':>5} {'judged':>6} {'ours dB':>8} {'ort dB':>8} {'diff':>6} "
    f"{'agree':>11}"
)


def line(row: Row) -> str:
    """The row as text: worst output of each side."""

    def text(side: Quality | None, of: Callable[[Quality], float], digits: int = 1) -> str:
        return "-" if side is None else f"{of(side):.{digits}f}"

    ours, theirs = row.ours, row.onnxruntime
    difference = f"{ours.worst - theirs.worst:+.1f}" if ours and theirs else "-"
    agree = f"{text(ours, lambda q: q.agree, 2)}/{text(theirs, lambda q: q.agree, 2)}"
    return (
        f"{row.model:<28} {row.calibrated_on:>5} {row.judged_on:>6} "
        f"{text(ours, lambda q: q.worst):>8} {text(theirs, lambda q: q.worst):>8} "
        f"{difference:>6} {agree:>11}" + "".join(f"\n    {f}" for f in row.failures)
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--json")
    parser.add_argument("--ours-only", action="store_true")
    args = parser.parse_args(arguments)
    rows: list[Row] = []
    print(HEADER)
    for name in args.models.split(","):
        rows.append(measure(name, args.samples, peer=not args.ours_only))
        print(line(rows[-1]), flush=True)
    if args.json:
        report: list[Mapping[str, Any]] = [asdict(r) for r in rows]
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
