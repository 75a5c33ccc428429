"""Which nodes the host can run, and computing those whose inputs are known at once."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto

from ...backends.host import evaluate, refusal
from ...dialects.errors import InputError, ModelError, Unsupported
from ..importer.node import RULES
from ..importer.order import used_by


def rule_key(node: NodeProto) -> str:
    """What import rules call the operator of `node`."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def host_refusal(node: NodeProto, opsets: Mapping[str, int]) -> Unsupported | None:
    """Why the host cannot run `node`, its bodies included; None if it can."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    opset = opsets.get(domain, 1)
    if (reason := refusal(domain, node.op_type, opset)) is not None:
        return Unsupported(node.name, node.op_type, opset, *reason)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
        for inner in (n for graph in graphs for n in graph.node):
            if rule_key(inner) not in RULES and (found := host_refusal(inner, opsets)) is not None:
                return found
    return None


def missing_operators(nodes: Sequence[NodeProto], opsets: Mapping[str, int]) -> list[Unsupported]:
    """The nodes for which there is neither an import rule nor an operator on the host."""
    refusals = (host_refusal(node, opsets) for node in nodes if rule_key(node) not in RULES)
    return [found for found in refusals if found is not None]


RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators whose result is another one each time."""


def foldable(node: NodeProto, constants: Mapping[str, Any]) -> bool:
    """Whether `node` has no subgraphs and all it reads is known."""
    return (
        node.op_type not in RANDOM
        and not any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)
        and all(name in constants for name in used_by(node))
    )


def fold_node(
    node: NodeProto, constants: MutableMapping[str, Any], opsets: Mapping[str, int]
) -> None:
    """Compute `node` and add its outputs to `constants`."""

    def no_bodies(graph: GraphProto, bindings: Mapping[str, Any]) -> list[Any]:
        raise AssertionError(f"node {node.name!r} has no body")

    inputs = [constants[n] if n else None for n in node.input]
    try:
        values = evaluate(node, inputs, opsets, no_bodies)
    except InputError as error:  # of the model's own tensors
        raise ModelError(error.message, node=error.node, op=error.op, hint=error.hint) from None
    constants.update((n, v) for n, v in zip(node.output, values, strict=False) if n)
