"""Independent eyes: a second detector and recognizers that had no part in the work.

Faces are those that the second detector finds in the *original*. Each is looked at in
the result where it was, and wherever a face is found now: a face that no detector finds
must not pass for a hidden one.
"""

import dataclasses
import pathlib
import warnings
from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps

from id2face_jax.anonymize.io import images
from id2face_jax.faces import align
from id2face_jax.faces.embed import OnnxRecognizer

_SCORE = 0.6  # of the second detector, its own default for sure faces
_MAX_SIDE = 1024
_FAR = 0.001
# Mean gray levels by which a face must differ from its source; coding it again gives 1.
_UNTOUCHED = 3.0


class Detector:
    """Callable: sure faces of a picture, box and five points each, largest first."""

    def __init__(self, path: pathlib.Path):
        self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _SCORE)

    def __call__(self, image: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        height, width = image.shape[:2]
        scale = min(1.0, _MAX_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        self._net.setInputSize(size)
        resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        _, rows = self._net.detect(np.ascontiguousarray(resized[..., ::-1]))
        found = []
        for row in np.zeros((0, 15)) if rows is None else rows[:, :14] / scale:
            box = np.concatenate([row[:2], row[:2] + row[2:4]])
            points = row[4:14].reshape(5, 2).astype(np.float32)
            if _is_shaped(points):
                found.append((box, points))
        return sorted(found, key=lambda f: -np.prod(f[0][2:] - f[0][:2]))


def _is_shaped(points: np.ndarray) -> bool:
    try:
        align.crop_matrix(points, 112)
    except ValueError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A recognizer, and the cosine above which 0.1 % of different people are."""

    name: str
    recognizer: OnnxRecognizer
    threshold: float
    num_pairs: int


def calibrated(
    path: pathlib.Path, photos: Sequence[pathlib.Path], detector: Detector
) -> Calibrated:
    """The recognizer, with its threshold measured on PERSON/PHOTO.jpg as they are."""
    recognizer = OnnxRecognizer(path)
    vectors, owners = [], []
    for photo in photos:
        image = pixels(photo)
        for _, points in detector(image)[:1]:
            vectors.append(recognizer([image], points[None])[0])
            owners.append(photo.parent.name)
    cosines = np.stack(vectors) @ np.stack(vectors).T
    impostors = np.triu(np.array(owners)[:, None] != np.array(owners)[None])
    pairs = cosines[impostors]
    threshold = float(np.quantile(pairs, 1 - _FAR))
    return Calibrated(path.stem, recognizer, threshold, len(pairs))


@dataclasses.dataclass(frozen=True)
class Seen:
    """What became of one face of the original.

    Attributes:
      change: mean difference of the pixels in its box, gray levels.
      cosines: by recognizer, the highest to any face of the original.
    """

    change: float
    cosines: dict[str, float]

    @property
    def is_untouched(self) -> bool:
        return self.change < _UNTOUCHED


def compare(
    before: np.ndarray,
    after: np.ndarray,
    detector: Detector,
    recognizers: Sequence[Calibrated],
) -> list[Seen]:
    """What the eyes see in `after` of each face of `before`; both of one size."""
    faces = detector(before)
    if not faces:
        return []
    now = [points for _, points in detector(after)]
    difference = np.abs(before.astype(np.int16) - after).mean(axis=-1)
    sources = {
        calibrated.name: calibrated.recognizer(
            [before] * len(faces), np.stack([points for _, points in faces])
        )
        for calibrated in recognizers
    }
    seen = []
    for box, points in faces:
        left, top, right, bottom = np.maximum(np.round(box).astype(int), 0)
        views = np.stack([points, *(other for other in now if _is_near(other, box))])
        cosines = {
            calibrated.name: float(
                np.max(
                    calibrated.recognizer([after] * len(views), views)
                    @ sources[calibrated.name].T
                )
            )
            for calibrated in recognizers
        }
        change = float(difference[top:bottom, left:right].mean())
        seen.append(Seen(change, cosines))
    return seen


def _is_near(points: np.ndarray, box: np.ndarray) -> bool:
    """Whether the middle of these points lies in the box."""
    middle = points.mean(axis=0)
    return bool(np.all(middle >= box[:2]) and np.all(middle <= box[2:]))


def pixels(path: pathlib.Path) -> np.ndarray | None:
    """Upright RGB of whatever can be read in a file, also of its first half."""
    try:
        return images.read(path).pixels
    except ValueError:
        pass
    PIL.ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with warnings.catch_warnings(action="ignore"), PIL.Image.open(path) as image:
            return np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None
    finally:
        PIL.ImageFile.LOAD_TRUNCATED_IMAGES = False


def turned_as(source: pathlib.Path, image: np.ndarray) -> np.ndarray:
    """Pixels brought upright as the source's EXIF says.

    For results of programs that drop the orientation and leave the pixels lying.
    """
    try:
        with PIL.Image.open(source) as original:
            exif = original.getexif()
    except OSError:
        return image
    lying = PIL.Image.fromarray(image)
    lying.getexif().update({274: exif.get(274, 1)})
    return np.asarray(PIL.ImageOps.exif_transpose(lying))
