"""Photos to records: find the subject's face, align, embed, split, write.

Owns the choice of one face per photo, the reasons for leaving a photo out, and
resuming. Work is kept beside the target in RECORDS.partial, a chunk of photos a file,
each named after all that it depends on and put in place by a rename; what is there
after a crash is therefore whole and valid, and a rerun goes on from it. The records
themselves appear at the very end, by a rename. Leaves the format to `records`.
"""

import concurrent.futures
import csv
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence

import cv2
import msgpack
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from tqdm import tqdm

from id2face_jax.data import records
from id2face_jax.faces import align
from id2face_jax.faces.detect import CenterFaceDetector, Detection
from id2face_jax.faces.embed import Recognizer

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
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
class Photo:
    """A photo to prepare: its name and person, how to read it, its split if given.

    `read` returns RGB uint8 (h, w, 3) and may raise anything for a broken file.
    """

    name: str
    person: str
    read: Callable[[], UInt8[np.ndarray, "h w 3"]]
    split: str | None = None


@dataclasses.dataclass(frozen=True)
class _Face:
    """The prepared face of a photo, or why there is none."""

    name: str
    reason: str = ""
    image: bytes = b""
    landmarks: bytes = b""  # float32, as the next
    matrix: bytes = b""


def read_photo(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as RGB uint8, turned as its EXIF orientation says.

    Transparency is laid over white, and 16-bit grey brought to 8 bit.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            # Pillow would clip these at 255 rather than scale them.
            gray = np.asarray(image).astype(np.float64)
            gray = gray / 257 if gray.max() > 255 else gray
            image = Image.fromarray(np.clip(np.rint(gray), 0, 255).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))


def list_photos(roots: Sequence[pathlib.Path]) -> list[Photo]:
    """The photos of folders root/person/photo.jpg, or root/photo.jpg, sorted.

    A person is the folder right below a root, the same name in two roots the same
    person; a photo directly in a root is a person of its own.

    Raises:
      ValueError: a root is no folder, has no photos, or its name comes twice.
    """
    names = [root.resolve().name for root in roots]
    if len(set(names)) < len(names):
        raise ValueError(
            f"the photo folders {[str(root) for root in roots]} have the same name; "
            "records name photos after it, so rename one of them"
        )
    photos = []
    for root, root_name in zip(roots, names, strict=True):
        if not root.is_dir():
            raise ValueError(f"{root} is not a folder; expected PERSON/PHOTO.jpg in it")
        found = [
            path
            for path in sorted(root.rglob("*"))
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
        ]
        if not found:
            raise ValueError(
                f"{root} has no photos; expected PERSON/PHOTO with one of {EXTENSIONS}"
            )
        for path in found:
            inner = path.relative_to(root)
            person = inner.parts[0] if len(inner.parts) > 1 else inner.as_posix()
            read = _reader(path)
            photos.append(Photo(f"{root_name}/{inner.as_posix()}", person, read))
    return photos


def _reader(path: pathlib.Path) -> Callable[[], np.ndarray]:
    return lambda: read_photo(path)


def list_tfds(name: str, data_dir: str | None) -> list[Photo]:
    """The photos of a prepared TFDS dataset with an `image`; people from its `label`.

    Its splits are kept where they are called train, validation or test. Without a
    label each photo is a person of its own.

    Raises:
      ValueError: no such dataset there, not ArrayRecord, or no image in it.
    """
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        sources = {
            split: builder.as_data_source(split) for split in builder.info.splits
        }
    except (tfds.core.DatasetNotFoundError, NotImplementedError, OSError) as error:
        raise ValueError(
            f"cannot read the TFDS dataset {name!r} in {data_dir or 'its default'}: "
            f"{str(error).splitlines()[0]}; it must be prepared there with "
            "file_format='array_record'"
        ) from error
    features = builder.info.features
    if not sources or "image" not in features:
        raise ValueError(
            f"TFDS dataset {name!r} has splits {sorted(sources)} and features "
            f"{sorted(features)}; expected prepared splits with an 'image'"
        )
    photos = []
    for split, source in sources.items():
        kept = split if split in records.SPLITS else None
        for index in range(len(source)):
            person = f"{split}/{index}"
            if "label" in features:
                person = _label(features["label"], source[index]["label"])
            read = _item_reader(source, index)
            photos.append(Photo(f"{name}/{split}/{index}", person, read, kept))
    return photos


def _label(feature, value) -> str:
    if isinstance(feature, tfds.features.ClassLabel):
        return feature.int2str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _item_reader(source, index: int) -> Callable[[], np.ndarray]:
    def read():
        image = source[index]["image"]
        return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image

    return read


def read_splits(path: pathlib.Path) -> dict[str, str]:
    """person -> split from a CSV with the columns `person` and `split`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"person", "split"} <= set(rows.fieldnames or ()):
            raise ValueError(
                f"{path} has the columns {rows.fieldnames}; expected a header line "
                "with `person` and `split`"
            )
        splits = {row["person"]: row["split"] for row in rows}
    unknown = set(splits.values()) - set(records.SPLITS)
    if unknown:
        raise ValueError(
            f"{path} has the splits {sorted(map(str, unknown))}; expected "
            f"{', '.join(records.SPLITS)}"
        )
    return splits


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
    photo: Photo, detector: CenterFaceDetector, size: int, largest: bool
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
            matrix = align.crop_matrix(subject.landmarks, size)
        except ValueError as error:
            raise _Skip(NO_FACE) from error
        if align.scale_of(matrix) > _MAX_ENLARGEMENT:
            raise _Skip(TINY_FACE)
    except _Skip as skip:
        return _Face(photo.name, reason=str(skip))
    points = align.transform_points(matrix, subject.landmarks.astype(np.float64))
    return _Face(
        photo.name,
        image=_encode(align.crop(image, matrix, size)),
        landmarks=points.astype(np.float32).tobytes(),
        matrix=matrix.astype(np.float32).tobytes(),
    )


def _encode(image: UInt8[np.ndarray, "s s 3"]) -> bytes:
    """JPEG 95 with full colour resolution: 44 dB, and twice as quick to read as PNG."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def _decode(data: bytes) -> UInt8[np.ndarray, "s s 3"]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(pixels[..., ::-1])


def _fingerprint(*parts) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _kept(path: pathlib.Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; made, and put in place whole, if it is not there."""
    if not path.exists():
        partial = path.with_suffix(".tmp")
        partial.write_bytes(make())
        partial.rename(path)
    return path.read_bytes()


def _find_faces(
    photos: Sequence[Photo],
    staging: pathlib.Path,
    size: int,
    num_workers: int,
    largest: bool,
) -> dict[str, list[_Face]]:
    """Chunk name -> faces, from the staging folder where they are there already."""
    # One session for all threads: onnxruntime, OpenCV and Pillow release the lock.
    detector = CenterFaceDetector()
    chunks = {}
    with (
        concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
        tqdm(total=len(photos), desc="faces", unit="photo") as progress,
    ):

        def find(photo: Photo) -> tuple:
            face = _find_face(photo, detector, size, largest)
            progress.update()
            return dataclasses.astuple(face)

        for start in range(0, len(photos), CHUNK):
            part = photos[start : start + CHUNK]
            chunk = _fingerprint(size, largest, [photo.name for photo in part])
            file = staging / f"{chunk}.faces"
            was_there = file.exists()
            packed = _kept(file, lambda p=part: msgpack.packb(list(pool.map(find, p))))
            chunks[chunk] = [_Face(*fields) for fields in msgpack.unpackb(packed)]
            progress.update(len(part) if was_there else 0)
    return chunks


def _embed(
    chunks: Mapping[str, Sequence[_Face]], staging: pathlib.Path, recognizer: Recognizer
) -> dict[str, Float[np.ndarray, " d"]]:
    """Photo name -> unit embedding of its crop."""
    embeddings = {}
    for chunk, faces in tqdm(chunks.items(), desc="embeddings", unit="chunk"):
        faces = [face for face in faces if not face.reason]
        if not faces:
            continue

        def embed(faces=faces) -> bytes:
            images = [_decode(face.image) for face in faces]
            points = np.stack([_floats(face.landmarks, (5, 2)) for face in faces])
            return recognizer(images, points).astype(np.float32).tobytes()

        file = staging / f"{chunk}-{_fingerprint(recognizer.name)}.embeddings"
        vectors = _floats(_kept(file, embed), (len(faces), recognizer.dim))
        embeddings |= {face.name: v for face, v in zip(faces, vectors, strict=True)}
    return embeddings


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


def prepare(
    photos: Sequence[Photo],
    out: pathlib.Path,
    recognizer: Recognizer,
    *,
    size: int,
    num_workers: int,
    splits: Mapping[str, str],
    largest: bool,
) -> dict:
    """Writes records of `photos` to the folder `out`; the same call resumes.

    Args:
      photos: from `list_photos` or `list_tfds`.
      out: where the dataset goes.
      recognizer: makes the embeddings.
      size: side of the crops, pixels.
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
        "size": size,
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
    staging = out.with_name(out.name + ".partial")
    staging.mkdir(parents=True, exist_ok=True)
    chunks = _find_faces(photos, staging, size, num_workers, largest)
    embeddings = _embed(chunks, staging, recognizer)
    faces = {face.name: face for chunk in chunks.values() for face in chunk}
    by_split = _make_records(photos, faces, embeddings, splits)
    if not any(by_split.values()):
        raise ValueError(
            f"none of the {len(photos)} photos has a usable face: "
            f"{_count_reasons(faces.values())}"
        )
    summary = {
        "settings": settings,
        "records": {split: len(rows) for split, rows in by_split.items()},
        "people": {
            split: len({row.person for row in rows}) for split, rows in by_split.items()
        },
        "skipped": _count_reasons(faces.values()),
    }
    records.write_records(out, by_split, size, recognizer.dim, summary)
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


def _count_reasons(faces: Iterable[_Face]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for face in faces:
        if face.reason:
            reasons.setdefault(face.reason, []).append(face.name)
    return reasons


def _make_records(
    photos: Sequence[Photo],
    faces: Mapping[str, _Face],
    embeddings: Mapping[str, np.ndarray],
    given: Mapping[str, str],
) -> dict[str, list[records.Record]]:
    """Records of the photos that have a face, by split; empty splits are left out."""
    usable = [photo for photo in photos if photo.name in embeddings]
    people = sorted({photo.person for photo in usable})
    ids = {person: index for index, person in enumerate(people)}
    of_photos = {photo.person: photo.split for photo in usable if photo.split}
    splits = choose_splits(people, of_photos | dict(given))
    by_split: dict[str, list[records.Record]] = {split: [] for split in records.SPLITS}
    for photo in usable:
        face = faces[photo.name]
        by_split[splits[photo.person]].append(
            records.Record(
                image=face.image,
                landmarks=_floats(face.landmarks, (5, 2)),
                matrix=_floats(face.matrix, (2, 3)),
                embedding=embeddings[photo.name],
                person=photo.person,
                person_id=ids[photo.person],
                photo=photo.name,
            )
        )
    return {split: rows for split, rows in by_split.items() if rows}
