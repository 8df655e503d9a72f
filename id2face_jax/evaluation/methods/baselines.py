"""How faces are hidden without a model. Crops in, crops out.

Owns the pixels of the controls. Black, blur and pixelate act on the face
box with a hard edge, as redaction tools do: from ear to ear and from the hairline to
below the chin, which holds all that the recognizers' views see of a face. Strengths
are fixed here, in shares of the box, so a row means the same at any crop size.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.evaluation.people import Box

# Mild on purpose, as often seen in the wild: machines still recognize some faces, so
# the two rows show what a half measure scores.
BLUR_SIGMA = 0.03  # of the box's width; a tenth of the eyes' distance
PIXELATE_CELLS = 18  # across the box's width; six between the eyes


def _over_box(images, box: Box, change) -> UInt8[np.ndarray, "n s s 3"]:
    out = images.copy()
    for image in out:
        image[*box] = change(image)[*box]
    return out


def black(
    images: UInt8[np.ndarray, "n s s 3"], box: Box
) -> UInt8[np.ndarray, "n s s 3"]:
    """The face box in black."""
    return _over_box(images, box, np.zeros_like)


def blur(
    images: UInt8[np.ndarray, "n s s 3"], box: Box
) -> UInt8[np.ndarray, "n s s 3"]:
    """The face box under a Gaussian blur of BLUR_SIGMA box widths."""
    sigma = BLUR_SIGMA * (box[1].stop - box[1].start)

    def change(image):
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)

    return _over_box(images, box, change)


def pixelate(
    images: UInt8[np.ndarray, "n s s 3"], box: Box
) -> UInt8[np.ndarray, "n s s 3"]:
    """The face box in square cells, PIXELATE_CELLS across."""
    rows, columns = box
    width, height = columns.stop - columns.start, rows.stop - rows.start
    cells = (PIXELATE_CELLS, max(1, round(PIXELATE_CELLS * height / width)))

    def change(image):
        out = np.zeros_like(image)
        small = cv2.resize(image[rows, columns], cells, interpolation=cv2.INTER_AREA)
        out[rows, columns] = cv2.resize(
            small, (width, height), interpolation=cv2.INTER_NEAREST
        )
        return out

    return _over_box(images, box, change)


def swap(
    images: UInt8[np.ndarray, "n s s 3"],
    donors: UInt8[np.ndarray, "n s s 3"],
    masks: Float[np.ndarray, "n s s"],
) -> UInt8[np.ndarray, "n s s 3"]:
    """Another real person's face pasted in, its light fitted to the source's.

    Args:
      images: aligned crops that keep everything outside of the mask.
      donors: aligned crops of other people.
      masks: where the donor's face goes, in [0, 1].

    Mean and spread of each color channel inside the mask become the source's.
    """
    weight = masks[..., None].astype(np.float32)
    total = weight.sum(axis=(1, 2), keepdims=True)

    def moments(x):
        mean = (weight * x).sum(axis=(1, 2), keepdims=True) / total
        spread = (weight * (x - mean) ** 2).sum(axis=(1, 2), keepdims=True) / total
        return mean, np.sqrt(spread) + 1e-3

    source, donor = images.astype(np.float32), donors.astype(np.float32)
    (mean, spread), (donor_mean, donor_spread) = moments(source), moments(donor)
    fitted = (donor - donor_mean) * spread / donor_spread + mean
    mixed = weight * fitted + (1.0 - weight) * source
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
