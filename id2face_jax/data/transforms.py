"""Random views of a record: flip, color, mask. Numpy in, numpy out, fixed shapes.

Owns augmentation. All randomness comes from the generator given, so a view is a
function of (record, generator state). Pixels stay uint8; the training step does the
change to [-1, 1], on the device.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.faces import mask as face_masks

# In a mirror the image-left eye becomes the image-right one, and the mouth corners too.
_MIRRORED = [1, 0, 2, 4, 3]


def flip(
    image: UInt8[np.ndarray, "s s 3"], landmarks: Float[np.ndarray, "5 2"]
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "5 2"]]:
    """The mirror image and its landmarks, again in (left, right) order."""
    mirrored = landmarks[_MIRRORED]
    mirrored[:, 0] = image.shape[1] - 1 - mirrored[:, 0]
    return cv2.flip(image, 1), mirrored


def jitter_color(
    rng: np.random.Generator, image: UInt8[np.ndarray, "s s 3"], strength: float
) -> UInt8[np.ndarray, "s s 3"]:
    """Random brightness, contrast and saturation, each a factor in 1 +- strength.

    Contrast turns about mid-gray, so that it is one table with brightness.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    levels = (np.arange(256) * brightness - 127.5) * contrast + 127.5
    image = cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, saturation, gray, 1 - saturation, 0)


def random_view(
    rng: np.random.Generator,
    image: UInt8[np.ndarray, "s s 3"],
    landmarks: Float[np.ndarray, "5 2"],
    flip_prob: float,
    color_jitter: float,
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
    """One augmented view and its identity mask (255 = identity region).

    Args:
      rng: where all of the randomness comes from.
      image: aligned crop, RGB.
      landmarks: the five points in the crop, (x, y) pixels.
      flip_prob: chance of a mirror image, in [0, 1].
      color_jitter: strength for `jitter_color`; 0 leaves colors alone.
    """
    if rng.random() < flip_prob:
        image, landmarks = flip(image, landmarks)
    if color_jitter > 0:
        image = jitter_color(rng, image, color_jitter)
    mask = face_masks.random_mask(rng, landmarks, image.shape[0])
    return image, np.rint(mask * 255).astype(np.uint8)
