"""Where int8 compilations run: the share of multiply-accumulates on the NPU, by model and target.

    python -m benchmarks.placement [--models M1,M2] [--targets T1,T2] [--json OUT.json]

Models of `real/` and `arch/` are compiled with `quantize="int8"` as far as the loop level, where
every nest has its device.  Counted are nests that sum products of two tensors (convolutions and
matrix products); `cpu` names the nodes of those that stayed on the CPU, with the reason and their
multiply-accumulates.  Calibration is an example of the model's inputs where there is one, else
seeded noise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import SSAValue

from tilewright.compiler.driver import compile_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.tensors import read_npz
from tilewright.dialects.locations import onnx_nodes
from tilewright.dialects.loop import ApplyOp, NestOp, ScalarYieldOp
from tilewright.passes.base import main_function
from tilewright.passes.loop.segments import segments

from .models import MODELS, failure, model_path

TARGETS = ("gemmini-16x16", "ethos-u65-512")
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "silero_vad": {"input": (1, 512), "state": (2, 1, 128)},
    "yunet_n_dynamic": {"input": (1, 3, 192, 256)},
}
"""Extents that models leave open and no example input gives."""


@dataclass
class Placement:
    """One model on one target; `cpu` holds (node, reason, multiply-accumulates), most first."""

    macs: int = 0
    npu_macs: int = 0
    npu_segments: int = 0
    cpu_segments: int = 0
    compile_seconds: float = 0.0
    cpu: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    other_cpu_nodes: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def share(self) -> float:
        """Of multiply-accumulates on the NPU; 1 where there are none."""
        return self.npu_macs / self.macs if self.macs else 1.0


@dataclass
class Row:
    """One model by target; failures are text."""

    model: str
    targets: dict[str, Placement] = field(default_factory=dict[str, Placement])
    failures: list[str] = field(default_factory=list[str])


def model_names() -> list[str]:
    """All models, smaller files first."""
    files = [*MODELS.glob("real/*.onnx"), *MODELS.glob("arch/*.onnx")]
    return [f.stem for f in sorted(files, key=lambda f: (f.stat().st_size, f.stem))]


def calibration(name: str) -> dict[str, Any] | str:
    """An example of the model's inputs, or "random"."""
    found = sorted((MODELS / "inputs").glob(f"{name}.*.npz"))
    found += sorted((MODELS / "arch").glob(f"{name}.npz"))
    if not found:
        return "random"
    return {k: v for k, v in read_npz(found[0]).items() if not k.startswith("out:")}


def products(nest: NestOp) -> int:
    """Multiply-accumulates of a nest that sums products of two tensors; else 0."""
    last = nest.body.block.last_op
    if nest.reduce.data != "add" or not isinstance(last, ScalarYieldOp):
        return 0
    owner = last.args[0].owner
    if not isinstance(owner, ApplyOp) or owner.fn.data != "mul":
        return 0
    sources = [_argument(arg, nest) for arg in owner.args]
    if None in sources or sources[0] == sources[1]:
        return 0
    return prod(nest.sizes)


def _argument(value: SSAValue, nest: NestOp) -> int | None:
    """The position of the operand that `value` is, perhaps widened."""
    while isinstance(owner := value.owner, ApplyOp) and len(owner.args) == 1:
        value = owner.args[0]
    return next((i for i, a in enumerate(nest.body.block.args) if a is value), None)


def placement(module: ModuleOp, reasons: dict[str, str]) -> Placement:
    """Figures of a module at the loop level; `reasons` by node are those of the compilation."""
    func, out = main_function(module), Placement()
    kinds = Counter(segment.kind for segment in segments(func))
    out.npu_segments, out.cpu_segments = kinds["npu"], kinds["cpu"]
    named: set[str] = set()
    for op in func.body.block.ops:
        if not isinstance(op, NestOp) or not (macs := products(op)):
            continue
        out.macs += macs
        if isinstance(op.device, StringAttr) and op.device.data == "npu":
            out.npu_macs += macs
            continue
        nodes = onnx_nodes(op)
        named.update(nodes)
        why = next((reasons[n] for n in nodes if n in reasons), "no reason was noted")
        out.cpu.append((nodes[0] if nodes else "?", why, macs))
    out.cpu.sort(key=lambda entry: -entry[2])
    others = Counter(why for node, why in reasons.items() if node not in named)
    out.other_cpu_nodes = dict(others.most_common())
    return out


PINNED = {"silero_vad": {"sr": 16000}}
"""Inputs that decide about shapes, which make one module of a model if they are constants."""


def _pinned(name: str, path: Path) -> Any:
    """The model, with inputs replaced by constants where it needs that."""
    if name not in PINNED:
        return str(path)
    model = onnx.load(path)
    for index in reversed(range(len(model.graph.input))):
        if (value := PINNED[name].get(model.graph.input[index].name)) is not None:
            array = np.array(value, np.int64)
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(array, model.graph.input[index].name)
            )
            del model.graph.input[index]
    return model


def measure(name: str, targets: Sequence[str]) -> Row:
    """Placement of one model on every target."""
    row, path = Row(name), model_path(name)
    for target in targets:
        try:
            started = time.perf_counter()
            options = CompileOptions(
                target=target, quantize="int8", calibration=calibration(name),
                shapes=SHAPES.get(name, {}), compile_to="loop",
            )  # fmt: skip
            result = compile_model(_pinned(name, path), options)
            figures = placement(result.module, result.ctx.placement)
            figures.compile_seconds = round(time.perf_counter() - started, 2)
            row.targets[target] = figures
        except Exception as error:
            row.failures.append(failure(target, error))
    return row


def lines(row: Row, verbose: bool) -> Iterator[str]:
    """The row as text."""
    for target, p in row.targets.items():
        yield (
            f"{row.model:<28} {target:<15} {p.macs / 1e6:>10.2f} {p.npu_macs / 1e6:>10.2f} "
            f"{p.share:>8.2%} {p.npu_segments:>4} {p.cpu_segments:>4} {p.compile_seconds:>7.1f}"
        )
        causes: Counter[str] = Counter()
        for _, why, macs in p.cpu:
            causes[why] += macs
        if verbose:
            for why, macs in causes.most_common():
                nodes = [n for n, w, _ in p.cpu if w == why]
                yield f"    {macs / p.macs:7.2%} {why}: {len(nodes)} nodes, {nodes[0]}"
            for why, count in p.other_cpu_nodes.items():
                yield f"            {why}: {count} nodes"
    for text in row.failures:
        yield f"{row.model:<28} FAILED {text}"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--json")
    parser.add_argument("-v", "--verbose", action="store_true", help="CPU nodes by cause")
    args = parser.parse_args(arguments)
    print(
        f"{'model':<28} {'target':<15} {'MMAC':>10} {'on NPU':>10} {'share':>8} "
        f"{'npu':>4} {'cpu':>4} {'seconds':>7}   (segments)"
    )
    rows: list[Row] = []
    for name in args.models.split(",") if args.models else model_names():
        rows.append(measure(name, args.targets.split(",")))
        for line in lines(rows[-1], args.verbose):
            print(line, flush=True)
        if args.json:
            report = [
                asdict(r) | {"shares": {t: p.share for t, p in r.targets.items()}} for r in rows
            ]
            Path(args.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
