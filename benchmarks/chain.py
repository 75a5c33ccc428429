"""Compile time against model size: a synthetic chain of 1k, 5k and 20k nodes must be linear.

python -m benchmarks.chain [--nodes 1000,5000,20000] [--target T] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tilewright.compiler.driver import compile_model
from tilewright.compiler.options import CompileOptions


def chain(nodes: int) -> onnx.ModelProto:
    """A chain of convolutions, activations and residual additions with `nodes` nodes."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array((rng.standard_normal((4, 4, 1, 1)) / 2).astype(np.float32), f"w{i}")
        for i in range(8)
    ]
    body: list[onnx.NodeProto] = []
    value = "x"
    for i in range(nodes):
        out = f"t{i}"
        match i % 4:
            case 0:
                body.append(
                    helper.make_node("Conv", [value, f"w{i // 4 % 8}"], [out], name=f"n{i}")
                )
            case 1:
                body.append(helper.make_node("Relu", [value], [out], name=f"n{i}"))
            case 2:
                body.append(helper.make_node("Add", [value, f"t{i - 2}"], [out], name=f"n{i}"))
            case _:
                body.append(helper.make_node("Sigmoid", [value], [out], name=f"n{i}"))
        value = out
    shape = [1, 4, 8, 8]
    graph = helper.make_graph(
        body, "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)],
        weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", default="1000,5000,20000")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--verify", default="structural")
    parser.add_argument("--json")
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    options = CompileOptions(target=args.target, verify=args.verify)
    if args.target != "cpu":
        options = replace(options, quantize="int8", calibration="random")
    for nodes in map(int, args.nodes.split(",")):
        model = chain(nodes).SerializeToString()
        started = time.perf_counter()
        result = compile_model(model, options)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        slowest = sorted(result.instruments.records, key=lambda r: -r.seconds)[:4]
        rows.append(
            {
                "nodes": nodes, "seconds": seconds, "us_per_node": seconds / nodes * 1e6,
                "peak_mib": peak, "ops": result.phase_ops, "phases": result.phase_seconds,
            }
        )  # fmt: skip
        print(
            f"{nodes:>6} nodes: {seconds:6.2f} s, {seconds / nodes * 1e6:6.0f} us a node, "
            f"peak {peak:.0f} MiB; " + ", ".join(f"{r.name} {r.seconds:.2f} s" for r in slowest),
            {k: round(v, 2) for k, v in result.phase_seconds.items()},
            flush=True,
        )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
