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
_POWER = 2.4  # of the super-ellipse: 2 is an ellipse, more has fuller corners


def face_mask(
    landmarks: Float[np.ndarray, "5 2"], size: int
) -> Float[np.ndarray, "s s"]:
    """The identity region of an aligned crop: float32 in [0, 1], 1 inside.

    Args:
      landmarks: the five points in the crop, (x, y) pixels; see `align`.
      size: side of the crop, pixels.
    """
    return _egg(landmarks, size, np.ones(4), _SOFT)


def random_mask(
    rng: np.random.Generator, landmarks: Float[np.ndarray, "5 2"], size: int
) -> Float[np.ndarray, "s s"]:
    """A mask of random shape for training, from inside the face to far beyond it.

    Each of the four sides grows by its own factor, the edge's softness varies, and one
    mask in ten is the whole crop but a border, so that the network meets any mask that
    a caller may draw.
    """
    if rng.random() < 0.1:
        return _egg(landmarks, size, rng.uniform(1.3, 2.0, 4), rng.uniform(0.05, 0.5))
    grow = rng.uniform(0.92, 1.2) * rng.uniform(0.92, 1.1, 4)
    return _egg(landmarks, size, grow, rng.uniform(0.05, 0.3))


def _egg(
    landmarks: Float[np.ndarray, "5 2"],
    size: int,
    grow: Float[np.ndarray, "4"],
    soft: float,
) -> Float[np.ndarray, "s s"]:
    """The egg with its top, bottom, left and right grown by `grow`."""
    left, right, nose, left_mouth, right_mouth = landmarks.astype(np.float64)
    eyes, mouth = (left + right) / 2, (left_mouth + right_mouth) / 2
    # A profile's or a broken face's points still give some unit and some direction.
    unit = max(float(np.linalg.norm(eyes - mouth)), size / 16)
    up = (eyes - mouth) / unit
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 1e-6 else np.array([0.0, -1.0])
    across = np.array([-up[1], up[0]])
    turn = float(np.clip((nose - (eyes + mouth) / 2) @ across / unit, -0.5, 0.5))

    # The visible face reaches less far on the side the nose points to.
    reach_left = _HALF_WIDTH * (1 + 0.55 * turn) * grow[2]
    reach_right = _HALF_WIDTH * (1 - 0.55 * turn) * grow[3]
    top, bottom = (0.5 + _TOP) * grow[0], (0.5 + _BOTTOM) * grow[1]

    # float32 and OpenCV's power: each view of each training step draws one of these.
    axis = np.arange(size, dtype=np.float32) / unit
    x, y = axis[None, :], axis[:, None]
    center = (eyes + mouth) / 2 / unit
    height = (up[0] * (x - center[0]) + up[1] * (y - center[1])).astype(np.float32)
    side = (across[0] * (x - center[0]) + across[1] * (y - center[1])).astype(
        np.float32
    )
    # Widest at the eyes' height, narrowing to the chin.
    low = np.maximum(0.3 - height, 0)
    width = np.where(side < 0, reach_left, reach_right) * np.maximum(
        1 - 0.12 * low * low, 0.3
    )
    tall = np.where(height > 0, top, bottom)
    radius = cv2.pow(np.abs(side / width).astype(np.float32), _POWER)
    radius += cv2.pow(np.abs(height / tall).astype(np.float32), _POWER)
    radius = cv2.pow(radius, 1 / _POWER)
    # The radii are about a unit, so radius - 1 is about the distance beyond the edge.
    ramp = np.clip(1 - (radius - 1) / soft, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
