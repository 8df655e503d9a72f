"""Boxes (x0, y0, x1, y1): how much they share, and which of many stand for one face."""

import numpy as np
from jaxtyping import Bool, Float

_MAX_OVERLAP = 0.3  # intersection over union, deface's value
BORDER = 0.012  # share of a picture's long side: how near its border a box is cut by it


def areas(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Their areas; 0 of a box without width or height."""
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1)


def shared_areas(
    boxes: Float[np.ndarray, "n 4"], box: Float[np.ndarray, "4"]
) -> Float[np.ndarray, " n"]:
    """What each of `boxes` has in common with `box`, square pixels."""
    corner = np.maximum(boxes[:, :2], box[:2])
    end = np.minimum(boxes[:, 2:], box[2:])
    return np.prod(np.maximum(end - corner, 0), axis=-1)


def overlap(
    box: Float[np.ndarray, "4"], other: Float[np.ndarray, "4"]
) -> tuple[float, float]:
    """Shared area, over the union and over the smaller box; 0 for empty boxes."""
    shared = float(shared_areas(box[None], other)[0])
    sizes = [float(size) for size in areas(np.stack([box, other]))]
    if not min(sizes):
        return 0.0, 0.0
    return shared / (sum(sizes) - shared), shared / min(sizes)


def suppress(
    boxes: Float[np.ndarray, "n 4"], scores: Float[np.ndarray, "n"]
) -> list[int]:
    """Indices of boxes that no better one overlaps (non-maximum suppression)."""
    order = np.argsort(-scores, kind="stable")
    sizes = areas(boxes)
    keep = []
    while len(order):
        best, order = order[0], order[1:]
        keep.append(int(best))
        shared = shared_areas(boxes[order], boxes[best])
        order = order[shared <= _MAX_OVERLAP * (sizes[order] + sizes[best] - shared)]
    return keep


def touch_border(
    boxes: Float[np.ndarray, "n 4"], shape: tuple[int, ...]
) -> Bool[np.ndarray, " n"]:
    """Whether the border of a picture of `shape` (height, width, ...) cuts each box."""
    height, width = shape[:2]
    slack = BORDER * max(height, width)
    low = (boxes[:, :2] < slack).any(axis=1)
    high = (boxes[:, 2:] > np.float32([width, height]) - slack).any(axis=1)
    return low | high
