"""Photos of people, and windows of them whose borders cut faces."""

import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Iterator

import cv2
import numpy as np
import skimage.data
import sklearn.datasets
import tqdm

from id2face_jax.anonymize.io import images
from id2face_jax.faces import finding
from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.faces.truncated import TruncatedFaceDetector

SIZE, STRIDE = 96, 8  # of a window, of a cell; pixels
SIDE = 160  # of the photos as they are kept
SURE, DOUBTFUL = 0.5, 0.1  # scores: a face; what may be one, and is not learned from
LEAST, MOST = 14.0, 64.0  # heights of whole faces in a window, pixels
LEFT = 0.2  # share of a face's width and height below which it is not learned from
VISIBLE = (0.25, 0.8)  # shares of a cut face's width or height that are left
ANYWHERE = 0.2  # share of windows that no face was chosen for
FRAMED = 0.15  # share with borders of a photo of its own: what they cut is no guess
TURN = 20.0  # degrees
# Pictures of things, of scikit-image; test_truncated.py looks at others of it.
THINGS = ("cell", "chelsea", "clock", "coffee", "colorwheel", "horse", "retina")
THINGS += ("hubble_deep_field", "immunohistochemistry", "rocket", "text")
VIEWS = 60  # of each
EACH, HELD_OUT = 4, 7  # photos of a person at most; every so-manieth person


@dataclasses.dataclass(frozen=True)
class Photos:
    """Photos (n, SIDE, SIDE, 3) uint8, and each one's boxes and scores (m, 5)."""

    pixels: np.ndarray
    boxes: list[np.ndarray]
    held_out: np.ndarray

    def where(self, rows: np.ndarray) -> "Photos":
        boxes = [self.boxes[i] for i in np.flatnonzero(rows)]
        return Photos(self.pixels[rows], boxes, self.held_out[rows])

    @property
    def training(self) -> "Photos":
        """Of people and of things."""
        people, more = self.where(~self.held_out), things()
        return Photos(
            np.concatenate([people.pixels, more]),
            people.boxes + [np.zeros((0, 5), np.float32)] * len(more),
            np.zeros(len(people.boxes) + len(more), bool),
        )

    @property
    def testing(self) -> "Photos":
        return self.where(self.held_out)


def find(people: pathlib.Path, work: pathlib.Path) -> Photos:
    """The first photos of each person with what CenterFace says; kept in `work`."""
    kept = work / "photos.npz"
    if not kept.exists():
        folders = sorted(path for path in people.iterdir() if path.is_dir())
        photos = [
            (number, path)
            for number, folder in enumerate(folders)
            for path in sorted(folder.iterdir())[:EACH]
        ]
        detector = CenterFaceDetector()

        def look(path):
            pixels = images.to_pixels(path)
            found = detector(pixels, DOUBTFUL)
            scale = SIDE / max(pixels.shape[:2])
            small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            rows = [[*(face.box * scale), face.score] for face in found]
            return small, np.float32(rows).reshape(-1, 5)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            looks = pool.map(look, [path for _, path in photos])
            found = list(tqdm.tqdm(looks, total=len(photos)))
        np.savez(
            kept,
            pixels=np.stack([small for small, _ in found]),
            counts=[len(rows) for _, rows in found],
            boxes=np.concatenate([rows for _, rows in found]),
            people=[number for number, _ in photos],
        )
    saved = np.load(kept)
    boxes = np.split(saved["boxes"], np.cumsum(saved["counts"])[:-1])
    return Photos(saved["pixels"], boxes, saved["people"] % HELD_OUT == 0)


def seen_twice(photos: Photos, second: TruncatedFaceDetector) -> Photos:
    """Photos with what a trained second detector is sure of at their own borders.

    CenterFace misses many a bystander there, who else would be taught as no face. Where
    it doubts, and the second is sure, there is a face; of what the second alone is sure
    of nothing is learned.
    """
    boxes = []
    for pixels, known in zip(photos.pixels, photos.boxes, strict=True):
        known = known.copy()
        for place in second(pixels):
            same = [finding.is_same_face(place.box, row[:4]) for row in known]
            if any(same):
                known[same, 4] = np.maximum(known[same, 4], np.float32(SURE + 0.01))
            else:
                row = np.append(place.box, np.float32(DOUBTFUL))
                known = np.concatenate([known, row[None]])
        boxes.append(known)
    return dataclasses.replace(photos, boxes=boxes)


def things(seed: int = 0) -> np.ndarray:
    """Views (n, SIDE, SIDE, 3) of pictures without a face, near and far."""
    pictures = [np.asarray(getattr(skimage.data, name)()) for name in THINGS]
    pictures += sklearn.datasets.load_sample_images().images
    rng, views = np.random.default_rng(seed), []
    for picture in pictures:
        if picture.dtype == bool:
            picture = picture.astype(np.uint8) * 255
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=-1)
        for _ in range(VIEWS):
            side = int(min(picture.shape[:2]) * np.exp(rng.uniform(-1.5, 0)))
            y, x = (rng.integers(n - side + 1) for n in picture.shape[:2])
            view = picture[y : y + side, x : x + side, :3]
            views.append(cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack(views)


def _collage(photos: Photos, rng) -> tuple[np.ndarray, np.ndarray]:
    """Three by three photos, and all boxes."""
    picture = np.zeros((3 * SIDE, 3 * SIDE, 3), np.uint8)
    boxes = []
    for place in range(9):
        row = rng.integers(len(photos.boxes))
        pixels, found = photos.pixels[row], photos.boxes[row].copy()
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
            found[:, [0, 2]] = SIDE - found[:, [2, 0]]
        y, x = divmod(place, 3)
        picture[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE] = pixels
        # What the photo's own border hides of a face is not in its box.
        clipped = np.clip(found[:, :4], 0, SIDE)
        boxes.append(
            np.concatenate([clipped + np.tile([x, y], 2) * SIDE, found[:, 4:]], axis=1)
        )
    return picture, np.concatenate(boxes)


def cut_window(photos: Photos, rng) -> tuple[np.ndarray, np.ndarray]:
    """A window (SIZE, SIZE, 3) and its boxes, most often with a face at its border."""
    picture, boxes = _collage(photos, rng)
    way = int(rng.choice(3, p=[0.45, 0.2, 0.35]))  # as it is, heads or picture turned
    kind = rng.random()
    if kind < FRAMED:
        side = SIDE * rng.uniform(0.4, 1.0)
        corner = SIDE + rng.choice(2, size=2) * (SIDE - side)
        return _cut(picture, boxes, side, corner, 0, rng)
    if kind < FRAMED + ANYWHERE:
        side = np.exp(rng.uniform(np.log(0.3 * SIDE), np.log(2.2 * SIDE)))
        corner = rng.uniform(0, 3 * SIDE - side, 2)
        return _cut(picture, boxes, side, corner, way, rng)
    middle = np.all((boxes[:, :2] >= SIDE) & (boxes[:, 2:4] <= 2 * SIDE), axis=1)
    faces = boxes[middle & (boxes[:, 4] > SURE)]
    if not len(faces):
        return cut_window(photos, rng)
    side, corner = _at_border(faces[rng.integers(len(faces)), :4], rng)
    return _cut(picture, boxes, side, corner, way, rng)


def _at_border(box: np.ndarray, rng) -> tuple[float, np.ndarray]:
    """Side and corner, pixels of the collage, of a window whose border cuts `box`."""
    extent = box[2:] - box[:2]
    height = np.exp(rng.uniform(np.log(LEAST), np.log(MOST)))
    side = min(SIZE * extent[1] / height, 2.2 * SIDE)
    corner = np.empty(2)
    cut = rng.choice(3, p=[0.6, 0.25, 0.15])  # one border, a corner, none
    axes = {0: [rng.integers(2)], 1: [0, 1], 2: []}[int(cut)]
    for axis in (0, 1):
        low = box[axis] - max(side - extent[axis], 0)
        corner[axis] = rng.uniform(low, max(box[axis], low + 1))
        if axis in axes:
            left = rng.uniform(*VISIBLE) * extent[axis]
            if rng.random() < 0.5:
                corner[axis] = box[axis + 2] - left
            else:
                corner[axis] = box[axis] + left - side
    return side, np.clip(corner, 0, 3 * SIDE - side)


def _cut(picture, boxes, side, corner, way: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """The window, in other colors, and the boxes where they are in it."""
    scale = SIZE / side
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]])
    moved = boxes.copy()
    moved[:, :4] = (boxes[:, :4] - np.tile(corner, 2)) * scale
    if scale < 0.7:  # a warp alone would skip pixels
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 / scale)
    angle = rng.uniform(-TURN, TURN)
    turn = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), angle, 1.0)
    if way == 1:
        matrix = turn[:, :2] @ matrix + [[0, 0, turn[0, 2]], [0, 0, turn[1, 2]]]
    window = cv2.warpAffine(
        picture, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT
    )
    window = _colored(window, rng)
    if way == 2:  # the border leans, and what is beyond it is even: black, white, gray
        level = rng.choice([0.0, 255.0, rng.uniform(0, 255)], p=[0.7, 0.15, 0.15])
        window = cv2.warpAffine(window, turn, (SIZE, SIZE), borderValue=(level,) * 3)
        seen, shares = _left(moved)
        moved[shares.min(axis=1) <= LEFT, 4] = DOUBTFUL
        moved[:, :4] = seen
    if way:
        middle = (moved[:, :2] + moved[:, 2:4]) / 2
        shift = middle @ turn[:, :2].T + turn[:, 2] - middle
        moved[:, :4] += np.tile(shift, 2)
    return window, moved


def _left(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (m, 4) cut by the window, and the shares (m, 2) of both sides left."""
    seen = np.clip(boxes[:, :4], 0, SIZE)
    whole = np.maximum(boxes[:, 2:4] - boxes[:, :2], 1e-6)  # some lie outside
    return seen, (seen[:, 2:] - seen[:, :2]) / whole


def _colored(window: np.ndarray, rng) -> np.ndarray:
    """Other light, colors and sharpness, noise; sometimes gray."""
    values = window.astype(np.float32)
    if rng.random() < 0.15:
        values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.2))
    # Skin is no color of its own: an orange suit must not be a face.
    values = values @ (np.eye(3) + rng.normal(0, 0.1, (3, 3)))
    if rng.random() < 0.1:
        values = values[..., rng.permutation(3)]
    values = (values - 128) * rng.uniform(0.6, 1.4) + 128 + rng.uniform(-40, 40)
    values = values * rng.uniform(0.85, 1.15, 3)
    values += rng.normal(size=values.shape) * rng.uniform(0, 8)
    return np.clip(values, 0, 255).astype(np.uint8)


def targets(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each cell: 1 a face, 0 none, -1 not learned from; and log distances."""
    num = SIZE // STRIDE
    label = np.zeros((num, num), np.int8)
    logs = np.zeros((num, num, 4), np.float32)
    center = (np.arange(num) + 0.5) * STRIDE
    for box in boxes[np.argsort(-_area(boxes))]:  # small faces over large ones
        seen = np.clip(box[:4], 0, SIZE)
        extent, whole = seen[2:] - seen[:2], box[2:4] - box[:2]
        if min(extent) <= 0:
            continue
        inside = [(center > seen[a]) & (center < seen[a + 2]) for a in (0, 1)]
        inside = inside[1][:, None] & inside[0][None]
        good = box[4] > SURE and min(extent / whole) > LEFT and whole[1] > 0.7 * LEAST
        label[inside] = -1
        if not good or min(extent) < 5:
            continue
        middle = (seen[:2] + seen[2:]) / 2
        # The inner half of the box, and the cell of its middle in any case.
        core = [
            np.abs(center - middle[a]) <= max(extent[a] / 4, STRIDE / 2) for a in (0, 1)
        ]
        core = core[1][:, None] & core[0][None]
        label[core] = 1
        x, y = np.meshgrid(center, center)
        distances = [x - seen[0], y - seen[1], seen[2] - x, seen[3] - y]
        logs[core] = np.log(np.maximum(np.stack(distances, -1)[core], 1.0) / STRIDE)
    return label, logs


def cut_boxes(boxes: np.ndarray) -> np.ndarray:
    """What is left of the sure faces (m, 4) that the window's border cuts."""
    seen, shares = _left(boxes)
    is_large = boxes[:, 3] - boxes[:, 1] > LEAST
    left = np.all(shares >= VISIBLE[0], axis=1) & np.any(shares < VISIBLE[1], axis=1)
    return seen[left & is_large & (boxes[:, 4] > SURE)]


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0), axis=1)


def batches(photos: Photos, num: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Random windows without end, made beside the training."""

    def make(number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((seed, number))
        made = [cut_window(photos, rng) for _ in range(num)]
        labels = [targets(boxes) for _, boxes in made]
        return {
            "image": np.stack([window for window, _ in made]),
            "label": np.stack([label for label, _ in labels]),
            "box": np.stack([logs for _, logs in labels]),
        }

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, number) for number in range(3)]
        number = 3
        while True:
            yield ahead.pop(0).result()
            ahead.append(pool.submit(make, number))
            number += 1
