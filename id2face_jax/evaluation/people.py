"""The faces that are evaluated: who, how many, in which order, with which seeds.

Owns the selection and the canonical order (person, then photo), so that no figure
depends on how files lie on a disk. Photos stay on disk; a chunk is read at a time.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, UInt8, UInt32

from id2face_jax.anonymize.identity import keys
from id2face_jax.data import pairs, photos, records
from id2face_jax.faces import align
from id2face_jax.faces import mask as face_masks

WITHOUT_PHOTOS = (
    "the records hold crops, and this method takes full photos; give --photos, the "
    "folder that they were prepared from"
)
Reader = Callable[[str], UInt8[np.ndarray, "_h _w 3"]]
# Corners in the 112 px ArcFace template, whose eyes stand 35 units apart.
_BOX = np.array([[-2.0, -8.0], [114.0, 124.0]])

Box = tuple[slice, slice]  # rows and columns of a crop


def face_box(size: int, points: Float[np.ndarray, "5 2"]) -> Box:
    """(rows, columns) of the face in an aligned crop of `size` px.

    points: where the crops have the five points, on average.
    """
    template, crop = align.TEMPLATE_112[:, 0], points[:, 0]
    scale = (crop[1] - crop[0]) / (template[1] - template[0])
    corners = (_BOX - align.TEMPLATE_112[0]) * scale + points[0]
    (left, top), (right, bottom) = np.clip(np.rint(corners), 0, size).astype(int)
    return slice(top, bottom), slice(left, right)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which identity each face gets, where a method draws one.

    Attributes:
      attempt: numbers the draws of a face; another attempt is another identity.
      key: None draws afresh for each face; with a key, a person's faces share one.
    """

    attempt: int = 0
    key: bytes | None = None


FRESH = Draw()


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some faces on their way through a method.

    Attributes:
      images: aligned crops, RGB.
      landmarks: five points a crop, (x, y) pixels.
      masks: identity region in [0, 1].
      embeddings: unit, of the built-in recognizer, from the records.
      rows: which faces of the People these are.
      digests: what the crops hold, see anonymize.keys.
      names: whose faces they are.
      draw: of identities.
      seed: of the evaluation.
    """

    images: UInt8[np.ndarray, "n s s 3"]
    landmarks: Float[np.ndarray, "n 5 2"]
    masks: Float[np.ndarray, "n s s"]
    embeddings: Float[np.ndarray, "n d"]
    rows: Int[np.ndarray, " n"]
    digests: tuple[bytes, ...]
    names: tuple[str, ...]
    draw: Draw
    seed: int

    def noise_seeds(self) -> UInt32[np.ndarray, " n"]:
        """Seeds of the start noise, a function of (seed, crop), as the product's."""
        seeds = [keys.noise_seed(self.seed, digest, 0) for digest in self.digests]
        return np.array(seeds, np.uint32)

    def latents(self, dim: int) -> Float[np.ndarray, "n dim"]:
        """Standard normal identity latents, drawn as the product draws them."""
        draw = self.draw
        if draw.key is not None:
            named = [
                keys.keyed_latent(draw.key, name, draw.attempt, dim)
                for name in self.names
            ]
            return np.stack(named)
        drawn = [
            keys.random_latent(self.seed, digest, draw.attempt, dim)
            for digest in self.digests
        ]
        return np.stack(drawn)


@dataclasses.dataclass(frozen=True)
class People:
    """The faces to evaluate, sorted by person and photo.

    Attributes:
      source: the records.
      order: (n,) record of each face.
      names: of the people, sorted.
      persons: (n,) index into names.
      photos: (n,) which photo each face is.
      landmarks, embeddings: as in Batch, of all faces.
      matrices: photo -> crop of each face.
      eye_distance: (n,) pixels in the photo the face came from.
      contents: (n,) hex digest of each crop.
      size: pixels of a crop's side.
      seed: of the evaluation.
      read_photo: a full photo by its name; None where there are crops alone.
    """

    source: pairs.Source
    order: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    persons: Int[np.ndarray, " n"]
    photos: tuple[str, ...]
    landmarks: Float[np.ndarray, "n 5 2"]
    embeddings: Float[np.ndarray, "n d"]
    matrices: Float[np.ndarray, "n 2 3"]
    eye_distance: Float[np.ndarray, " n"]
    contents: tuple[str, ...]
    size: int
    seed: int
    read_photo: Reader | None = None

    def __len__(self) -> int:
        return len(self.order)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of who and what is evaluated, photo by photo."""
        text = "\n".join(
            f"{self.names[person]}/{content}"
            for person, content in zip(self.persons, self.contents, strict=True)
        )
        return _digest(text.encode())

    @property
    def face_box(self) -> Box:
        """The face's rows and columns in these crops, for the controls."""
        return face_box(self.size, self.landmarks.mean(axis=0))

    def images(self, rows: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m s s 3"]:
        """The untouched crops of some faces, read now."""
        return np.stack([self.source[int(i)]["image"] for i in self.order[rows]])

    def photo(self, row: int) -> UInt8[np.ndarray, "h w 3"]:
        """The full photo that a face is from, read now."""
        if self.read_photo is None:
            raise ValueError(WITHOUT_PHOTOS)
        return self.read_photo(self.photos[row])

    def batch(self, rows: Int[np.ndarray, " m"], draw: Draw = FRESH) -> Batch:
        """The faces of some rows, ready for a method."""
        masks = [face_masks.face_mask(self.landmarks[i], self.size) for i in rows]
        images = self.images(rows)
        return Batch(
            images,
            self.landmarks[rows],
            np.stack(masks).astype(np.float32),
            self.embeddings[rows],
            rows,
            tuple(keys.face_digest(image) for image in images),
            tuple(self.names[person] for person in self.persons[rows]),
            draw,
            self.seed,
        )


def photo_reader(folder: pathlib.Path) -> Reader:
    """Reads the photos that records name, from the folder they were prepared from."""

    def read(name: str) -> UInt8[np.ndarray, "h w 3"]:
        # Records name a photo after the folder that was given to `prepare`.
        for path in (folder / name.partition("/")[2], folder / name):
            if path.is_file():
                return photos.read_photo(path)
        raise ValueError(
            f"{folder} has no photo {name.partition('/')[2]}, which the records name; "
            "give the folder that they were prepared from"
        )

    return read


def open_people(
    path: pathlib.Path,
    split: str,
    limit: int | None,
    seed: int,
    full_photos: pathlib.Path | None = None,
) -> People:
    """The faces of one split of a folder of records.

    Args:
      path: folder that `id2face prepare` wrote.
      split: which people.
      limit: at most so many photos; people are taken whole, in an order drawn from
        their names, so that a limited run is a fair sample and nests in larger ones.
      seed: of the evaluation.
      full_photos: folder that the records were prepared from; None: not at hand.

    Raises:
      ValueError: fewer than two people.
    """
    reader = full_photos and photo_reader(full_photos)
    return select(records.open_records(path, split), limit, seed, reader)


def select(
    source: pairs.Source, limit: int | None, seed: int, reader: Reader | None = None
) -> People:
    """`open_people` for records that are open, with the full photos' reader."""
    faces = [_describe(source[i]) for i in range(len(source))]
    chosen = _choose([face["person"] for face in faces], limit)
    order = sorted(chosen, key=lambda i: (faces[i]["person"], faces[i]["photo"]))
    faces = [faces[i] for i in order]
    who = np.array([face["person"] for face in faces], np.str_)
    names, persons = np.unique(who, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"the photos show {len(names)} person; an evaluation compares people with "
            "each other, so give at least two, or a higher --limit"
        )
    return People(
        source,
        np.array(order),
        tuple(map(str, names)),
        persons,
        tuple(face["photo"] for face in faces),
        np.stack([face["landmarks"] for face in faces]),
        np.stack([face["embedding"] for face in faces]),
        np.stack([face["matrix"] for face in faces]),
        np.array([face["eye_distance"] for face in faces]),
        tuple(face["content"] for face in faces),
        faces[0]["size"],
        seed,
        reader,
    )


def _describe(record: dict) -> dict:
    """What is kept of a record in memory: all but its pixels."""
    # Columns of the photo-to-crop similarity are as long as the crop is enlarged.
    scale = np.linalg.norm(np.asarray(record["matrix"], np.float64)[:, 0])
    left, right = record["landmarks"][:2]
    return {
        "person": record["person"],
        "photo": record["photo"],
        "landmarks": np.asarray(record["landmarks"], np.float32),
        "embedding": np.asarray(record["embedding"], np.float32),
        "matrix": np.asarray(record["matrix"], np.float32),
        "eye_distance": float(np.linalg.norm(right - left) / scale),
        "content": _digest(record["image"].tobytes()),
        "size": record["image"].shape[0],
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _choose(persons: list[str], limit: int | None) -> list[int]:
    """Rows of at most `limit` photos, person by person; all when limit is None."""
    if limit is None or limit >= len(persons):
        return list(range(len(persons)))
    rows: dict[str, list[int]] = {}
    for row, person in enumerate(persons):
        rows.setdefault(person, []).append(row)
    chosen: list[int] = []
    for person in sorted(rows, key=lambda name: _digest(name.encode())):
        if len(chosen) + len(rows[person]) <= limit:
            chosen += rows[person]
    return chosen
