"""Greedy story telling with stories260k: equal tokens, and tokens per second of both ends.

python -m benchmarks.language [--tokens 60] [--targets gemmini-16x16,auto-200] [--json OUT.json]

fp32 and int8 on the CPU end and onnxruntime (one thread) are timed here; NPU figures are simulated
cycles at the target's clock, plus the CPU segments between them as measured.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

import tilewright
from tilewright.dialects.constants import Array

MODELS = Path(os.environ.get("TILEWRIGHT_MODELS", "../shared/models"))
LAYERS, WINDOW = 5, 255
Step = Callable[[dict[str, Array]], list[Array]]


def tell(step: Step, count: int) -> tuple[list[int], list[dict[str, Array]], float]:
    """`count` tokens from the start token, the inputs of each step, and the seconds it took."""
    past = {
        f"past_{kind}{layer}": np.zeros((1, 4, WINDOW, 8), np.float32)
        for layer in range(LAYERS)
        for kind in "kv"
    }
    told, fed, seconds = [1], list[dict[str, Array]](), 0.0
    for position in range(count):
        mask = np.full((1, 1, 1, WINDOW + 1), -1e9, np.float32)
        mask[..., WINDOW - position :] = 0
        feeds = {"ids": np.array([[told[-1]]]), "pos": np.array([[position]]), "mask": mask, **past}
        started = time.perf_counter()
        logits, *present = step(feeds)
        seconds += time.perf_counter() - started
        fed.append(feeds)
        told.append(int(logits[0, -1].argmax()))
        past = {name: value[:, :, 1:] for name, value in zip(past, present, strict=True)}
    return told, fed, seconds


def common(a: list[int], b: list[int]) -> int:
    """How many tokens agree before the first that does not."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--targets", default="gemmini-16x16,auto-200")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    path = MODELS / "real" / "stories260k_decode_kv.onnx"
    options = cast(Any, onnxruntime).SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(str(path), options)
    names = [o.name for o in session.get_outputs()]

    def on(run: Callable[[dict[str, Array]], Any]) -> Step:
        def step(feeds: dict[str, Array]) -> list[Array]:
            outputs = run(feeds)
            return [outputs[name] for name in names]

        return step

    def reference(feeds: dict[str, Array]) -> list[Array]:
        return list(session.run(names, feeds))

    expected, fed, seconds = tell(reference, arguments.tokens)
    rows: list[dict[str, Any]] = [
        _row("onnxruntime fp32", expected, expected, arguments.tokens / seconds)
    ]
    fp32 = tilewright.compile(path)
    fp32.run(fed[0])
    told, _, seconds = tell(on(fp32.run), arguments.tokens)
    rows.append(_row("CPU end fp32", told, expected, arguments.tokens / seconds))
    calibration = {name: np.stack([feeds[name] for feeds in fed]) for name in fed[0]}
    for target in arguments.targets.split(","):
        int8 = tilewright.compile(path, target, quantize="int8", calibration=calibration)
        int8.run(fed[0])
        told, _, seconds = tell(on(int8.run), arguments.tokens)
        rows.append(_row(f"CPU end int8 ({target})", told, expected, arguments.tokens / seconds))
        outputs, figures = int8.simulate(fed[-1])
        same = all(np.array_equal(outputs[n], value) for n, value in int8.run(fed[-1]).items())
        host = sum(step.milliseconds for step in figures.host) / 1e3
        rows.append(
            _row(f"{target} int8, simulated", told, expected, 1 / (figures.seconds + host))
            | {"cycles": figures.cycles, "cpu_seconds": host, "bit_identical": same}
        )
    for row in rows:
        print(
            f"{row['end']:<32} {row['equal']:>3} tokens as onnxruntime, "
            f"{row['tokens_per_second']:>8.0f} tokens/s"
            + (f", {row['cycles']:,} cycles a token" if "cycles" in row else "")
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _row(end: str, told: list[int], expected: list[int], rate: float) -> dict[str, Any]:
    return {"end": end, "equal": common(told, expected) - 1, "tokens_per_second": rate}


if __name__ == "__main__":
    main()
