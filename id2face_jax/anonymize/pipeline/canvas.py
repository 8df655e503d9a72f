"""A picture in work: where faces are cut from, painted and hidden, safely.

Owns the order of pixels. Crops are cut from the *updated* picture, so a neighbor that
is done comes in with its new face; and a pixel that a finished face has painted is
never again taken from the original. Faces whose crops touch are therefore changed one
after the other (`waves`). Leaves the geometry to `faces.align`, the soft paste to
`faces.blend`, and whether the result is good enough to `verify`.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from id2face_jax.faces import align, blend

# Photo pixels around a crop that its interpolation may read, and crop pixels by which a
# paste may blur its mask (`faces.blend`).
_MARGIN, _REACH = 8, 3
# What is left of a hidden face: the mean colors of this many cells across its box.
# Mosaics of 8 to 16 cells can be matched to known faces by a trained network
# (McPherson et al. 2016, arXiv 1609.00408), so there are fewer.
CELLS = 4
# The hidden ellipse's axes in units of the detector's box, which ends at the brows; it
# holds the box, since that is more than sqrt(2). And the width of its soft edge.
_HIDE_SCALE, _HIDE_SOFT = 1.45, 0.15
# Share of a painted window over which a cover beside it ends. It reaches less deep than
# the paste does beyond its mask (_REACH of the crop's pixels).
_EDGE = 0.02


@dataclasses.dataclass(frozen=True)
class Window:
    """A rectangle of a picture, and which of its pixels somebody paints."""

    left: int
    top: int
    painted: Bool[np.ndarray, "h w"]

    @property
    def right(self) -> int:
        return self.left + self.painted.shape[1]

    @property
    def bottom(self) -> int:
        return self.top + self.painted.shape[0]

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def touches(self, other: "Window") -> bool:
        """Whether the rectangles share pixels."""
        return max(self.left, other.left) < min(self.right, other.right) and max(
            self.top, other.top
        ) < min(self.bottom, other.bottom)


def crop_window(
    shape: tuple[int, ...],
    matrix: Float[np.ndarray, "2 3"],
    mask: Float[np.ndarray, "s s"],
) -> Window:
    """The part of a picture that a crop shows; painted is where its mask is not 0.

    Args:
      shape: (height, width, ...) of the picture.
      matrix: picture -> crop.
      mask: of the crop.
    """
    size, (height, width) = len(mask), shape[:2]
    back = align.invert(matrix)
    low, high = -0.5 - _REACH, size - 0.5 + _REACH
    corners = np.array([[low, low], [high, low], [low, high], [high, high]])
    corners = align.transform_points(back, corners)
    left, top = np.floor(corners.min(axis=0)).astype(int) - _MARGIN
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + _MARGIN + 1
    left, right = (int(v) for v in np.clip([left, right], 0, width))
    top, bottom = (int(v) for v in np.clip([top, bottom], 0, height))
    if left >= right or top >= bottom:
        return Window(left, top, np.zeros((0, 0), bool))
    # The paste reaches _REACH crop pixels beyond its mask, at most.
    reached = np.pad((mask > 0).astype(np.uint8), _REACH)
    reached = cv2.dilate(reached, np.ones((2 * _REACH + 1,) * 2, np.uint8))
    local = back.copy()
    local[:, 2] -= back[:, :2] @ [_REACH, _REACH] + [left, top]
    weight = cv2.warpAffine(
        reached.astype(np.float32), local, (right - left, bottom - top)
    )
    # And where a photo pixel is more than a crop pixel, one of those.
    painted = cv2.dilate((weight > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
    return Window(left, top, painted.astype(bool))


class Canvas:
    """The original, the picture as it is now, and who painted where."""

    def __init__(self, image: UInt8[np.ndarray, "h w 3"]):
        self.original = image
        self.current = image.copy()
        self._painted: dict[int, Window] = {}

    def cut(
        self,
        index: int,
        matrix: Float[np.ndarray, "2 3"],
        mask: Float[np.ndarray, "s s"],
    ) -> UInt8[np.ndarray, "s s 3"]:
        """Face `index`'s source crop: its own area as it was, all else as it is now."""
        window = crop_window(self.original.shape, matrix, mask)
        view = self.current[window.slices].copy()
        own = window.painted.copy()
        for other, painted in self._painted.items():
            if other != index and painted.touches(window):
                own &= ~_within(painted, window)
        view[own] = self.original[window.slices][own]
        return align.crop(view, _shifted(matrix, window), len(mask))

    def paint(
        self,
        index: int,
        crop: UInt8[np.ndarray, "s s 3"],
        matrix: Float[np.ndarray, "2 3"],
        mask: Float[np.ndarray, "s s"],
    ) -> None:
        """Pastes face `index`'s new crop."""
        window = crop_window(self.original.shape, matrix, mask)
        view = self.current[window.slices]
        if not view.size:
            return
        view[:] = blend.paste(view.copy(), crop, _shifted(matrix, window), mask)
        self._painted[index] = window

    def hide(
        self,
        index: int,
        box: Float[np.ndarray, "4"],
        *,
        scale: float = 1.0,
        solid: bool = False,
    ) -> None:
        """Blurs face `index` for good: what stays are CELLS x CELLS or so colors.

        Args:
          box: the face's (x0, y0, x1, y1).
          scale: multiplies the hidden area's sides.
          solid: leave one color instead, the area's mean.
        """
        window, weight = hidden_area(self.original.shape, box, scale)
        if window.painted.size:
            _blur(self.current[window.slices], weight, solid)
            self._painted[index] = window

    def cover(self, box: Float[np.ndarray, "4"], scale: float) -> None:
        """Blurs a place in which no face is seen, and leaves what others have painted.

        Args:
          box: where a face may be, (x0, y0, x1, y1).
          scale: multiplies the covered area's sides.
        """
        window, weight = hidden_area(self.original.shape, box, scale)
        for painted in self._painted.values():
            if painted.touches(window):
                weight *= _outside(_within(painted, window), painted)[..., None]
        _blur(self.current[window.slices], weight)

    def is_painted(self, point: Float[np.ndarray, "2"]) -> bool:
        """Whether the pixel at (x, y) is some face's new one."""
        x, y = (int(v) for v in np.round(point))
        return any(
            window.left <= x < window.right
            and window.top <= y < window.bottom
            and bool(window.painted[y - window.top, x - window.left])
            for window in self._painted.values()
        )


def _blur(
    view: UInt8[np.ndarray, "h w 3"],
    weight: Float[np.ndarray, "h w 1"],
    solid: bool = False,
) -> None:
    """Leaves CELLS x CELLS or so colors of a view, in place; solid: a single one."""
    if not view.size:
        return
    height, width = view.shape[:2]
    across, down = (1, 1) if solid else _cells(width, height)
    colors = cv2.resize(view, (across, down), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(colors, (width, height), interpolation=cv2.INTER_LINEAR)
    view[:] = np.round(weight * smooth + (1 - weight) * view).astype(np.uint8)


def hidden_area(
    shape: tuple[int, ...], box: Float[np.ndarray, "4"], scale: float
) -> tuple[Window, Float[np.ndarray, "h w 1"]]:
    """Where a face is hidden, and how much of each pixel: an ellipse round its box.

    The weight is 1 over the whole box and falls to 0 at the window's border.
    """
    height, width = shape[:2]
    center = (box[:2] + box[2:]) / 2
    half = np.maximum(box[2:] - box[:2], 1) / 2 * _HIDE_SCALE * scale
    outer = half * (1 + _HIDE_SOFT)
    left, top = np.clip(np.floor(center - outer), 0, [width, height]).astype(int)
    right, bottom = np.clip(np.ceil(center + outer), 0, [width, height]).astype(int)
    y, x = np.mgrid[top:bottom, left:right]
    radius = np.hypot((x - center[0]) / half[0], (y - center[1]) / half[1])
    weight = np.clip((1 + _HIDE_SOFT - radius) / _HIDE_SOFT, 0.0, 1.0)
    return Window(int(left), int(top), weight > 0), weight[..., None]


def _cells(width: int, height: int) -> tuple[int, int]:
    short = min(width, height)
    across, down = (round(CELLS * side / short) for side in (width, height))
    # A face that the border cuts to a strip must not get a finer mosaic along it.
    return min(across, 2 * CELLS, width), min(down, 2 * CELLS, height)


def _shifted(
    matrix: Float[np.ndarray, "2 3"], window: Window
) -> Float[np.ndarray, "2 3"]:
    """The matrix for pixels counted from the window's corner."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [window.left, window.top]
    return shifted


def _within(painted: Window, window: Window) -> Bool[np.ndarray, "h w"]:
    """`painted` in the frame of `window`, which it touches."""
    inside = np.zeros_like(window.painted)
    top, bottom = max(painted.top, window.top), min(painted.bottom, window.bottom)
    left, right = max(painted.left, window.left), min(painted.right, window.right)
    inside[
        top - window.top : bottom - window.top, left - window.left : right - window.left
    ] = painted.painted[
        top - painted.top : bottom - painted.top,
        left - painted.left : right - painted.left,
    ]
    return inside


def _outside(
    inside: Bool[np.ndarray, "h w"], painted: Window
) -> Float[np.ndarray, "h w"]:
    """1 where nobody has painted, and falling to 0 over the margin of what was painted.

    Inside, so that nothing outside shows more; a step would be a jagged edge.
    """
    margin = max(1.0, _EDGE * max(painted.painted.shape))
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(1 - depth / margin, 0.0, 1.0)


def waves(windows: list[Window]) -> list[list[int]]:
    """Indices grouped so that in a group no two windows touch, in a fixed order."""
    groups: list[list[int]] = []
    for index, window in enumerate(windows):
        free = (
            group
            for group in groups
            if not any(window.touches(windows[other]) for other in group)
        )
        group = next(free, None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return groups
