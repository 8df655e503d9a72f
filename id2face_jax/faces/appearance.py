"""What a recognizer's embedding says of apparent sex, age and skin tone: directions.

Owns the file of directions that ships with the package, for dlib's whitened embeddings,
and how they are fitted: ridge regression of each label on unit embeddings, then made
orthonormal. The labels of sex and age are of the age-and-gender network in the npm
package @vladmandic/face-api (MIT), run on train faces; skin tone is measured in their
pixels (`skin_lightness`). `studies/appearance.py` is the command. Leaves how identities
keep them to `identity`.

They are what machines call these things, of pictures: no statement about anybody.
"""

import pathlib

import cv2
import numpy as np
from jaxtyping import Float, UInt8

FILE = pathlib.Path(__file__).parents[1] / "pretrained" / "dlib_appearance.npz"
NAMES = ("sex", "age", "skin")
_RIDGE = 1e-2  # of the embeddings' mean variance, times the number of faces


def load(recognizer: str, path: pathlib.Path = FILE) -> Float[np.ndarray, "k d"] | None:
    """Directions for the embeddings of `recognizer`; None if they are not for it."""
    with np.load(path) as file:
        if str(file["recognizer"]) != recognizer:
            return None
        return file["directions"].astype(np.float32)


def fit(
    embeddings: Float[np.ndarray, "n d"], labels: Float[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """(orthonormal directions, how well each label is read: correlation out of fold).

    embeddings: unit. labels: one column a property.
    """
    x = embeddings - embeddings.mean(axis=0)
    y = (labels - labels.mean(axis=0)) / labels.std(axis=0)
    fold = np.arange(len(x)) % 2

    def solve(rows):
        gram = x[rows].T @ x[rows]
        gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        return np.linalg.solve(gram, x[rows].T @ y[rows])

    guess = np.empty_like(y)
    for held_out in (0, 1):
        guess[fold == held_out] = x[fold == held_out] @ solve(fold != held_out)
    read = [np.corrcoef(guess[:, i], y[:, i])[0, 1] for i in range(y.shape[1])]
    directions = np.linalg.qr(solve(fold >= 0))[0].T
    return directions.astype(np.float32), np.array(read)


def skin_lightness(
    crop: UInt8[np.ndarray, "s s 3"], landmarks: Float[np.ndarray, "5 2"]
) -> float:
    """Median CIE L* of the cheeks, 0 to 100.

    Squares beside the nose, half way down from the eyes to the mouth corners.
    """
    lightness = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)[..., 0] * (100.0 / 255.0)
    eyes, corners = landmarks[:2], landmarks[3:]
    reach = max(2, round(float(np.linalg.norm(eyes[1] - eyes[0])) / 8))
    seen = []
    for x, y in 0.45 * eyes + 0.55 * corners:
        rows = slice(max(0, round(y) - reach), max(1, round(y) + reach))
        columns = slice(max(0, round(x) - reach), max(1, round(x) + reach))
        seen.append(lightness[rows, columns].ravel())
    return float(np.median(np.concatenate(seen)))
