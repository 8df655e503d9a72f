"""A new crop back into its photo: through the inverse map, behind a soft mask.

Owns pasting. Only pixels where the mask is above zero change; the photo is itself
everywhere else, bit for bit. Leaves the mask's shape to `mask`, and which crop goes
where to the anonymizer.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.faces import align

# The color match moves a channel by at most so many gray levels, and by this share of
# the difference it finds at the mask's edge: enough for a cast, too little for a face
# that should look different.
_MAX_SHIFT, _SHARE = 24.0, 0.8
# Where the photo at the mask's edge has less than this share of the crop's light, as at
# night, the crop is dimmed to it: the shift alone would leave a bright mask.
_DIM = 0.75
_FADE = 4  # crop pixels over which a mask that reaches the crop's border ends


def paste(
    photo: UInt8[np.ndarray, "h w 3"],
    crop: UInt8[np.ndarray, "s s 3"],
    matrix: Float[np.ndarray, "2 3"],
    mask: Float[np.ndarray, "s s"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the crop in it; a new array.

    Args:
      photo: RGB.
      crop: the new face, aligned.
      matrix: the similarity photo -> crop that `align.crop_matrix` gave.
      mask: in crop pixels, in [0, 1]; how much of the crop is seen.
    """
    result = photo.copy()
    matrix = matrix.astype(np.float64)
    mask = _faded(mask.astype(np.float32))
    box = _box_in_photo(mask, matrix, photo.shape)
    if box is None:
        return result
    x0, y0, x1, y1 = box
    back = align.invert(matrix)
    back[:, 2] -= [x0, y0]
    source = align.crop(photo, matrix, len(crop))
    face = _spread(_match_color(crop, source, mask), back, x1 - x0, y1 - y0)
    soft = np.clip(_spread(mask, back, x1 - x0, y1 - y0), 0, 1)[..., None]
    region = photo[y0:y1, x0:x1].astype(np.float32)
    mixed = np.clip(np.rint(region + soft * (face - region)), 0, 255).astype(np.uint8)
    result[y0:y1, x0:x1] = np.where(soft > 0, mixed, photo[y0:y1, x0:x1])
    return result


def _faded(mask: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """The mask brought to zero at the crop's border, beyond which there is no face."""
    size = len(mask)
    index = np.arange(size)
    ramp = np.clip(np.minimum(index, size - 1 - index) / _FADE, 0, 1)
    return mask * np.minimum(ramp[:, None], ramp[None]).astype(np.float32)


def _box_in_photo(mask, matrix, shape) -> tuple[int, int, int, int] | None:
    """The part (x0, y0, x1, y1) of the photo that the mask can reach; None: nowhere."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    # A pixel more, as interpolation reaches between the mask's pixels and its zeros.
    corners = np.array(
        [[x, y] for x in (left - 1, right + 1) for y in (top - 1, bottom + 1)], float
    )
    points = align.transform_points(align.invert(matrix), corners)
    margin = 1.5 / align.scale_of(matrix)  # the blur of `_spread`
    low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0) + margin) + 1, shape[1::-1]).astype(int)
    if np.any(low >= high):
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _match_color(
    crop: UInt8[np.ndarray, "s s 3"],
    source: UInt8[np.ndarray, "s s 3"],
    mask: Float[np.ndarray, "s s"],
) -> Float[np.ndarray, "s s 3"]:
    """The crop with the light of the photo where the two meet, float32.

    The difference at the mask's soft edge, blurred widely, is a smooth field that also
    carries light from one side into the face.
    """
    crop, source = crop.astype(np.float32), source.astype(np.float32)
    ring = 4 * mask * (1 - mask)
    light = [float(np.sum(ring[..., None] * view)) for view in (source, crop)]
    crop = crop * min(1.0, light[0] / max(_DIM * light[1], 1e-4))
    sigma = len(crop) / 6
    weight = cv2.GaussianBlur(ring, (0, 0), sigma)
    field = cv2.GaussianBlur(ring[..., None] * (source - crop), (0, 0), sigma)
    shift = field / np.maximum(weight, 1e-4)[..., None]
    return crop + np.clip(_SHARE * shift, -_MAX_SHIFT, _MAX_SHIFT)


def _spread(
    image: np.ndarray, back: Float[np.ndarray, "2 3"], width: int, height: int
) -> np.ndarray:
    """Crop to photo pixels: averaged where it shrinks, smooth where it grows.

    Cubic kernels ring and a bilinear one shows its grid at several photo pixels a crop
    pixel, so growing is bilinear and then blurred by less than half a crop pixel.
    """
    warped = align.warp(
        image, back, width, height, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT
    )
    sigma = 0.4 * align.scale_of(back)
    return cv2.GaussianBlur(warped, (0, 0), sigma) if sigma > 0.6 else warped
