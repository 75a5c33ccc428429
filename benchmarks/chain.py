"""Compile time against model size: CPU seconds must grow as the number of nodes does.

python -m benchmarks.chain [--nodes 1000,5000,20000] [--ops Conv,Relu,Add,Sigmoid] [--json OUT.json]
python -m benchmarks.chain --target tpu-v1,gemmini-16x16      chains of convolutions in int8

Chains for the CPU repeat convolution, activations and residual addition; for an NPU they are 1k, 2k
and 4k convolutions, each a layer of the program.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tilewright.compiler.driver import compile_model
from tilewright.compiler.options import CompileOptions


def chain(nodes: int, ops: Sequence[str] = ("Conv", "Relu", "Add", "Sigmoid")) -> onnx.ModelProto:
    """A chain of `nodes` nodes that repeats `ops`; Add adds what came two nodes before.

    Weights are orthogonal, so that values neither vanish nor overflow however long the chain is.
    """
    rng = np.random.default_rng(0)
    squares = [np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(8)]
    weights = [
        numpy_helper.from_array(w.astype(np.float32)[:, :, None, None], f"w{i}")
        for i, w in enumerate(squares)
    ]
    body: list[onnx.NodeProto] = []
    values = ["x"]
    for i in range(nodes):
        op, inputs = ops[i % len(ops)], values[-1:]
        if op == "Conv":
            inputs = [values[-1], f"w{i // len(ops) % len(weights)}"]
        elif op == "Add":
            inputs = [values[-1], values[max(len(values) - 2, 0)]]
        values.append(f"t{i}")
        body.append(helper.make_node(op, inputs, values[-1:], name=f"n{i}"))
    shape = [1, 4, 8, 8]
    graph = helper.make_graph(
        body, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(values[-1], TensorProto.FLOAT, shape)],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure(nodes: int, ops: Sequence[str], target: str, verify: str) -> dict[str, Any]:
    """Compile one chain and print what it took: CPU seconds, which other work disturbs least."""
    options = CompileOptions(target=target, verify=verify)
    if target != "cpu":
        options = replace(options, quantize="int8", calibration="random")
    model = chain(nodes, ops).SerializeToString()
    started = time.process_time()
    result = compile_model(model, options)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    slowest = sorted(result.instruments.records, key=lambda r: -r.seconds)[:4]
    print(
        f"{nodes:>6} nodes for {target}: {seconds:6.2f} s, {seconds / nodes * 1e6:6.0f} us a node, "
        f"peak {peak:.0f} MiB; " + ", ".join(f"{r.name} {r.seconds:.2f} s" for r in slowest),
        {k: round(v, 2) for k, v in result.phase_seconds.items()},
        flush=True,
    )
    return {
        "target": target, "nodes": nodes, "seconds": seconds, "us_per_node": seconds / nodes * 1e6,
        "peak_mib": peak, "ops": result.phase_ops, "phases": result.phase_seconds,
    }  # fmt: skip


def growth(rows: Sequence[dict[str, Any]]) -> str:
    """How seconds grew from the first of `rows`, beside how nodes did; 1 to 1 is linear."""
    first = rows[0]
    text = f"{first['target']}: " + ", ".join(f"{r['nodes'] / first['nodes']:g}" for r in rows)
    text += " times the nodes take " + ", ".join(
        f"{r['seconds'] / first['seconds']:.2f}" for r in rows
    )
    text += " times the seconds"
    if "npu" in first["phases"]:
        shares = [r["phases"]["npu"] / sum(r["phases"].values()) for r in rows]
        each = [share * r["us_per_node"] / 1000 for share, r in zip(shares, rows, strict=True)]
        text += "; phase npu: " + ", ".join(f"{ms:.1f}" for ms in each) + " ms a node"
    return text


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; arguments as given, or those of the process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", help="default: 1000,5000,20000; for an NPU 1000,2000,4000")
    parser.add_argument("--ops", help="default: Conv,Relu,Add,Sigmoid; for an NPU Conv")
    parser.add_argument("--target", default="cpu", help="one or several")
    parser.add_argument("--verify", default="structural")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    for target in args.target.split(","):
        cpu = target == "cpu"
        nodes = args.nodes or ("1000,5000,20000" if cpu else "1000,2000,4000")
        ops = (args.ops or ("Conv,Relu,Add,Sigmoid" if cpu else "Conv")).split(",")
        mine = [measure(int(n), ops, target, args.verify) for n in nodes.split(",")]
        print(growth(mine), flush=True)
        rows += mine
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
