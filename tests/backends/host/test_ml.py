"""Trees, labels and strings against onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from support.host_calls import agree, call

RNG = np.random.default_rng(5)
ML = "ai.onnx.ml"
MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")


class Forest:
    """Random trees as attributes of the tree operators."""

    def __init__(self, trees: int, depth: int, features: int, modes: tuple[str, ...]):
        self.rows: list[list[Any]] = []
        self.leaves: list[tuple[int, int]] = []
        self.features, self.modes = features, modes
        for tree in range(trees):
            self._grow(tree, depth, itertools.count())

    def _grow(self, tree: int, depth: int, numbers: Any) -> int:
        number = next(numbers)
        row: list[Any] = [tree, number, "LEAF", 0, 0.0, 0, 0, int(RNG.integers(2))]
        self.rows.append(row)
        if depth == 0 or RNG.random() < 0.15:
            self.leaves.append((tree, number))
        else:
            mode, feature = RNG.choice(self.modes), int(RNG.integers(self.features))
            row[2:5] = [f"BRANCH_{mode}", feature, float(np.float32(RNG.normal()))]
            row[5], row[6] = (self._grow(tree, depth - 1, numbers) for _ in range(2))
        return number

    def attributes(self, prefix: str) -> dict[str, Any]:
        names = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids")
        names += ("falsenodeids", "missing_value_tracks_true")
        columns = dict(zip(names, map(list, zip(*self.rows, strict=True)), strict=True))
        out = {f"nodes_{name}": column for name, column in columns.items()}
        out[f"{prefix}_treeids"] = [tree for tree, _ in self.leaves]
        out[f"{prefix}_nodeids"] = [number for _, number in self.leaves]
        return out


def rows(features: int) -> Any:
    x = RNG.standard_normal((20, features)).astype(np.float32)
    x[3, 2] = np.nan
    return x


@pytest.mark.parametrize("how", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("modes", [("LEQ",), MODES])
def test_tree_regressor(how: str, modes: tuple[str, ...]) -> None:
    forest = Forest(4, 4, 5, modes)
    weights = [float(w) for w in RNG.normal(size=len(forest.leaves))]
    attributes: dict[str, Any] = forest.attributes("target") | dict[str, Any](
        target_weights=weights, n_targets=1
    )
    attributes |= dict[str, Any](
        target_ids=[0] * len(weights), aggregate_function=how, base_values=[0.5]
    )
    agree("TreeEnsembleRegressor", [rows(5)], 3, domain=ML, **attributes)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("signed", [False, True])
def test_tree_classifier(post: str, classes: int, signed: bool) -> None:
    forest = Forest(4, 4, 5, MODES)
    count = len(forest.leaves)
    weights = RNG.normal(size=count) if signed else RNG.random(count) / 4
    attributes: dict[str, Any] = forest.attributes("class") | dict[str, Any](
        class_weights=[float(w) for w in weights]
    )
    attributes |= dict[str, Any](class_ids=[int(v) for v in RNG.integers(0, classes, count)])
    attributes |= dict[str, Any](
        classlabels_int64s=[3, 5, 9][: max(classes, 2)], post_transform=post
    )
    agree("TreeEnsembleClassifier", [rows(5)], 3, 2, domain=ML, **attributes)


def test_labels() -> None:
    text = np.array([["a", "b"], ["zz", "c"]], object)
    keys = ["a", "b", "c"]
    agree("LabelEncoder", [text], 2, domain=ML, keys_strings=keys, values_int64s=[4, 5, 6])
    agree("LabelEncoder", [text], 2, domain=ML, keys_strings=keys, values_strings=["x", "y", "z"])
    values: dict[str, Any] = dict(keys_int64s=[1, 2], values_floats=[0.5, 0.25], default_float=7.0)
    agree("LabelEncoder", [np.array([1, 2, 9])], 2, domain=ML, **values)
    both: dict[str, Any] = dict(cats_int64s=[1, 2, 3], cats_strings=keys)
    agree("CategoryMapper", [text], 1, domain=ML, **both)
    agree("CategoryMapper", [np.array([1, 3, 5])], 1, domain=ML, **both)
    agree("OneHotEncoder", [text], 1, domain=ML, cats_strings=keys, zeros=1)


def test_maps() -> None:
    scores = np.array([[0.25, 0.75]], np.float32)
    found = call("ZipMap", [scores], 1, domain=ML, classlabels_strings=["no", "yes"])
    assert found == [[{"no": 0.25, "yes": 0.75}]]
    made = call("CastMap", [{2: 1.5, 0: 3.0}], 1, domain=ML, map_form="SPARSE", max_map=4)
    assert made[0].tolist() == [[3.0, 0.0, 1.5, 0.0]]


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
def test_tf_idf(mode: str) -> None:
    x = np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]])
    pool: dict[str, Any] = dict(
        ngram_counts=[0, 4],
        ngram_indexes=list(range(7)),
        pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7],
        weights=[float(w) for w in range(2, 9)],
    )
    for skips, (least, most) in itertools.product([0, 5], [(1, 1), (1, 2), (2, 2)]):
        gram: dict[str, Any] = dict(min_gram_length=least, max_gram_length=most)
        agree("TfIdfVectorizer", [x], 9, mode=mode, max_skip_count=skips, **gram, **pool)


def test_strings() -> None:
    words = np.array(["monday", "Tuesday", "wednesday"], object)
    change: dict[str, Any] = dict(case_change_action="UPPER", stopwords=["monday", "tuesday"])
    assert call("StringNormalizer", [words], 10, **change)[0].tolist() == ["WEDNESDAY"]
    change["is_case_sensitive"] = 1
    kept = call("StringNormalizer", [words], 10, **change)
    assert kept[0].tolist() == ["TUESDAY", "WEDNESDAY"]
    pieces = call("StringSplit", [np.array(["a b  c", " d", ""], object)], 20, 2)
    assert pieces[0].tolist() == [["a", "b", "c"], ["d", "", ""], ["", "", ""]]
    assert pieces[1].tolist() == [3, 1, 0]
    joined = call("StringConcat", [words, np.array(["!"], object)], 20)
    assert joined[0].tolist() == ["monday!", "Tuesday!", "wednesday!"]
    assert call("RegexFullMatch", [words], 20, pattern="T.*sday")[0].tolist() == [
        False,
        True,
        False,
    ]
