"""The identity mask: which pixels of an aligned crop show who it is.

Owns the shape m of the method: 1 on brows, eyes, nose, mouth, cheeks, jaw line and most
of the forehead, with a soft edge outside. It is an egg drawn from the five points in
the face's own axes: up from the mouth's middle to the eyes' middle, that distance as
the unit. A turned head moves the nose sideways; its egg is narrower, and moves to the
side that shows more cheek. Leaves pasting to `blend`.
"""

import cv2
import numpy as np
from jaxtyping import Float

# In units of the eyes-mouth distance; set by eye on drawings over 96 photos.
_TOP, _BOTTOM = 0.95, 0.87  # forehead above the eyes, chin below the mouth
_HALF_WIDTH = 1.06  # cheeks of a frontal face
_SOFT = 0.16  # width of the edge
# Ranges that training draws masks from: growth of the whole and of each side, softness;
# and of the share of wide ones.
GROWTH, SIDE_GROWTH, SOFTNESS = (0.92, 1.2), (0.92, 1.1), (0.05, 0.3)
WIDE_SHARE, WIDE_GROWTH, WIDE_SOFTNESS = 0.1, (1.3, 2.0), (0.05, 0.5)
_POWER = 2.4  # of the super-ellipse: 2 is an ellipse, more has fuller corners


def face_mask(
    landmarks: Float[np.ndarray, "5 2"], size: int
) -> Float[np.ndarray, "s s"]:
    """The identity region of an aligned crop: float32 in [0, 1], 1 inside.

    Args:
      landmarks: the five points in the crop, (x, y) pixels; see `align`.
      size: side of the crop, pixels.
    """
    return egg(landmarks, size, np.ones(4), _SOFT)


def random_mask(
    rng: np.random.Generator, landmarks: Float[np.ndarray, "5 2"], size: int
) -> Float[np.ndarray, "s s"]:
    """A mask of random shape for training, from inside the face to far beyond it.

    Each of the four sides grows by its own factor, the edge's softness varies, and one
    mask in ten is the whole crop but a border, so that the network meets any mask that
    a caller may draw.
    """
    if rng.random() < WIDE_SHARE:
        return egg(
            landmarks, size, rng.uniform(*WIDE_GROWTH, 4), rng.uniform(*WIDE_SOFTNESS)
        )
    grow = rng.uniform(*GROWTH) * rng.uniform(*SIDE_GROWTH, 4)
    return egg(landmarks, size, grow, rng.uniform(*SOFTNESS))


def egg(landmarks, size: int, grow, soft, xp=np):
    """The egg with its top, bottom, left and right grown by `grow`: (s, s) float32.

    Args:
      landmarks: (5, 2); size: pixels.
      grow: (4,); soft: width of the edge, in units.
      xp: numpy, or jax.numpy for masks that are drawn on a device.
    """
    left, right, nose, left_mouth, right_mouth = xp.asarray(landmarks, xp.float32)
    eyes, mouth = (left + right) / 2, (left_mouth + right_mouth) / 2
    # A profile's or a broken face's points still give some unit and some direction.
    unit = xp.maximum(xp.linalg.norm(eyes - mouth), size / 16)
    up = (eyes - mouth) / unit
    length = xp.linalg.norm(up)
    upright = xp.asarray([0.0, -1.0], xp.float32)
    up = xp.where(length > 1e-6, up / xp.maximum(length, 1e-6), upright)
    across = xp.stack([-up[1], up[0]])
    turn = xp.clip((nose - (eyes + mouth) / 2) @ across / unit, -0.5, 0.5)

    # The visible face reaches less far on the side the nose points to.
    reach_left = _HALF_WIDTH * (1 + 0.55 * turn) * grow[2]
    reach_right = _HALF_WIDTH * (1 - 0.55 * turn) * grow[3]
    top, bottom = (0.5 + _TOP) * grow[0], (0.5 + _BOTTOM) * grow[1]

    axis = xp.arange(size, dtype=xp.float32) / unit
    x, y = axis[None, :], axis[:, None]
    center = (eyes + mouth) / 2 / unit
    height = up[0] * (x - center[0]) + up[1] * (y - center[1])
    side = across[0] * (x - center[0]) + across[1] * (y - center[1])
    # Widest at the eyes' height, narrowing to the chin.
    low = xp.maximum(0.3 - height, 0)
    width = xp.where(side < 0, reach_left, reach_right) * xp.maximum(
        1 - 0.12 * low * low, 0.3
    )
    tall = xp.where(height > 0, top, bottom)
    radius = _power(xp, xp.abs(side / width), _POWER)
    radius = radius + _power(xp, xp.abs(height / tall), _POWER)
    radius = _power(xp, radius, 1 / _POWER)
    # The radii are about a unit, so radius - 1 is about the distance beyond the edge.
    ramp = xp.clip(1 - (radius - 1) / soft, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(xp.float32)


def _power(xp, x, exponent: float):
    """x ** exponent; OpenCV's is several times quicker than numpy's."""
    return cv2.pow(x.astype(np.float32), exponent) if xp is np else x**exponent
