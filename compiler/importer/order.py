"""The nodes that outputs depend on, in an order in which every tensor is defined before its use."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence

from onnx import AttributeProto, NodeProto

from ...dialects.errors import ModelError


def used_by(node: NodeProto) -> Iterator[str]:
    """Names that `node` reads, those captured by its subgraphs included."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield from filter(None, node.input)
        for attr in node.attribute:
            graphs = [attr.g] if attr.type == AttributeProto.GRAPH else attr.graphs
            for graph in graphs:
                stack.extend(graph.node)
                yield from (output.name for output in graph.output)


def in_order(
    nodes: Sequence[NodeProto], outputs: Iterable[str], given: Container[str]
) -> list[tuple[int, NodeProto]]:
    """(index, node) of the live nodes of `nodes`, in their own order if that is a sound one.

    `given` holds the names defined before.  ModelError if a tensor is defined twice or depends on
    itself.  Linear, and without recursion.
    """
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for output in filter(None, node.output):
            if output in producer or output in given:
                raise ModelError(
                    f"tensor {output!r} is defined twice",
                    node=node.name or f"{node.op_type}_{index}",
                    op=node.op_type,
                )
            producer[output] = index
    needs: dict[int, set[int]] = {}
    stack = [producer[name] for name in outputs if name in producer]
    while stack:
        index = stack.pop()
        if index not in needs:
            needs[index] = {producer[name] for name in used_by(nodes[index]) if name in producer}
            stack.extend(needs[index])
    live = sorted(needs)
    if all(max(needs[index], default=-1) < index for index in live):
        return [(index, nodes[index]) for index in live]
    return [(index, nodes[index]) for index in _sorted(nodes, live, needs)]


def _sorted(
    nodes: Sequence[NodeProto], live: Sequence[int], needs: dict[int, set[int]]
) -> list[int]:
    users: dict[int, list[int]] = {index: [] for index in live}
    missing = {index: len(needs[index]) for index in live}
    for index in live:
        for need in needs[index]:
            users[need].append(index)
    ready = deque(index for index in live if not missing[index])
    order: list[int] = []
    while ready:
        index = ready.popleft()
        order.append(index)
        for user in users[index]:
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    if len(order) < len(live):
        index = next(index for index in live if missing[index])
        node = nodes[index]
        raise ModelError(
            "the graph is cyclic: the node depends on its own output",
            node=node.name or f"{node.op_type}_{index}",
            op=node.op_type,
        )
    return order
