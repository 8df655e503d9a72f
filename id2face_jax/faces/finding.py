"""Which faces a picture has; looks twice before it believes that there is none.

And where a face may be, though it is not sure to be one. Owns the passes over scales
and turns. Boxes and points of turned or cut pictures come
back in the picture's own pixels. Leaves the network to `faces.detect`.
"""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.faces import align, truncated
from id2face_jax.faces.boxes import overlap, shared_areas, touch_border
from id2face_jax.faces.detect import MAX_LONG_SIDE, MIN_LONG_SIDE, Detection

Detector = Callable[[np.ndarray, float], list[Detection]]

# From this score on a place is surely a face. Below it hair, crowds and buttons are
# found, too: they are hidden, but no face is painted there. Of 150 photos of LFW's test
# people 15 have such places.
SURE = 0.4
# The second look: degrees to turn by, and a share of the usual score.
_TURNS = (0, 45, 90, 180, 270, 315)
_SENSITIVE = 0.5
# Shares of both detectors' own demand at which they are believed if they agree. Chosen
# on people held out from the second one's training (docs/truncated_faces/table.md).
_FAINT, _SECOND_FAINT = 0.25, 0.8
_SAME_FACE = 0.3  # intersection over union, or over the smaller box when one holds both
# Share of a doubtful face that lies in the boxes of known ones, and so is part of them.
_PART = 0.6
# The upright view in which one place is looked at again: its side in pixels, and how
# many crops wide it is.
_VIEW_SIZE, _VIEW_CROPS = 256, 2.0
_TILE_OVERLAP = 256  # pixels; a face on a seam is whole in one tile or in the overview


def find_faces(
    detector: Detector, image: UInt8[np.ndarray, "h w 3"], threshold: float
) -> list[Detection]:
    """All faces of `look`; where there are none, those of a second, closer look.

    It turns, enlarges and shrinks the picture and takes half the score.
    """
    found = look(detector, image, threshold)
    if found:
        return found
    sensitive = threshold * _SENSITIVE
    looks = [_turned(detector, image, turn, sensitive) for turn in _TURNS]
    looks += [_scaled(detector, image, scale, sensitive) for scale in (0.5, 2.0)]
    found = _merge(looks)
    # Doubtful ones count only where nothing better stands.
    return [face for face in found if face.score > threshold] or found


def split(
    faces: Sequence[Detection], threshold: float
) -> tuple[list[Detection], list[Detection]]:
    """Those that are surely faces, and those that may be."""
    least = max(SURE, threshold)
    sure = [face for face in faces if face.score >= least]
    return sure, [face for face in faces if face.score < least]


def look(
    detector: Detector, image: UInt8[np.ndarray, "h w 3"], threshold: float
) -> list[Detection]:
    """All faces with a score above `threshold`, largest first.

    A picture that the detector would shrink is also searched in tiles.
    """
    return _merge([detector(image, threshold), *_tiles(detector, image, threshold)])


def is_tiled(image: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether `look` searches tiles, too: it then takes several times as long."""
    return max(image.shape[:2]) > MAX_LONG_SIDE


def doubtful(
    detector: Detector,
    image: UInt8[np.ndarray, "h w 3"],
    threshold: float,
    known: Sequence[Detection],
    second: Detector | None = None,
    places: Sequence[Detection] = (),
) -> list[Detection]:
    """Where a face may be that is none of the known ones, largest first.

    Faces of half the score, in the picture and in it at half its size, that have the
    whole score when seen upright and large, or that the border cuts: hair, crowds and
    buttons do not. Of 273 faces cut by a border, in 300 windows of LFW's held-out
    people, this misses as many as without the second look (6.6 %), and covers something
    in 23 % of 300 whole photos, not 34 (a one-off script).

    places: that are known to be doubtful, and are part of the answer.
    second: another detector. What it is sure of counts, and what it half sees where the
    first faintly sees something, too.
    """
    faint = threshold * _FAINT
    seen = _merge([look(detector, image, faint), _scaled(detector, image, 0.5, faint)])
    found = [
        face
        for face in seen
        if face.score > threshold * _SENSITIVE
        and (
            touch_border(face.box[None], image.shape)[0]
            or _is_confirmed(detector, image, face, threshold)
        )
    ]
    found += places
    if second is not None:
        sure = truncated.THRESHOLD
        found += [
            face
            for face in second(image, sure * _SECOND_FAINT)
            if face.score > sure
            or any(is_same_face(face.box, other.box) for other in seen)
        ]
    return [face for face in _merge([found]) if not is_part(face, known)]


def _is_confirmed(detector, image, face: Detection, threshold: float) -> bool:
    """Whether there is a face of the whole score in an upright, large view of it."""
    if not is_face_shaped(face.landmarks):
        return False
    again = seen_again(detector, image, face.landmarks, threshold)
    return any(other.score > threshold for other in again)


def seen_again(
    detector: Detector,
    image: UInt8[np.ndarray, "h w 3"],
    landmarks: Float[np.ndarray, "5 2"],
    threshold: float,
) -> list[Detection]:
    """The faces that are now where a face was, in picture pixels.

    The detector sees the place upright and large, whatever the picture's size, and
    with half the score; so it finds more than it did in the source.
    """
    matrix = align.crop_matrix(landmarks, _VIEW_SIZE) / _VIEW_CROPS
    matrix[:, 2] += _VIEW_SIZE * (1 - 1 / _VIEW_CROPS) / 2
    view = align.crop(image, matrix, _VIEW_SIZE)
    back = align.invert(matrix)
    # The crop's own square: beyond it there are other faces, with checks of their own.
    low = _VIEW_SIZE * (1 - 1 / _VIEW_CROPS) / 2
    found = []
    for face in detector(view, threshold * _SENSITIVE):
        center = face.landmarks.mean(axis=0)
        if np.all((low < center) & (center < _VIEW_SIZE - low)):
            found.append(mapped(face, back))
    return [face for face in found if is_face_shaped(face.landmarks)]


def is_face_shaped(landmarks: Float[np.ndarray, "5 2"]) -> bool:
    """Whether the points fix a crop at all."""
    try:
        align.crop_matrix(landmarks, _VIEW_SIZE)
    except ValueError:
        return False
    return True


def is_part(face: Detection, known: Sequence[Detection]) -> bool:
    """Whether a face is one of the known ones, or part of one: an ear, a hairline."""
    for other in known:
        shared = float(shared_areas(face.box[None], other.box)[0])
        if shared > _PART * face.area or is_same_face(face.box, other.box):
            return True
    return False


def is_same_face(box: Float[np.ndarray, "4"], other: Float[np.ndarray, "4"]) -> bool:
    """Whether two boxes stand for one face: they share much, and neither dwarfs."""
    over_union, over_smaller = overlap(box, other)
    return over_union > _SAME_FACE or (over_smaller > 0.8 and over_union > 0.15)


def _merge(looks: list[list[Detection]]) -> list[Detection]:
    """Faces of several looks, each once (its best score), largest first."""
    kept: list[Detection] = []
    for face in sorted((f for look in looks for f in look), key=lambda f: -f.score):
        if not any(is_same_face(face.box, other.box) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: (-face.area, *face.box))


def _tiles(detector, image, threshold: float) -> Iterator[list[Detection]]:
    height, width = image.shape[:2]
    if not is_tiled(image):
        return
    for y in _starts(height):
        for x in _starts(width):
            tile = image[y : y + MAX_LONG_SIDE, x : x + MAX_LONG_SIDE]
            back = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
            yield [
                mapped(face, back)
                for face in detector(np.ascontiguousarray(tile), threshold)
                if not _is_cut(face, tile.shape, (x, y), (width, height))
            ]


def _starts(side: int) -> list[int]:
    """Where tiles begin along a side: as few as overlap enough, evenly spread."""
    step = MAX_LONG_SIDE - _TILE_OVERLAP
    num = max(1, -(-(side - _TILE_OVERLAP) // step))
    last = max(0, side - MAX_LONG_SIDE)
    return [round(i * last / max(1, num - 1)) for i in range(num)]


def _is_cut(face: Detection, tile, at, whole) -> bool:
    """Whether the tile's border, not the picture's, cuts the face's box."""
    height, width = tile[:2]
    left, top, right, bottom = face.box
    return bool(
        (left < 0 and at[0] > 0)
        or (top < 0 and at[1] > 0)
        or (right > width and at[0] + width < whole[0])
        or (bottom > height and at[1] + height < whole[1])
    )


def _turned(detector, image, turn: int, threshold: float) -> list[Detection]:
    if turn == 0:
        return detector(image, threshold)
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = np.ceil([height * sin + width * cos, height * cos + width * sin])
    matrix[:, 2] += (size - [width, height]) / 2
    turned = cv2.warpAffine(image, matrix, tuple(int(side) for side in size))
    back = align.invert(matrix)
    return [mapped(face, back) for face in detector(turned, threshold)]


def _scaled(detector, image, scale: float, threshold: float) -> list[Detection]:
    """A look at another size, where the detector would not undo the change."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if max(size) > MAX_LONG_SIDE:
        return []
    # On a black ground of at least the detector's least side, which is never enlarged.
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    least = MIN_LONG_SIDE
    ground = np.zeros((max(size[1], least), max(size[0], least), 3), np.uint8)
    ground[: size[1], : size[0]] = resized
    back = np.diag([width / size[0], height / size[1], 1.0])[:2]
    return [mapped(face, back) for face in detector(ground, threshold)]


def mapped(face: Detection, matrix: Float[np.ndarray, "2 3"]) -> Detection:
    """The face in other coordinates; its box is the bounding box of the old one's."""
    left, top, right, bottom = face.box.astype(np.float64)
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]])
    moved = align.transform_points(matrix, corners)
    landmarks = align.transform_points(matrix, face.landmarks.astype(np.float64))
    box = np.concatenate([moved.min(axis=0), moved.max(axis=0)])
    return Detection(box.astype(np.float32), face.score, landmarks.astype(np.float32))
