"""The aligned square crop: which similarity takes a photo to it, and back.

Owns the crop's geometry: how many units of the 112-unit ArcFace template (insightface's
`arcface_dst`) it shows, and around which point, so that chin, hair and some background
are inside:

    (1)  template(size) = (TEMPLATE_112 - center) * size / units + size / 2

Points are (x, y) pixels, whole numbers at pixel centers as in OpenCV; five of them:
image-left eye, image-right eye, nose, image-left and image-right mouth corner. Leaves
finding them to `detect`, and the way back into the photo to `blend`.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

TEMPLATE_112 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The square of the template that a crop shows.

    Attributes:
      units: its side, in units of the template; fewer show the face larger.
      center: its middle (x, y), in the template.
    """

    units: float = 160.0
    center: tuple[float, float] = (56.0, 64.0)


WIDE = Geometry()


def geometry_of(data) -> Geometry:
    """The geometry that config.data asks for: crop_units and crop_center."""
    return Geometry(float(data.crop_units), tuple(map(float, data.crop_center)))


def template(size: int, geometry: Geometry = WIDE) -> Float[np.ndarray, "5 2"]:
    """Where the five points belong in a crop of `size` pixels, float32 (eq. 1)."""
    offset = TEMPLATE_112 - np.array(geometry.center)
    return (offset * (size / geometry.units) + size / 2).astype(np.float32)


def crop_matrix(
    landmarks: Float[np.ndarray, "5 2"], size: int, geometry: Geometry = WIDE
) -> Float[np.ndarray, "2 3"]:
    """The similarity photo -> crop that fits the five points best (least squares).

    In complex numbers w = a z + b, whose least squares solution has a closed form
    and cannot be a reflection. Returns float64.

    Raises:
      ValueError: the points do not fix a similarity (they coincide, or are a mirror
        image), or are not finite.
    """
    source = landmarks.astype(np.float64)
    wanted = template(size, geometry)
    z, w = source @ [1, 1j], wanted.astype(np.float64) @ [1, 1j]
    z_mean, w_mean = z.mean(), w.mean()
    z, w = z - z_mean, w - w_mean
    spread = np.sum(np.abs(z) ** 2)
    # `not >`, so that NaN lands here too.
    if not spread > 1e-6 or abs(np.sum(np.conj(z) * w)) < 0.1 * spread**0.5 * size:
        raise ValueError(
            f"landmarks {np.round(source, 1).tolist()} do not look like a face: "
            "expected eyes, nose and mouth corners, image-left before image-right"
        )
    a = np.sum(np.conj(z) * w) / spread
    b = w_mean - a * z_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def invert(matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    """The affine map back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def compose(
    outer: Float[np.ndarray, "2 3"], inner: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "2 3"]:
    """The affine map that applies `inner`, then `outer`."""
    linear, shift = outer[:, :2], outer[:, 2:]
    return np.concatenate(
        [linear @ inner[:, :2], linear @ inner[:, 2:] + shift], axis=1
    )


def transform_points(
    matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """Points through the affine map, in the matrix's dtype."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def scale_of(matrix: Float[np.ndarray, "2 3"]) -> float:
    """Crop pixels per photo pixel of a similarity."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def crop(
    image: UInt8[np.ndarray, "h w 3"], matrix: Float[np.ndarray, "2 3"], size: int
) -> UInt8[np.ndarray, "s s 3"]:
    """The aligned crop; beyond the photo's border its mirror image goes on."""
    return warp(image, matrix, size, size, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)


def warp(
    image: np.ndarray,
    matrix: Float[np.ndarray, "2 3"],
    width: int,
    height: int,
    interpolation: int,
    border: int,
) -> np.ndarray:
    """The image through an affine map, without aliasing.

    A map that shrinks is first carried out at the image's own resolution and then
    averaged down, so that no detail folds into false patterns.

    Args:
      image: (h, w) or (h, w, c), uint8 or float32.
      matrix: source pixels -> result pixels.
      width, height: of the result.
      interpolation, border: OpenCV's constants; beyond a constant border is zero.
    """
    factor = max(1, int(np.ceil(1 / scale_of(matrix) - 1e-6)))
    # A pixel covers [i - 1/2, i + 1/2]: x' = (x + 1/2) factor - 1/2.
    fine = matrix * factor
    fine[:, 2] += (factor - 1) / 2
    warped = cv2.warpAffine(
        image,
        fine,
        (width * factor, height * factor),
        flags=interpolation,
        borderMode=border,
    )
    if factor == 1:
        return warped
    return cv2.resize(warped, (width, height), interpolation=cv2.INTER_AREA)
