"""Photos to records: find the subject's face, align, embed, split, write.

Owns the choice of one face per photo, the reasons for leaving a photo out, and
resuming. Work is kept beside the target in RECORDS.partial, a chunk of photos a file,
each named after all that it depends on and put in place by a rename; what is there
after a crash is therefore whole and valid, and a rerun goes on from it. For the same
reason processes and machines can share the work: each makes every n-th chunk (`share`),
and `prepare` then finds them all. The records themselves appear at the very end, by a
rename. Leaves the format to `records`.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import cv2
import msgpack
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from id2face_jax.data import records
from id2face_jax.data.photos import Photo
from id2face_jax.data.records import Crop
from id2face_jax.faces import align
from id2face_jax.faces.detect import CenterFaceDetector, Detection
from id2face_jax.faces.embed import Recognizer

VALIDATION_SHARE = 0.04  # of the people that nobody assigned to a split
CHUNK = 256  # photos whose work is lost, at most, by a crash

# Reasons for leaving a photo out.
CORRUPT, TINY_PHOTO, NO_FACE, SEVERAL_FACES, TINY_FACE = (
    "corrupt",
    "photo too small",
    "no face",
    "several faces, none of them clearly the subject",
    "face too small",
)
_MIN_PHOTO = 32  # pixels of the short side
_MAX_ENLARGEMENT = 2.0  # crop pixels per photo pixel; beyond it the crop is a blur
# A second face this prominent, as a share of the first, makes the subject unclear.
_RIVAL = 0.75


class _Skip(Exception):
    """This photo makes no record; the message is one of the reasons above."""


@dataclasses.dataclass(frozen=True)
class _Face:
    """The prepared face of a photo, or why there is none."""

    name: str
    reason: str = ""
    image: bytes = b""
    landmarks: bytes = b""  # float32, as the next
    matrix: bytes = b""


def choose_subject(
    faces: Sequence[Detection], height: int, width: int, largest: bool
) -> Detection:
    """The face that the photo is of: large and central.

    Args:
      faces: all faces found.
      height, width: of the photo, pixels.
      largest: go by size alone, and never find two faces equal.
    """
    if not faces:
        raise _Skip(NO_FACE)
    if largest:
        return max(faces, key=lambda face: face.area)
    middle = np.array([width, height]) / 2

    def prominence(face: Detection) -> float:
        offset = (face.box[:2] + face.box[2:]) / 2 - middle
        distance = np.linalg.norm(offset) / np.linalg.norm(middle)
        return face.area**0.5 * max(0.05, 1 - distance)

    first, *others = sorted(faces, key=prominence, reverse=True)
    if others and prominence(others[0]) > _RIVAL * prominence(first):
        raise _Skip(SEVERAL_FACES)
    return first


def _find_face(
    photo: Photo, detector: CenterFaceDetector, crop: Crop, largest: bool
) -> _Face:
    """Detects and aligns; every way to fail becomes a reason."""
    try:
        try:
            image = photo.read()
        except Exception as error:  # decoders raise anything on broken files
            raise _Skip(CORRUPT) from error
        height, width = image.shape[:2]
        if min(height, width) < _MIN_PHOTO:
            raise _Skip(TINY_PHOTO)
        subject = choose_subject(detector(image), height, width, largest)
        try:
            matrix = align.crop_matrix(subject.landmarks, crop.size, crop.geometry)
        except ValueError as error:
            raise _Skip(NO_FACE) from error
        if align.scale_of(matrix) > _MAX_ENLARGEMENT:
            raise _Skip(TINY_FACE)
    except _Skip as skip:
        return _Face(photo.name, reason=str(skip))
    points = align.transform_points(matrix, subject.landmarks.astype(np.float64))
    return _Face(
        photo.name,
        image=encode_crop(align.crop(image, matrix, crop.size)),
        landmarks=points.astype(np.float32).tobytes(),
        matrix=matrix.astype(np.float32).tobytes(),
    )


def encode_crop(image: UInt8[np.ndarray, "s s 3"]) -> bytes:
    """JPEG 95 with full color resolution: 44 dB, and twice as quick to read as PNG."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def decode_crop(data: bytes) -> UInt8[np.ndarray, "s s 3"]:
    """The pixels of what `encode_crop` made."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(pixels[..., ::-1])


def _fingerprint(*parts) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _find_faces(
    photos: Sequence[Photo],
    staging: pathlib.Path,
    crop: Crop,
    num_workers: int,
    largest: bool,
    shard: tuple[int, int] = (0, 1),
) -> list[pathlib.Path]:
    """Files of `_Face`s, a chunk each; those in the staging folder stay as they are.

    shard: (i, n): the chunks i, i + n, i + 2n, ... alone.
    """
    # One session for all threads: onnxruntime, OpenCV and Pillow release the lock.
    detector = CenterFaceDetector()
    starts = range(shard[0] * CHUNK, len(photos), shard[1] * CHUNK)
    total, files = sum(min(CHUNK, len(photos) - x) for x in starts), []
    with (
        concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
        tqdm(total=total, desc="faces", unit="photo") as progress,
    ):

        def find(photo: Photo) -> tuple:
            face = _find_face(photo, detector, crop, largest)
            progress.update()
            return dataclasses.astuple(face)

        for start in starts:
            part = photos[start : start + CHUNK]
            names = [photo.name for photo in part]
            chunk = _fingerprint(crop.settings(), largest, names)
            files.append(staging / f"{chunk}.faces")
            if files[-1].exists():
                progress.update(len(part))
            else:
                _write_whole(files[-1], msgpack.packb(list(pool.map(find, part))))
    return files


def _write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    partial = path.with_suffix(".tmp")
    partial.write_bytes(data)
    partial.rename(path)


def _read_faces(file: pathlib.Path) -> list[_Face]:
    return [_Face(*fields) for fields in msgpack.unpackb(file.read_bytes())]


def _embed(files: Sequence[pathlib.Path], recognizer: Recognizer) -> list[pathlib.Path]:
    """Files of unit embeddings, beside those of the faces, in their order."""
    embedded = []
    for file in tqdm(files, desc="embeddings", unit="chunk"):
        name = f"{file.stem}-{_fingerprint(recognizer.name)}.embeddings"
        embedded.append(file.with_name(name))
        if embedded[-1].exists():
            continue
        faces = [face for face in _read_faces(file) if not face.reason]
        points = [_floats(face.landmarks, (5, 2)) for face in faces]
        vectors = recognizer(
            [decode_crop(face.image) for face in faces],
            np.stack(points) if points else np.zeros((0, 5, 2), np.float32),
        )
        _write_whole(embedded[-1], vectors.astype(np.float32).tobytes())
    return embedded


def _floats(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(data, np.float32).reshape(shape)


def choose_splits(people: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """person -> split: as given, and a small share of train people held out.

    People given as test or validation stay so. Of the others, VALIDATION_SHARE go to
    validation, chosen by a hash of the name, so that more photos change nothing; a
    set too small to spare anyone keeps all of them.
    """
    splits = {person: given.get(person, "train") for person in people}
    free = [person for person, split in splits.items() if split == "train"]
    if len(free) * VALIDATION_SHARE >= 1:
        for person in free:
            share = int(hashlib.sha256(person.encode()).hexdigest()[:8], 16) / 2**32
            if share < VALIDATION_SHARE:
                splits[person] = "validation"
    return splits


def share(
    photos: Sequence[Photo],
    out: pathlib.Path,
    recognizer: Recognizer,
    shard: tuple[int, int],
    *,
    crop: Crop,
    num_workers: int,
    largest: bool,
) -> int:
    """Does one n-th of the work of `prepare`, and leaves it where that looks for it.

    Args:
      shard: (i, n), 0 <= i < n: which part of how many.
      The others as of `prepare`, and the same in all parts.

    Returns:
      Photos looked at.
    """
    staging = _staging(out)
    files = _find_faces(photos, staging, crop, num_workers, largest, shard)
    _embed(files, recognizer)
    return sum(len(_read_faces(file)) for file in files)


def _staging(out: pathlib.Path) -> pathlib.Path:
    folder = out.with_name(out.name + ".partial")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare(
    photos: Sequence[Photo],
    out: pathlib.Path,
    recognizer: Recognizer,
    *,
    crop: Crop,
    num_workers: int,
    splits: Mapping[str, str],
    largest: bool,
) -> dict:
    """Writes records of `photos` to the folder `out`; the same call resumes.

    Args:
      photos: from `photos.list_photos` or `photos.list_tfds`.
      out: where the dataset goes.
      recognizer: makes the embeddings.
      crop: what the crops are.
      num_workers: threads that decode and detect.
      splits: person -> split, for those it names; see `choose_splits`.
      largest: take the largest face of a photo, not the clearly central one.

    Returns:
      The summary: "settings", "records" and "people" by split, "skipped" photos by
      reason.

    Raises:
      ValueError: `out` is there and holds something else, or no photo has a face.
    """
    settings = {
        **crop.settings(),
        "largest": largest,
        "recognizer": recognizer.name,
        "photos": len(photos),
        "fingerprint": _fingerprint(
            [(photo.name, photo.person, photo.split) for photo in photos],
            sorted(splits.items()),
        ),
    }
    if out.exists():
        return _finished(out, settings)
    staging = _staging(out)
    files = _find_faces(photos, staging, crop, num_workers, largest)
    embedded = _embed(files, recognizer)
    reasons = {face.name: face.reason for file in files for face in _read_faces(file)}
    usable = [photo for photo in photos if not reasons[photo.name]]
    if not usable:
        raise ValueError(
            f"none of the {len(photos)} photos has a usable face: "
            f"{dict(Counter(reasons.values()))}"
        )
    of_person = _split_people(usable, splits)
    summary = _summarize(settings, usable, of_person, reasons)
    write = {
        split: _Split(usable, of_person, files, embedded, split, recognizer.dim)
        for split in summary["records"]
    }
    records.write_records(out, write, crop.size, recognizer.dim, summary)
    shutil.rmtree(staging)
    return summary


def _finished(out: pathlib.Path, settings: dict) -> dict:
    """The summary of an earlier run with the same settings."""
    file = out / records.SUMMARY
    summary = json.loads(file.read_text()) if file.exists() else {}
    if summary.get("settings") != settings:
        raise ValueError(
            f"{out} exists and was made from {summary.get('settings', 'elsewhere')}, "
            f"not {settings}; delete it or choose another --out"
        )
    return summary


def _split_people(usable: Sequence[Photo], given: Mapping[str, str]) -> dict[str, str]:
    """person -> split; what the photo's own dataset says yields to `given`."""
    of_photos = {photo.person: photo.split for photo in usable if photo.split}
    return choose_splits({photo.person for photo in usable}, of_photos | dict(given))


def _summarize(
    settings: dict,
    usable: Sequence[Photo],
    of_person: Mapping[str, str],
    reasons: Mapping[str, str],
) -> dict:
    faces = Counter(of_person[photo.person] for photo in usable)
    people = Counter(of_person.values())
    skipped: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            skipped.setdefault(reason, []).append(name)
    used = [split for split in records.SPLITS if people[split]]
    return {
        "settings": settings,
        "records": {split: faces[split] for split in used},
        "people": {split: people[split] for split in used},
        "skipped": skipped,
    }


@dataclasses.dataclass(frozen=True)
class _Split:
    """The records of one split, read from the staging files as they are written."""

    photos: Sequence[Photo]
    of_person: Mapping[str, str]
    files: Sequence[pathlib.Path]
    embedded: Sequence[pathlib.Path]
    split: str
    dim: int

    def __iter__(self) -> Iterator[records.Record]:
        ids = {person: index for index, person in enumerate(sorted(self.of_person))}
        person_of = {photo.name: photo.person for photo in self.photos}
        for file, vectors in zip(self.files, self.embedded, strict=True):
            faces = [face for face in _read_faces(file) if not face.reason]
            embeddings = _floats(vectors.read_bytes(), (len(faces), self.dim))
            for face, embedding in zip(faces, embeddings, strict=True):
                person = person_of[face.name]
                if self.of_person[person] == self.split:
                    yield records.Record(
                        image=face.image,
                        landmarks=_floats(face.landmarks, (5, 2)),
                        matrix=_floats(face.matrix, (2, 3)),
                        embedding=embedding,
                        person=person,
                        person_id=ids[person],
                        photo=face.name,
                    )
