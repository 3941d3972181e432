from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from hwnas.onnx_ops.order import captured_names, sort_nodes


def graph(*nodes: NodeProto) -> GraphProto:
    value = helper.make_tensor_value_info
    return helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])])


def relu(source: str, target: str) -> NodeProto:
    return helper.make_node("Relu", [source], [target], name=target)


def names(of: GraphProto) -> list[str]:
    return [node.name for node in of.node]


def test_a_sorted_graph_stays_as_it_is() -> None:
    given = graph(relu("x", "b"), relu("x", "a"), relu("b", "y"))
    sort_nodes(given)
    assert names(given) == ["b", "a", "y"]


def test_every_order_of_a_chain_becomes_the_chain() -> None:
    chain = [relu(f"t{i}" if i else "x", f"t{i + 1}") for i in range(6)]
    for seed in range(20):
        given = graph(*[chain[i] for i in np.random.default_rng(seed).permutation(6)])
        sort_nodes(given)
        assert names(given) == [f"t{i + 1}" for i in range(6)]


def test_a_circle_is_left_for_the_walk_to_find() -> None:
    given = graph(relu("b", "a"), relu("a", "b"), relu("x", "y"))
    sort_nodes(given)
    assert names(given) == ["y", "a", "b"]


def branches() -> NodeProto:
    inner = helper.make_graph([helper.make_node("Add", ["outside", "own"], ["sum"])], "then", [], [])
    inner.initializer.append(helper.make_tensor("own", TensorProto.FLOAT, [1], [1.0]))
    inner.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1]))
    other = helper.make_graph([], "else", [], [helper.make_tensor_value_info("passed", TensorProto.FLOAT, [1])])
    return helper.make_node("If", ["x"], ["y"], name="if", then_branch=inner, else_branch=other)


def test_what_a_branch_reads_from_outside() -> None:
    assert sorted(captured_names(branches())) == ["outside", "passed"]


def test_a_branch_waits_for_what_it_reads() -> None:
    given = graph(branches(), relu("x", "passed"), relu("x", "outside"))
    sort_nodes(given)
    assert names(given) == ["passed", "outside", "if"]
