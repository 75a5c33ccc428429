"""Non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import Call, HostError, Value, operator

Array = np.ndarray[Any, Any]


def _corners(boxes: Array, centred: bool) -> Array:
    """Boxes as (y1, x1, y2, x2) with y1 <= y2 and x1 <= x2."""
    if centred:
        x, y, width, height = np.moveaxis(boxes, -1, 0)
        width, height = width / 2, height / 2
        return np.stack([y - height, x - width, y + height, x + width], -1)
    low, high = (
        np.minimum(boxes[..., :2], boxes[..., 2:]),
        np.maximum(boxes[..., :2], boxes[..., 2:]),
    )
    return np.concatenate([low, high], -1)


def suppress(boxes: Array, scores: Array, limit: int, iou: float, threshold: float) -> Array:
    """Indices of the boxes kept, best first: greedy, each removing those it overlaps too much."""
    candidates = np.flatnonzero(scores > threshold)
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept: list[int] = []
    while len(order) and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[order, :2], boxes[best, :2])
        high = np.minimum(boxes[order, 2:], boxes[best, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        union = area[order] + area[best] - common
        overlaps = (common > 0) & (area[order] > 0) & (area[best] > 0) & (union > 0)
        ratio = np.divide(common, union, out=np.zeros_like(common), where=overlaps)
        order = order[ratio <= iou]
    return np.array(kept, np.int64)


@operator("NonMaxSuppression")
def non_max_suppression(call: Call) -> list[Value]:
    """Rows (batch, class, box), per batch and class in descending order of score."""
    boxes, scores = call.tensor(0), call.tensor(1)
    if boxes.ndim != 3 or boxes.shape[2] != 4 or scores.ndim != 3:
        raise HostError(f"boxes of shape {boxes.shape} and scores of shape {scores.shape}")
    if boxes.shape[0] != scores.shape[0] or boxes.shape[1] != scores.shape[2]:
        raise HostError(f"boxes of shape {boxes.shape} and scores of shape {scores.shape}")
    limit = int(call.scalar(2)) if call.value(2) is not None else 0
    iou = float(call.scalar(3)) if call.value(3) is not None else 0.0
    threshold = float(call.scalar(4)) if call.value(4) is not None else -np.inf
    if not 0 <= iou <= 1:
        raise HostError(f"the overlap threshold {iou} is not between 0 and 1")
    corners = _corners(boxes, bool(call.attr("center_point_box", 0)))
    rows: list[Array] = []
    for batch in range(scores.shape[0]):
        for label in range(scores.shape[1]):
            kept = suppress(corners[batch], scores[batch, label], limit, iou, threshold)
            rows.append(
                np.stack([np.full_like(kept, batch), np.full_like(kept, label), kept], axis=1)
            )
    return [np.concatenate(rows) if rows else np.zeros((0, 3), np.int64)]
