"""The CPU end beside onnxruntime: same machine, same process, interleaved runs, one thread each.

    python benchmarks/cpu/run.py MODEL.onnx ... [--repeats 30] [--json results.json]

Prints a row a model: compile time (without the object cache), milliseconds of both, their ratio
(above 1 is faster than onnxruntime) and the largest difference between the outputs relative to the
largest output.  Inputs are standard normal (integers: 0 or 1), from a fixed seed.  Medians of
interleaved runs: both see the same disturbances.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

import tilewright

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


def peer(model: Path) -> Any:
    """Onnxruntime on one thread with all its optimisations."""
    import onnxruntime

    options = cast(Any, onnxruntime.SessionOptions())
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def random_inputs(session: Any) -> dict[str, np.ndarray]:
    """Inputs of the declared types; unknown dimensions are 1."""
    rng = np.random.default_rng(0)
    out: dict[str, np.ndarray] = {}
    for info in session.get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in info.shape]
        dtype = np.dtype(DTYPES[info.type])
        values = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        out[info.name] = values.astype(dtype)
    return out


def measure(model: Path, repeats: int) -> dict[str, Any]:
    """One row of results."""
    session = peer(model)
    inputs = random_inputs(session)
    started = time.perf_counter()
    executable = tilewright.compile(
        str(model), shapes={n: list(v.shape) for n, v in inputs.items()}
    )
    ours = executable.run(inputs)
    compile_seconds = time.perf_counter() - started
    theirs = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True)
    )
    error = max(
        float(
            np.abs(ours[n].astype(np.float64) - t).max(initial=0)
            / max(np.abs(t).max(initial=0), 1e-30)
        )
        for n, t in theirs.items()
    )
    times: dict[str, list[float]] = {"tilewright": [], "onnxruntime": []}
    executable.benchmark(inputs, repeats=2)
    for _ in range(repeats):
        times["tilewright"] += executable.benchmark(inputs, repeats=1)
        started = time.perf_counter()
        session.run(None, inputs)
        times["onnxruntime"].append(time.perf_counter() - started)
    ms = {name: statistics.median(t) * 1e3 for name, t in times.items()}
    return {
        "model": model.name,
        "compile_s": round(compile_seconds, 2),
        **{f"{n}_ms": round(t, 3) for n, t in ms.items()},
        "ratio": round(ms["onnxruntime"] / ms["tilewright"], 2),
        "relative_error": error,
    }


def main() -> None:
    """Measure the models named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TILEWRIGHT_CACHE"] = empty
        for model in args.models:
            row = measure(model, args.repeats)
            rows.append(row)
            print(
                f"{row['model']:<34} compile {row['compile_s']:6.2f} s   "
                f"tilewright {row['tilewright_ms']:8.2f} ms   "
                f"onnxruntime {row['onnxruntime_ms']:8.2f} ms   "
                f"ratio {row['ratio']:5.2f}   error {row['relative_error']:.1e}",
                flush=True,
            )
    if len(rows) > 1:
        print(f"geometric mean of ratios {statistics.geometric_mean(r['ratio'] for r in rows):.2f}")
    if args.json:
        import onnxruntime

        header = {
            "machine": platform.processor() or platform.machine(),
            "onnxruntime": onnxruntime.__version__,
            "tilewright": tilewright.__version__,
            "threads": 1,
        }
        args.json.write_text(json.dumps({**header, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
