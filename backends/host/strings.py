"""String operators: Python's own functions, string by string."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from .limits import checked_shape
from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _strings(call: Call, index: int) -> Array:
    x = call.tensor(index)
    if x.dtype.kind not in "OU":
        raise HostError(f"input {index} holds {x.dtype}, not strings")
    return x


@operator("StringConcat")
def string_concat(call: Call) -> list[Value]:
    """Elementwise concatenation, with broadcasting."""
    return [np.asarray(np.add(_strings(call, 0), _strings(call, 1)), object)]


@operator("RegexFullMatch")
def regex_full_match(call: Call) -> list[Value]:
    """Whether a pattern matches the whole string.  RE2 patterns are taken as Python's."""
    x = _strings(call, 0)
    try:
        pattern = re.compile(call.required("pattern"))
    except re.error as error:
        raise HostError(f"the pattern {call.attr('pattern')!r} is invalid: {error}") from error
    flat = [pattern.fullmatch(text) is not None for text in x.reshape(-1)]
    return [np.array(flat, bool).reshape(x.shape)]


@operator("StringSplit")
def string_split(call: Call) -> list[Value]:
    """Pieces, padded with empty strings to the greatest number, and their numbers."""
    x = _strings(call, 0)
    delimiter, most = call.attr("delimiter") or None, call.attr("maxsplit")
    pieces = [text.split(delimiter, -1 if most is None else int(most)) for text in x.reshape(-1)]
    counts = np.array([len(found) for found in pieces], np.int64)
    width = int(counts.max(initial=0))
    out = np.full(checked_shape((x.size, width)), "", object)
    for i, found in enumerate(pieces):
        out[i, : len(found)] = found
    return [out.reshape(*x.shape, width), counts.reshape(x.shape)]


@operator("StringNormalizer")
def string_normalizer(call: Call) -> list[Value]:
    """Case changed and stop words removed; rows `[C]` or `[1, C]` shrink, and are never empty.

    Case is changed as Unicode defines it, whatever the attribute `locale` says.
    """
    x = _strings(call, 0)
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.shape[0] != 1):
        raise HostError(f"the input must have shape [C] or [1, C], not {list(x.shape)}")
    action, sensitive = call.attr("case_change_action", "NONE"), call.attr("is_case_sensitive", 0)
    stop: set[str] = set(call.attr("stopwords") or [])
    change = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}.get(action)
    if change is None:
        raise HostError(f"there is no case change {action!r}")
    if not sensitive:
        stop = {word.lower() for word in stop}
    kept = [w for w in x.reshape(-1) if (w if sensitive else w.lower()) not in stop and w]
    out = np.array([change(w) for w in kept] or [""], object)
    return [out.reshape(1, -1) if x.ndim == 2 else out]


@operator("TfIdfVectorizer")
def tf_idf_vectorizer(call: Call) -> list[Value]:
    """Counts of the pool's n-grams in each row, as counts, presence or weights."""
    x = call.tensor(0)
    pool: list[Any] = call.attr("pool_strings") or call.attr("pool_int64s") or []
    starts = [*call.required("ngram_counts"), len(pool)]
    columns = call.required("ngram_indexes")
    weights = call.attr("weights")
    shortest, longest = int(call.required("min_gram_length")), int(call.required("max_gram_length"))
    skips = int(call.required("max_skip_count"))
    grams: dict[tuple[Any, ...], int] = {}
    number = 0
    for n, (start, end) in enumerate(pairwise(starts), 1):
        for at in range(start, end - n + 1, n):
            if shortest <= n <= longest:
                grams[tuple(pool[at : at + n])] = number
            number += 1
    if number > len(columns):
        raise HostError(f"{number} n-grams, {len(columns)} indices")
    width = max(columns) + 1
    rows = x.reshape(1, -1) if x.ndim < 2 else x
    out = np.zeros(checked_shape((len(rows), width)), np.float32)
    sizes = sorted({len(gram) for gram in grams})
    for i, row in enumerate(rows.tolist()):
        found: Counter[int] = Counter()
        for n in sizes:
            for step in range(1, (1 if n == 1 else min(skips, len(row)) + 1) + 1):
                for at in range(len(row) - (n - 1) * step):
                    place = grams.get(tuple(row[at : at + (n - 1) * step + 1 : step]))
                    if place is not None:
                        found[place] += 1
        for place, count in found.items():
            out[i, columns[place]] += count
    mode = call.required("mode")
    if mode == "IDF":
        out = (out > 0).astype(np.float32)
    if mode in ("IDF", "TFIDF") and weights:
        scale = np.ones(width, np.float32)
        scale[np.array(columns)] = np.array(weights, np.float32)
        out = out * scale
    return [out[0] if x.ndim < 2 else out]
