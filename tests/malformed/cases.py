"""Models that are malformed, hostile or not supported, as a table.

`CASES` holds (id, build, expected): `build(folder)` writes a model and returns its path and further
command-line arguments; the error message must contain each of `expected`.  Nothing here needs
onnx's checker to be wrong, and some of it would hang or crash it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
)

from malformed import node_cases as node_cases
from malformed.making import (
    CASES,
    FLOAT,
    Case,
    array,
    bytes_case,
    info,
    model,
    model_case,
    node,
    single,
)

# --- files ---


def _missing(folder: Path) -> tuple[Path, list[str]]:
    return folder / "nowhere.onnx", []


def _folder(folder: Path) -> tuple[Path, list[str]]:
    return folder, []


_WHOLE = model(
    [node("Gemm", ["x", "w"])], weights=[array("w", np.ones((4, 64)))]
).SerializeToString()

CASES.append(Case("missing-file", _missing, ("no file", "nowhere.onnx")))
CASES.append(Case("folder", _folder, ("folder",)))
bytes_case("empty-file", b"", "empty")
bytes_case("truncated", _WHOLE[: len(_WHOLE) // 2], "truncated or damaged")
bytes_case("text-file", b"this is not a protobuf, it is a poem\n" * 20, "not an ONNX model")
bytes_case("random-bytes", np.random.default_rng(0).bytes(4096), "model")

# --- the model as a whole ---

model_case("no-graph", lambda: ModelProto(ir_version=8), "no graph")
model_case("no-outputs", lambda: model([node("Relu", ["x"])], outputs=[]), "no outputs")
model_case("opset-99", lambda: model([node("Relu", ["x"])], opset=99), "opset 99", "hint")
model_case("opset-0", lambda: model([node("Relu", ["x"])], opset=0), "opset 0")
model_case("opset-negative", lambda: model([node("Relu", ["x"])], opset=-3), "opset -3")
model_case(
    "cyclic",
    lambda: model(
        [
            node("Add", ["x", "b"], ["a"], "first"),
            node("Relu", ["a"], ["b"], "second"),
            node("Relu", ["b"]),
        ]
    ),
    "cyclic",
    "first",
    "Add",
)
model_case(
    "duplicate-output",
    lambda: model([node("Relu", ["x"]), node("Abs", ["x"])]),
    "defined twice",
    "the_abs",
    "Abs",
)
model_case(
    "redefines-input",
    lambda: model([node("Relu", ["x"], ["x"]), node("Relu", ["x"])]),
    "'x'",
    "twice",
    "Relu",
)
model_case("undefined-tensor", single("Add", ["x", "ghost"]), "'ghost'", "the_add", "Add")
model_case("undefined-output", lambda: model([], outputs=[info("ghost")]), "'ghost'")
model_case(
    "repeated-inputs",
    lambda: model([node("Relu", ["x"])], inputs=[info("x"), info("x")]),
    "repeated",
)
model_case(
    "repeated-outputs",
    lambda: model([node("Relu", ["x"])], outputs=[info("y"), info("y")]),
    "repeated",
)

# --- tensors ---


def _short() -> ModelProto:
    return model(
        [node("Add", ["x", "w"])],
        weights=[TensorProto(name="w", data_type=FLOAT, dims=[4], raw_data=b"\0" * 8)],
    )


def _proto(**fields: Any) -> Callable[[], ModelProto]:
    return lambda: model([node("Add", ["x", "w"])], weights=[TensorProto(name="w", **fields)])


model_case("raw-data-short", _short, "8 bytes", "16", "'w'")
model_case(
    "raw-data-long", _proto(data_type=FLOAT, dims=[1], raw_data=b"\0" * 64), "64 bytes", "'w'"
)
model_case(
    "typed-data-short", _proto(data_type=FLOAT, dims=[4], float_data=[1.0]), "1 elements", "'w'"
)
model_case("negative-dims", _proto(data_type=FLOAT, dims=[-4], raw_data=b""), "negative", "'w'")
model_case("giant-dims", _proto(data_type=FLOAT, dims=[2**40]), "'w'", "1099511627776")
model_case("overflowing-dims", _proto(data_type=FLOAT, dims=[2**62, 2**62, 4]), "'w'")
model_case("no-type", _proto(dims=[1], raw_data=b"\0" * 4), "element type", "'w'")
model_case("unknown-type", _proto(data_type=77, dims=[1], raw_data=b"\0" * 4), "77", "'w'")
model_case(
    "string-weights",
    _proto(data_type=TensorProto.STRING, dims=[1], string_data=[b"a"]),
    "string",
    "Add",
)
model_case(
    "duplicate-weights",
    lambda: model([node("Add", ["x", "w"])], weights=[array("w", 1.0), array("w", 2.0)]),
    "'w'",
    "twice",
)


def external_case(
    id: str,
    location: str,
    *expected: str,
    offset: str | None = None,
    length: str | None = None,
    link: str | None = None,
) -> None:
    def build(folder: Path) -> tuple[Path, list[str]]:
        (folder / "data.bin").write_bytes(bytes(16))
        (folder / "inside").mkdir()
        (folder / "inside" / "data.bin").write_bytes(bytes(16))
        if link is not None:
            os.symlink(link, folder / "inside" / "link.bin")
        tensor = TensorProto(
            name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            if value is not None:
                tensor.external_data.add(key=key, value=value)
        path = folder / "inside" / "model.onnx"
        path.write_bytes(model([node("Add", ["x", "w"])], weights=[tensor]).SerializeToString())
        return path, []

    CASES.append(Case(id, build, (*expected, "'w'")))


external_case("external-parent", "../data.bin", "inside the model's folder")
external_case("external-absolute", "/etc/hostname", "inside the model's folder")
external_case("external-symlink", "link.bin", "out of the model's folder", link="../data.bin")
external_case("external-missing", "nowhere.bin", "does not exist")
external_case("external-nowhere", "", "inside the model's folder")
external_case("external-huge-length", "data.bin", str(2**50), length=str(2**50))
external_case("external-huge-offset", "data.bin", "beyond", offset=str(2**50))
external_case("external-negative-offset", "data.bin", "-4", offset="-4")
external_case("external-not-a-number", "data.bin", "not a number", length="all")

# --- inputs ---

model_case(
    "shape-rank",
    single("Relu"),
    "3 dimensions, the model's input has 2",
    args=["--shape", "x:1x4x4"],
)
model_case("shape-name", single("Relu"), "'z'", "hint", args=["--shape", "z:1x4"])
model_case(
    "shape-zero", single("Relu", x=info("x", ("n", 4))), "positive", args=["--shape", "x:0x4"]
)
model_case("shape-fixed", single("Relu"), "fixed to 4", args=["--shape", "x:1x5"])
model_case(
    "shape-conflict",
    lambda: model([node("Add", ["x", "z"])], inputs=[info("x", ("n",)), info("z", ("n",))]),
    "'n'",
    args=["--shape", "x:3", "--shape", "z:4"],
)
model_case("input-giant", single("Relu", x=info("x", (2**40,))), "'x'", "elements")
# --- control flow, functions, size ---


def function(name: str, nodes: Sequence[NodeProto]) -> FunctionProto:
    return helper.make_function(
        "local",
        name,
        ["a"],
        ["b"],
        nodes,
        [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
    )


def call(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> NodeProto:
    return helper.make_node(name, inputs, outputs, f"call_{name}", domain="local")


LOCAL = [helper.make_opsetid("local", 1)]


def _recursive() -> ModelProto:
    return model(
        [call("f", ["x"], ["y"])],
        functions=[
            function("f", [call("g", ["a"], ["b"])]),
            function("g", [call("f", ["a"], ["b"])]),
        ],
        imports=LOCAL,
    )


def _itself() -> ModelProto:
    return model(
        [call("f", ["x"], ["y"])],
        functions=[function("f", [call("f", ["a"], ["b"])])],
        imports=LOCAL,
    )


def _doubling() -> ModelProto:
    functions = [function("f0", [node("Relu", ["a"], ["b"])])]
    functions += [
        function(f"f{i}", [call(f"f{i - 1}", ["a"], ["m"]), call(f"f{i - 1}", ["m"], ["b"])])
        for i in range(1, 31)
    ]
    return model([call("f30", ["x"], ["y"])], functions=functions, imports=LOCAL)


def _nested() -> ModelProto:
    functions = [function("f0", [node("Relu", ["a"], ["b"])])]
    functions += [function(f"f{i}", [call(f"f{i - 1}", ["a"], ["b"])]) for i in range(1, 5000)]
    return model([call("f4999", ["x"], ["y"])], functions=functions, imports=LOCAL)


def _wrong_call() -> ModelProto:
    return model(
        [call("f", ["x", "x"], ["y"])],
        functions=[function("f", [node("Relu", ["a"], ["b"])])],
        imports=LOCAL,
    )


def _chain_to_nowhere() -> ModelProto:
    nodes = [node("Relu", [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(20_000)]
    return model([*nodes, node("Add", ["t20000", "ghost"])], inputs=[info("t0")])


def _backwards() -> ModelProto:
    nodes = [node("Relu", [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(20_000)]
    return model([*reversed(nodes), node("Add", ["t20000", "ghost"])], inputs=[info("t0")])


def _references() -> ModelProto:
    bad = node("LeakyRelu", ["a"], ["b"])
    bad.attribute.append(
        AttributeProto(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT)
    )
    outer = call("f", ["x"], ["y"])
    outer.attribute.append(helper.make_attribute("slope", "steep"))
    made = helper.make_function(
        "local", "f", ["a"], ["b"], [bad], [helper.make_opsetid("", 17)], ["slope"]
    )
    return model([outer], functions=[made], imports=LOCAL)


def _range() -> ModelProto:
    weights = [array(n, v, np.int64) for n, v in zip("sld", (0, 2 * 10**10, 1), strict=True)]
    out = model([node("Range", ["s", "l", "d"])], weights=weights)
    out.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return out


def _listed() -> ModelProto:
    nodes = [
        node("NonZero", ["x"], ["b"]),
        node("Frobnicate", ["b"], ["c"], domain="acme"),
        node("GroupNorm", ["c"], ["d"], name=""),
    ]
    out = model([*nodes, node("Concat", ["b", "d"], axis=0)])
    out.opset_import.append(helper.make_opsetid("acme", 1))
    return out


model_case("strings", single("StringNormalizer"), "StringNormalizer", "tensor(string)")
model_case("recursive-functions", _recursive, "calls itself")
model_case("self-calling-function", _itself, "calls itself", "f")
model_case("doubling-functions", _doubling, "nodes")
model_case("deeply-nested-functions", _nested, "deep")
model_case("function-arity", _wrong_call, "1 inputs", "call_f")
model_case("function-attribute", _references, "'alpha'", "LeakyRelu")
model_case("range-2e10", _range, "20000000000", "the_range", "Range")
model_case(
    "constant-of-shape-huge",
    lambda: model([node("ConstantOfShape", ["s"])], weights=[array("s", [2**40, 2**10], np.int64)]),
    "elements",
    "ConstantOfShape",
)
model_case("long-chain", _chain_to_nowhere, "'ghost'", "Add")
model_case("long-chain-backwards", _backwards, "'ghost'", "Add")
model_case(
    "all-at-once",
    _listed,
    "2 unsupported nodes",
    "acme",
    "GroupNorm_2",
    "hint",
)
