"""Splitting nodes: whatever runs on the host, the parts in order compute the same tensors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from onnx import NodeProto, helper

from tilewright.compiler.program.split import split


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[NodeProto], set[int], list[str]]:
    """A random DAG of nodes, which run on the host, and the outputs."""
    count = draw(st.integers(1, 12))
    names = ["x", "y"]
    nodes: list[NodeProto] = []
    for index in range(count):
        reads = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        outputs = [f"t{index}_{k}" for k in range(draw(st.integers(1, 2)))]
        nodes.append(helper.make_node("Op", reads, outputs, name=f"n{index}"))
        names += outputs
    hosts = draw(st.sets(st.integers(0, count - 1)))
    outputs = draw(st.lists(st.sampled_from(names[2:]), min_size=1, max_size=4, unique=True))
    return nodes, hosts, outputs


@given(graphs())
def test_parts_in_order_find_all_they_read_and_leave_all_that_is_wanted(
    graph: tuple[list[NodeProto], set[int], list[str]],
) -> None:
    nodes, hosts, outputs = graph
    there = {"x", "y"}
    seen: list[str] = []
    for part in split(nodes, hosts, outputs, ["x", "y"]):
        assert set(part.reads) <= there, "a part reads what no earlier part has made"
        inside = set(part.reads)
        for node in part.nodes:
            assert set(node.input) <= inside
            inside.update(node.output)
        assert set(part.outputs) <= inside
        assert len(part.nodes) == 1 or not part.on_host
        there.update(part.outputs)
        seen += [node.name for node in part.nodes]
    assert set(outputs) <= there
    assert len(seen) == len(set(seen))
    on_host = {
        node.name for part in split(nodes, hosts, outputs, ["x", "y"]) if part.on_host
        for node in part.nodes
    }  # fmt: skip
    assert on_host == {nodes[i].name for i in hosts}


def test_compiled_nodes_around_a_host_node_are_two_regions() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("NonZero", ["a"], ["b"]),
        helper.make_node("Neg", ["x"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["d"]),
    ]
    parts = split(nodes, {1}, ["d"], ["x"])
    assert [[n.op_type for n in p.nodes] for p in parts] == [["Relu", "Neg"], ["NonZero"], ["Add"]]
    assert parts[0].outputs == ("a", "c")
    assert parts[2].reads == ("b", "c")


def test_names_of_bodies_are_not_read_from_outside() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["inner", "x"], ["sum"])],
        "body",
        [helper.make_tensor_value_info("inner", 1, [1])],
        [helper.make_tensor_value_info("sum", 1, [1])],
    )
    loop = helper.make_node("Scan", ["seq"], ["out"], body=body, num_scan_inputs=1)
    (part,) = split([loop], {0}, ["out"], ["seq", "x"])
    assert set(part.reads) == {"seq", "x"}
