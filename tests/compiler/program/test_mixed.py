"""Random programs that mix compiled and host operators, control flow and run-time shapes.

Values are small integers in float tensors, so that results are those of onnxruntime exactly.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tilewright

FLOAT, INT64, STRING, BOOL = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.STRING,
    TensorProto.BOOL,
)
info = helper.make_tensor_value_info


class Graph:
    """A graph under construction: `tensors` by rank, those of the graphs around it among them."""

    def __init__(self, rng: random.Random, prefix: str, outer: Graph | None = None):
        self.rng, self.prefix, self.depth = rng, prefix, 0 if outer is None else outer.depth + 1
        self.tensors: dict[int, list[str]] = {1: [], 2: []}
        if outer is not None:
            self.tensors = {rank: list(names) for rank, names in outer.tensors.items()}
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.count = 0

    def op(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; the name of its first output."""
        names = [self.fresh() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, f"n_{names[0]}", **attributes))
        return names[0]

    def fresh(self) -> str:
        self.count += 1
        return f"{self.prefix}{self.count}"

    def const(self, value: Any, dtype: Any = np.int64, name: str = "") -> str:
        name = name or self.fresh()
        self.weights[name] = np.asarray(value, dtype)
        return name

    def any(self, rank: int | None = None) -> str:
        """Some tensor (of a rank)."""
        names = [n for r in self.tensors for n in self.tensors[r] if rank in (None, r)]
        return self.rng.choice(names[-4:] if self.rng.random() < 0.7 else names)

    def rank(self, name: str) -> int:
        return next(r for r, names in self.tensors.items() if name in names)

    def flat(self) -> str:
        return self.op("Reshape", self.any(), self.const([-1]))

    def total(self) -> str:
        """The sum of some tensor, kept small: a scalar."""
        return self.small(self.op("ReduceSum", self.any(), keepdims=0))

    def small(self, name: str) -> str:
        return self.op("Clip", name, self.const(-4, np.float32), self.const(4, np.float32))

    def add(self, name: str, rank: int) -> None:
        self.tensors[rank].append(name)

    def graph(self, inputs: list[Any], outputs: list[Any]) -> onnx.GraphProto:
        weights = [numpy_helper.from_array(w, n) for n, w in self.weights.items()]
        return helper.make_graph(self.nodes, self.prefix + "g", inputs, outputs, weights)

    def inner(self, tag: str) -> Graph:
        """A body; its initialiser `k` has the same name in all of them."""
        body = Graph(self.rng, f"{self.prefix}{tag}{self.count}_", self)
        body.count = 0
        return body


def elementwise(g: Graph) -> None:
    x = g.any()
    g.add(g.op(g.rng.choice(["Relu", "Neg", "Abs", "Sign"]), x), g.rank(x))


def sums(g: Graph) -> None:
    x = g.any()
    g.add(g.small(g.op("Add", x, g.total())), g.rank(x))


def products(g: Graph) -> None:
    x = g.any(2)
    g.add(g.small(g.op("MatMul", x, g.op("Transpose", x))), 2)


def column(g: Graph) -> None:
    g.add(g.op("Unsqueeze", g.flat(), g.const([1])), 2)


def non_zero(g: Graph) -> None:
    g.add(g.small(g.op("Cast", g.op("NonZero", g.op("Relu", g.any())), to=FLOAT)), 2)


def unique(g: Graph) -> None:
    g.add(g.op("Unique", g.any(), sorted=1), 1)


def compress(g: Graph) -> None:
    x = g.flat()
    g.add(g.op("Compress", x, g.op("Greater", x, g.const(0, np.float32))), 1)


def strings(g: Graph) -> None:
    text = g.op("Cast", g.op("Cast", g.flat(), to=INT64), to=STRING)
    g.add(g.op("Cast", text, to=FLOAT), 1)


def top_k(g: Graph) -> None:
    x = g.flat()
    k = g.op("Min", "k_in", g.op("Shape", x))
    g.add(g.op("TopK", x, k, outputs=2, axis=0), 1)


def run_time_slice(g: Graph) -> None:
    g.add(g.op("Slice", g.flat(), g.const([0]), "k_in"), 1)


def run_time_reshape(g: Graph) -> None:
    g.add(g.op("Reshape", "x", "shape_in"), 2)


def shapes(g: Graph) -> None:
    shape = g.op("Shape", g.any(2))
    g.add(g.small(g.op("Cast", shape, to=FLOAT)), 1)
    g.add(g.op("ConstantOfShape", shape, value=helper.make_tensor("v", FLOAT, [1], [2.0])), 2)


def ranges(g: Graph) -> None:
    n = g.op("Squeeze", "k_in")
    steps = g.op("Range", g.const(0), n, g.const(1))
    g.add(g.small(g.op("Cast", steps, to=FLOAT)), 1)


def grow(g: Graph, steps: int) -> None:
    for _ in range(steps):
        g.rng.choice(OPERATIONS if g.depth < 2 else PLAIN)(g)


def if_(g: Graph) -> None:
    condition = g.op("Greater", g.total(), g.const(0, np.float32))
    branches: list[onnx.GraphProto] = []
    for tag in "te":
        body = g.inner(tag)
        body.const(g.rng.choice([2, 3, -1]), np.float32, "k")
        grow(body, g.rng.randint(0, 2))
        y = body.small(body.op("Mul", body.flat(), "k"))
        branches.append(body.graph([], [info(y, FLOAT, None)]))
    g.add(g.op("If", condition, then_branch=branches[0], else_branch=branches[1]), 1)


def loop(g: Graph) -> None:
    body = g.inner("l")
    i, c, v = body.fresh(), body.fresh(), body.fresh()
    body.add(v, 1)
    body.const(g.rng.choice([1, -1]), np.float32, "k")
    grow(body, g.rng.randint(0, 2))
    go_on = body.op("Identity", c)
    if g.rng.random() < 0.4:
        carried = body.op("Concat", v, body.const([1, 2], np.float32), axis=0)
    else:
        carried = body.small(body.op("Mul", body.flat(), "k"))
    row = body.total()
    proto = body.graph(
        [info(i, INT64, []), info(c, BOOL, []), info(v, FLOAT, None)],
        [info(go_on, BOOL, []), info(carried, FLOAT, None), info(row, FLOAT, [])],
    )
    trips = g.op("Squeeze", "n_in")
    first = g.op("Loop", trips, "", g.flat(), outputs=2, body=proto)
    g.add(first, 1)
    g.add(f"{g.prefix}{g.count}", 1)


def scan(g: Graph) -> None:
    body = g.inner("s")
    state, row = body.fresh(), body.fresh()
    body.add(row, 1)
    grow(body, g.rng.randint(0, 1))
    following = body.small(body.op("Add", state, body.total()))
    out = body.small(body.op("Add", row, following))
    proto = body.graph(
        [info(state, FLOAT, []), info(row, FLOAT, None)],
        [info(following, FLOAT, []), info(out, FLOAT, None)],
    )
    start = g.total()
    g.op("Scan", start, g.any(2), outputs=2, body=proto, num_scan_inputs=1)
    g.add(f"{g.prefix}{g.count}", 2)


PLAIN = [
    elementwise, elementwise, sums, sums, products, column, non_zero, unique, compress, strings,
    top_k, run_time_slice, run_time_reshape, shapes, ranges,
]  # fmt: skip
OPERATIONS = [*PLAIN, if_, if_, loop, scan]


def mixed(seed: int) -> onnx.ModelProto:
    """A random model over x [n, m], shape_in [2], k_in [1] and n_in [1]."""
    g = Graph(random.Random(seed), "t")
    g.add("x", 2)
    g.add(g.flat(), 1)
    grow(g, g.rng.randint(2, 9))
    outputs = list(dict.fromkeys([*g.tensors[1][-2:], *g.tensors[2][-2:]]))
    outputs = [n for n in outputs if n != "x"]
    proto = g.graph(
        [info("x", FLOAT, ["n", "m"]), info("shape_in", INT64, [2]), info("k_in", INT64, [1]),
         info("n_in", INT64, [1])],
        [info(n, FLOAT, None) for n in outputs],
    )  # fmt: skip
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def feeds_of(seed: int, count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    out: list[dict[str, np.ndarray]] = []
    for _ in range(count):
        n, m = (int(d) for d in rng.integers(1, 4, 2))
        out.append(
            {
                "x": rng.integers(-3, 4, (n, m)).astype(np.float32),
                "shape_in": np.array([m, n] if rng.random() < 0.5 else [n * m, 1]),
                "k_in": rng.integers(0, 5, 1),
                "n_in": rng.integers(0, 4, 1),
            }
        )
    return [*out, out[0]]


def session_of(proto: onnx.ModelProto) -> onnxruntime.InferenceSession | None:
    """An oracle; None where onnxruntime does not take the model."""
    options = cast(Any, onnxruntime).SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options)
    except Exception:
        return None


def check(executable: Any, session: Any, feeds: dict[str, np.ndarray]) -> None:
    try:
        want = session.run(None, feeds)
    except Exception:  # onnxruntime refuses the data: it says nothing about us
        return
    got = executable.run(feeds)
    for (name, value), expected in zip(got.items(), want, strict=True):
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected, err_msg=name)


@pytest.mark.timeout(300)
@settings(max_examples=30)
@given(st.integers(0, 1 << 40))
def test_one_executable_serves_all_shapes_and_contents(tmp_path_factory: Any, seed: int) -> None:
    """Also after it was saved and loaded: nothing made for other inputs is ever reused."""
    proto = mixed(seed)
    session = session_of(proto)
    if session is None:
        return
    executable = tilewright.compile(proto)
    feeds = feeds_of(seed, 5)
    for values in feeds:
        check(executable, session, values)
    path: Path = tmp_path_factory.getbasetemp() / "mixed.tw"
    executable.save(path)
    loaded = tilewright.load(path)
    for values in [*feeds_of(seed + 1, 2), *feeds]:
        check(loaded, session, values)
