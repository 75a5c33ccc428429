"""Decision-tree ensembles of `ai.onnx.ml`: all rows descend all trees at once, level by level.

A classifier of two classes whose weights are all for class 0 has one score, which onnxruntime
takes as the second class's: a probability if no weight is negative, otherwise its sign decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]

_MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")


@dataclass
class Forest:
    """Nodes as arrays; negative children `-1 - i` are leaves `i`."""

    feature: Array
    value: Array
    mode: Array  # positions in _MODES
    true: Array
    false: Array
    missing: Array
    roots: Array
    members: dict[int, Array]

    def leaves(self, x: Array) -> Array:
        """The leaf `[row, tree]` that every row ends in."""
        at = np.broadcast_to(self.roots, (len(x), len(self.roots))).copy()
        rows = np.broadcast_to(np.arange(len(x), dtype=np.int64)[:, None], at.shape)
        if len(self.feature) and int(self.feature.max()) >= x.shape[1]:
            raise HostError(f"a tree asks for feature {self.feature.max()} of {x.shape[1]}")
        for _ in range(len(self.feature) + 1):
            inner = at >= 0
            if not inner.any():
                return -1 - at
            node = at[inner]
            at[inner] = np.where(
                self._holds(x[rows[inner], self.feature[node]], node),
                self.true[node],
                self.false[node],
            )
        raise HostError("a tree has no end")

    def _holds(self, x: Array, node: Array) -> Array:
        limit, mode = self.value[node], self.mode[node]
        out = np.zeros(len(x), bool)
        comparisons = (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal)
        for i, comparison in enumerate(comparisons):
            out |= (mode == i) & comparison(x, limit)
        for i, values in self.members.items():
            out |= (node == i) & np.isin(x, values)
        return out | (np.isnan(x) & self.missing[node])


def _post(scores: Array, transform: str) -> Array:
    """`post_transform` of scores."""
    if transform == "LOGISTIC":
        return 1 / (1 + np.exp(-scores))
    if transform in ("SOFTMAX", "SOFTMAX_ZERO"):
        top = scores.max(-1, keepdims=True)
        e: Array = np.asarray(np.exp(scores - top))
        if transform == "SOFTMAX_ZERO":
            e = np.where(np.abs(scores) <= 1e-7, scores * np.exp(-top), e)
        total = e.sum(-1, keepdims=True)
        return np.where(total == 0, 0.5, e / np.where(total == 0, 1, total))
    if transform == "PROBIT":
        return 1.41421356 * _erf_inverse(2 * scores - 1)
    return scores


def _erf_inverse(x: Array) -> Array:
    """Winitzki's approximation, which onnxruntime uses."""
    log = np.log((1 - x) * (1 + x))
    v = 2 / (np.pi * 0.147) + 0.5 * log
    return np.sign(x) * np.sqrt(np.sqrt(v * v - log / 0.147) - v)


def _aggregate(
    leaves: Array, order: Array, target: Array, weight: Array, shape: tuple[int, int], how: str
) -> tuple[Array, Array]:
    """Weights of the leaves reached, combined per row and target, and which targets got any.

    `order` is the leaf of each entry of `target` and `weight`; a leaf may have several.
    """
    count = int(max(leaves.max(initial=0), order.max(initial=0))) + 1
    by_leaf = np.argsort(order, kind="stable")
    starts = np.searchsorted(order[by_leaf], np.arange(count + 1, dtype=np.int64))
    out = np.zeros(shape, np.float64)
    if how in ("MIN", "MAX"):
        out[:] = np.inf if how == "MIN" else -np.inf
    combine = {"MIN": np.minimum, "MAX": np.maximum}.get(how, np.add)
    hit = np.zeros(shape, bool)
    sizes = starts[leaves + 1] - starts[leaves]
    rows = np.broadcast_to(np.arange(shape[0], dtype=np.int64)[:, None], leaves.shape)
    for i in range(int(sizes.max(initial=0))):
        some = sizes > i
        entry = by_leaf[starts[leaves[some]] + i]
        combine.at(out, (rows[some], target[entry]), weight[entry])
        hit[rows[some], target[entry]] = True
    out = np.where(hit, out, 0)
    return out / (leaves.shape[1] if how == "AVERAGE" else 1), hit


def _named(call: Call, name: str) -> Array:
    """A list of reals, which double-precision models give as a tensor."""
    tensor = call.attr(f"{name}_as_tensor")
    values = call.attr(name) if tensor is None else tensor
    return np.asarray([] if values is None else values, np.float64).reshape(-1)


def _named_forest(call: Call) -> tuple[Forest, dict[tuple[int, int], int]]:
    """The forest of opsets before 5, and its leaves by tree and node number."""
    trees: list[int] = call.required("nodes_treeids")
    numbers: list[int] = call.required("nodes_nodeids")
    index = {key: i for i, key in enumerate(zip(trees, numbers, strict=True))}
    modes = [mode.removeprefix("BRANCH_") for mode in call.required("nodes_modes")]
    if unknown := set(modes) - {*_MODES[:6], "LEAF"}:
        raise HostError(f"there is no node mode {sorted(unknown)[0]!r}")
    leaf = [mode == "LEAF" for mode in modes]
    ends = {False: call.required("nodes_falsenodeids"), True: call.required("nodes_truenodeids")}

    def children(side: bool) -> Array:
        found: list[int] = []
        for i, tree in enumerate(trees):
            child = 0 if leaf[i] else index.get((tree, ends[side][i]), -1)
            if child < 0:
                raise HostError(f"tree {tree} has no node {ends[side][i]}")
            found.append(-1 - child if leaf[child] else child)
        return np.array(found, np.int64)

    first: dict[int, int] = {}
    for i, tree in enumerate(trees):
        first.setdefault(tree, i)
    roots = [-1 - i if leaf[i] else i for i in first.values()]
    missing = call.attr("nodes_missing_value_tracks_true") or [0] * len(trees)
    forest = Forest(
        np.where(leaf, 0, call.required("nodes_featureids")),
        _named(call, "nodes_values"),
        np.array([_MODES.index(mode) if mode != "LEAF" else 0 for mode in modes]),
        children(True),
        children(False),
        np.array(missing, bool),
        np.array(roots, np.int64),
        {},
    )
    return forest, index


def _matrix(call: Call) -> Array:
    x = call.tensor(0)
    return (x if x.dtype == np.float64 else x.astype(np.float32)).reshape(-1, x.shape[-1])


def _entries(call: Call, prefix: str, index: dict[tuple[int, int], int]) -> Array:
    pairs = zip(call.required(f"{prefix}_treeids"), call.required(f"{prefix}_nodeids"), strict=True)
    return np.array([index[pair] for pair in pairs], np.int64)


def _rounded(forest: Forest, x: Array) -> Forest:
    """Single-precision rows are compared with single-precision limits."""
    forest.value = forest.value.astype(x.dtype)
    return forest


@operator("TreeEnsembleRegressor", domain="ai.onnx.ml")
def tree_ensemble_regressor(call: Call) -> list[Value]:
    """Leaf weights combined over the trees, per target."""
    x = _matrix(call)
    forest, index = _named_forest(call)
    targets, how = int(call.attr("n_targets", 1)), call.attr("aggregate_function", "SUM")
    out, _ = _aggregate(
        _rounded(forest, x).leaves(x),
        _entries(call, "target", index),
        np.array(call.required("target_ids"), np.int64),
        _named(call, "target_weights"),
        (len(x), targets),
        how,
    )
    base = _named(call, "base_values")
    out = out + base if base.size else out
    return [_post(out, call.attr("post_transform", "NONE")).astype(x.dtype)]


@operator("TreeEnsembleClassifier", domain="ai.onnx.ml")
def tree_ensemble_classifier(call: Call) -> list[Value]:
    """The label of the greatest score, and the scores of all classes."""
    x = _matrix(call)
    forest, index = _named_forest(call)
    strings = call.attr("classlabels_strings")
    labels = np.array(strings, object) if strings else np.array(call.attr("classlabels_int64s"))
    classes, weights = np.array(call.required("class_ids")), _named(call, "class_weights")
    base, transform = _named(call, "base_values"), call.attr("post_transform", "NONE")
    out, hit = _aggregate(
        _rounded(forest, x).leaves(x),
        _entries(call, "class", index),
        classes.astype(np.int64),
        weights,
        (len(x), max(len(labels), int(classes.max(initial=0)) + 1)),
        "SUM",
    )
    if len(labels) <= 2 and not classes.any():
        score = out[:, 0] + (base[-1] if base.size else 0)
        positive = bool((weights >= 0).all())
        chosen = score > (0.5 if positive else 0)
        first = 1 - score if positive and transform != "LOGISTIC" else -score
        scores = np.stack([first, score], 1)
        scores = _post(scores, transform) if transform in ("LOGISTIC", "PROBIT") else scores
        if len(labels) == 1:
            labels = np.array([0, labels[0]], labels.dtype)
        return [labels[chosen.astype(np.int64)], scores.astype(np.float32)]
    if base.size == out.shape[1]:
        out, hit = out + base, np.ones(out.shape, bool)
    best = np.where(hit, out, -np.inf).argmax(1)
    return [labels[best], _post(out, transform).astype(np.float32)]


@operator("TreeEnsemble", domain="ai.onnx.ml")
def tree_ensemble(call: Call) -> list[Value]:
    """The ensemble of opset 5: leaves apart from nodes, set membership."""
    x = call.tensor(0)
    true, false = (
        np.array(call.required(f"nodes_{s}nodeids"), np.int64) for s in ("true", "false")
    )
    true_leaf, false_leaf = (
        np.array(call.required(f"nodes_{s}leafs"), bool) for s in ("true", "false")
    )
    modes = np.asarray(call.required("nodes_modes")).astype(np.int64)
    values = np.asarray(call.required("nodes_splits")).reshape(-1)
    roots = np.array(call.required("tree_roots"), np.int64)
    alone = true_leaf[roots] & false_leaf[roots] & (true[roots] == false[roots])
    sets: Iterator[Array] = iter(_sets(call.attr("membership_values")))
    members = _member_order(modes, true, false, true_leaf, false_leaf, roots)
    forest = Forest(
        np.array(call.required("nodes_featureids"), np.int64),
        values,
        modes,
        np.where(true_leaf, -1 - true, true),
        np.where(false_leaf, -1 - false, false),
        np.array(call.attr("nodes_missing_value_tracks_true") or np.zeros(len(modes)), bool),
        np.where(alone, -1 - true[roots], roots),
        {node: next(sets, np.zeros(0)) for node in members},
    )
    how = ("AVERAGE", "SUM", "MIN", "MAX")[int(call.attr("aggregate_function", 1))]
    target = np.array(call.required("leaf_targetids"), np.int64)
    weight = np.asarray(call.required("leaf_weights"), np.float64).reshape(-1)
    out, _ = _aggregate(
        forest.leaves(x),
        np.arange(len(target), dtype=np.int64),
        target,
        weight,
        (len(x), int(call.attr("n_targets", 1))),
        how,
    )
    transforms = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
    return [_post(out, transforms[int(call.attr("post_transform", 0))]).astype(x.dtype)]


def _sets(values: Array | None) -> list[Array]:
    """The sets of members; a NaN ends each."""
    flat = np.zeros(0) if values is None else np.asarray(values).reshape(-1)
    out: list[Array] = []
    start = 0
    for end in np.flatnonzero(np.isnan(flat)).tolist():
        out.append(flat[start:end])
        start = end + 1
    return out


def _member_order(
    modes: Array, true: Array, false: Array, true_leaf: Array, false_leaf: Array, roots: Array
) -> list[int]:
    """Set-membership nodes in the order of their sets: depth first, the true branch first."""
    found: list[int] = []
    seen = np.zeros(len(modes), bool)
    for root in roots:
        stack = [int(root)]
        while stack:
            node = stack.pop()
            if seen[node]:
                continue
            seen[node] = True
            if modes[node] == 6:
                found.append(node)
            if not false_leaf[node]:
                stack.append(int(false[node]))
            if not true_leaf[node]:
                stack.append(int(true[node]))
    return found
