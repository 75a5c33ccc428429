"""`evaluate`: one ONNX node on the host; `refusal`: whether the host can run it at all.

A node is computed by the model's function of that name, else by a plugin, else by an implementation
of this folder (`registry.OPERATORS`), else by ONNX's reference operators, else by the body that
ONNX defines.
Whatever goes wrong with the data becomes an `InputError` that names the node.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto

from ...dialects.errors import InputError, ModelError, TilewrightError
from ...dialects.plugins import find_operator, unknown_operator
from . import reference
from .bodies import run_function, standard_body
from .plugins import run_plugin
from .registry import (
    FAMILIES,
    OPERATORS,
    Call,
    Functions,
    HostError,
    RunGraph,
    Value,
    plain_domain,
    schema_of,
)

for _family in FAMILIES:
    importlib.import_module(f"{__package__}.{_family}")

_NO_FUNCTIONS: dict[tuple[str, str], FunctionProto] = {}

_REFUSED = {
    ("ai.onnx.preview.training", "Gradient"): (
        "gradients of subgraphs are not computed",
        "export the training graph with its gradients written out",
    ),
}


def refusal(domain: str, op_type: str, opset: int) -> tuple[str, str] | None:
    """None if the host can run the operator, else the reason why not, and a hint."""
    domain = plain_domain(domain)
    if op_type == "ImageDecoder" and importlib.util.find_spec("PIL") is None:
        return "images are decoded by Pillow, which is not installed", "pip install pillow"
    if find_operator(domain, op_type) is not None:
        return None
    if (domain, op_type) in _REFUSED:
        return _REFUSED[domain, op_type]
    schema = schema_of(domain, op_type, opset)
    if schema is not None and schema.deprecated and (domain, op_type) not in OPERATORS:
        return f"{op_type} does not exist in opset {opset}", "convert the model to another opset"
    if (domain, op_type) in OPERATORS:
        return None
    if reference.implementation(domain, op_type, opset) is not None:
        return None
    if schema is None and domain and not domain.startswith("ai.onnx"):
        return unknown_operator(domain, op_type)
    if schema is None:
        name = f"{domain}.{op_type}" if domain else op_type
        return f"{name} is not an operator of opset {opset}", "check the model's opset imports"
    if schema.has_function or schema.has_context_dependent_function:
        return None
    return f"{op_type} has no implementation", "replace it by other operators"


def evaluate(
    node: NodeProto,
    inputs: Sequence[Value],
    opsets: Mapping[str, int],
    run_graph: RunGraph,
    *,
    functions: Functions = _NO_FUNCTIONS,
    depth: int = 0,
) -> list[Value]:
    """The outputs of `node`, one for each of its output names.

    `inputs` holds None for omitted inputs, `opsets` the version of each imported domain,
    `functions` the model's functions by domain and name; `depth` counts nested function calls.
    Raises `InputError` if the data cannot be computed with, `ModelError` if the node is at fault.
    """
    domain = plain_domain(node.domain)
    opset = opsets.get(domain, opsets.get("ai.onnx", 1) if not domain else 1)
    call = Call(node, domain, node.op_type, opset, inputs, opsets, run_graph, functions)
    try:
        with np.errstate(all="ignore"):
            outputs = _dispatch(call, depth)
    except TilewrightError:
        raise
    except HostError as error:
        raise InputError(
            str(error), node=node.name or _label(node), op=node.op_type, hint=error.hint
        ) from error
    except (MemoryError, RecursionError) as error:
        what = "memory" if isinstance(error, MemoryError) else "stack"
        raise InputError(
            f"the data asks for more {what} than there is",
            node=node.name or _label(node),
            op=node.op_type,
        ) from error
    except Exception as error:  # whatever numpy or a reference operator says about the data
        shapes = ", ".join(_describe(value) for value in inputs)
        raise InputError(
            f"cannot be computed on inputs {shapes}: {error}",
            node=node.name or _label(node),
            op=node.op_type,
        ) from error
    return [_plain(value) for value in outputs[: len(node.output)]]


def _plain(value: Value) -> Value:
    """A value in its one form: scalars as arrays, strings as objects."""
    if isinstance(value, list):
        return [_plain(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    if value is None or isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    array: np.ndarray[Any, Any] = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "US" else array


def _dispatch(call: Call, depth: int) -> list[Value]:
    key = (call.domain, call.op)
    if function := call.functions.get(key):
        return run_function(call, function, evaluate, depth)
    if plugin := find_operator(*key):
        return run_plugin(call, plugin)
    if implementation := OPERATORS.get(key):
        return implementation(call)
    if refusal(*key, call.opset) is None:
        if reference.implementation(call.domain, call.op, call.opset) is not None:
            return reference.run(call)
        if body := standard_body(call):
            return run_function(call, body, evaluate, depth)
    reason, hint = refusal(call.domain, call.op, call.opset) or ("it has no implementation", "")
    raise ModelError(
        reason, node=call.node.name or _label(call.node), op=call.op, hint=hint or None
    )


def _label(node: NodeProto) -> str:
    """What a node without a name is called by: its first output."""
    return next((name for name in node.output if name), "")


def _describe(value: Value) -> str:
    array: Any = value
    if isinstance(value, np.ndarray):
        return f"{array.dtype}{list(array.shape)}"
    return "none" if value is None else type(value).__name__
