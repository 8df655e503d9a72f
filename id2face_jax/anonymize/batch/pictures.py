"""Pictures to encoded results, batch by batch, whatever they hold.

Owns what happens to each picture: it is read, anonymized with others, checked, and
encoded, or refused with a reason, and the next one goes on. Memory is bounded by one
batch. Writes nothing: `files` does, and `archives`.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import av
import cv2
import numpy as np
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.io import images, metadata
from id2face_jax.anonymize.io.images import Photo
from id2face_jax.anonymize.pipeline import stages
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer, Result
from id2face_jax.anonymize.pipeline.parallel import over_cores
from id2face_jax.anonymize.report import preview
from id2face_jax.anonymize.video.pipeline import Wishes
from id2face_jax.atomic import hash_of

ON_NO_FACE = ("copy", "refuse", "skip")
# What a file can make the libraries below raise; anything else is our own fault.
ERRORS = (
    *(ValueError, OSError, MemoryError, RuntimeError, cv2.error),
    *(av.error.FFmpegError, ort_errors.Fail, ort_errors.RuntimeException),
)
# A batch ends at this many pixels, however few pictures that is: 300 MB in work.
_MAX_BATCH_PIXELS = 40_000_000


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a user chooses about files.

    Attributes:
      on_no_face: "copy" writes a picture without faces, re-encoded; "refuse" counts it
        as refused; "skip" writes nothing.
      metadata: see the module `metadata`; of labels, whether links to the originals
        stay.
      overwrite: redo results that are there.
      aligned: pictures are aligned crops.
      dry_run: draw the faces found, each blurred, instead of anonymizing.
      batch_size: pictures in work at once.
      video: what is chosen about videos.
      members: suffixes of an archive's members that pass, though they are no text.
    """

    on_no_face: str = "refuse"
    metadata: str = "strip"
    overwrite: bool = False
    aligned: bool = False
    dry_run: bool = False
    batch_size: int = 16
    video: Wishes = Wishes()
    members: tuple[str, ...] = ()

    def __post_init__(self):
        metadata.check_policy(self.metadata)
        if self.on_no_face not in ON_NO_FACE:
            raise ValueError(
                f"on_no_face is {self.on_no_face!r}; use one of {', '.join(ON_NO_FACE)}"
            )
        if self.batch_size < 1:
            raise ValueError(f"batch size is {self.batch_size}; use 1 or more")


@dataclasses.dataclass(frozen=True)
class Item:
    """A picture to be done.

    Attributes:
      source: its name, from which a namer may tell the person.
      suffix: of the result.
      read: gives the picture when its turn comes.
      size: width and height that its labels speak of, if they say.
    """

    source: pathlib.Path
    suffix: str
    read: Callable[[], Photo]
    size: tuple[int, int] | None = None


def blank_record() -> dict:
    """A picture's record before anything is known."""
    return {
        "state": "refused",
        "message": "",
        "faces": [],
        "covered": [],
        "output_sha256": None,
        "seconds": 0.0,
    }


def refused(error: Exception) -> dict:
    """What an error adds to a record."""
    message = " ".join(str(error).split()) or type(error).__name__
    return {"state": "refused", "output_sha256": None, "message": message}


def results(
    anonymizer: Anonymizer, items: Iterable[Item], choices: Choices, people: People
) -> Iterator[tuple[dict, bytes | None]]:
    """For each item, in order, its record and the encoded result, if it has one."""
    for batch in _batches(items, choices.batch_size):
        start = time.perf_counter()
        found = _anonymized(anonymizer, batch, choices, people)
        seconds = (time.perf_counter() - start) / len(batch)
        finish = functools.partial(_record, anonymizer, choices, round(seconds, 3))
        with stages.stage("encode"):
            done = over_cores(finish, zip(batch, found, strict=True))
        yield from done


def _batches(
    items: Iterable[Item], size: int
) -> Iterator[list[tuple[Item, Photo | Exception]]]:
    """Items with their pictures, or with what went wrong as they were read."""
    batch, num_pixels = [], 0
    for item in items:
        try:
            images.output_format(item.suffix)
            with stages.stage("decode"):
                photo = item.read()
            _check_size(item, photo)
            num_pixels += photo.pixels.size // 3
        except ERRORS as error:
            photo = error
        batch.append((item, photo))
        if len(batch) == size or num_pixels > _MAX_BATCH_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch


def _check_size(item: Item, photo: Photo) -> None:
    height, width = photo.pixels.shape[:2]
    if item.size is not None and item.size != (width, height):
        raise ValueError(
            f"{item.source.name} has {width} x {height} pixels upright and its labels "
            f"are for {item.size[0]} x {item.size[1]}; they would not fit"
        )


def _anonymized(anonymizer, batch, choices, people) -> list[Result | Exception]:
    """A result for each picture that was read; what it raised for each other."""
    found: list[Result | Exception] = [photo for _, photo in batch]
    good = [i for i, photo in enumerate(found) if isinstance(photo, Photo)]

    def anonymize(rows: Sequence[int]) -> list[Result]:
        return anonymizer.anonymize_all(
            [batch[i][1].pixels for i in rows],
            aligned=choices.aligned,
            namers=[people.namer(batch[i][0].source) for i in rows],
            choosers=[people.chooser] * len(rows),
        )

    try:
        new = anonymize(good)
    except ERRORS:
        # One of them did it; alone, it stops no other.
        new = []
        for row in good:
            try:
                new += anonymize([row])
            except ERRORS as error:
                new.append(error)
    for row, result in zip(good, new, strict=True):
        found[row] = result
    return found


def _record(anonymizer, choices, seconds, work) -> tuple[dict, bytes | None]:
    """Record and encoded result of one picture; work: ((item, photo), result)."""
    (item, photo), result = work
    record, content = blank_record() | {"seconds": seconds}, None
    try:
        if isinstance(result, Exception):
            raise result
        content = _finish(anonymizer, item, photo, result, record, choices)
    except ERRORS as error:
        record |= refused(error)
    return record, content


def _finish(anonymizer, item, photo, result, record, choices) -> bytes | None:
    """The encoded result, if there is to be one; raises ValueError if it is refused."""
    record |= result.report
    faces = result.faces
    if result.state == "refused":
        num = sum(face.state == "refused" for face in faces)
        raise ValueError(f"{num} of {len(faces)} faces could not be hidden")
    if is_without_result(record, choices):
        return None
    if result.covered:
        num = len(result.covered)
        record["message"] = f"blurred {num} more that may be faces"
    if photo.alpha is not None and _shows_face(anonymizer, photo.alpha):
        raise ValueError("its transparency shows a face; flatten the picture first")
    pixels = preview.draw(result) if choices.dry_run else result.image
    content = images.encode(photo, pixels, item.suffix, choices.metadata)
    record["output_sha256"] = hash_of(content)
    return content


def is_without_result(record: dict, choices: Choices) -> bool:
    """Whether there is nothing to write; raises ValueError if that is a refusal."""
    if record["state"] != "no_face":
        return False
    num = len(record["faces"])
    kept = f"all faces, {num}, are to be kept"
    record["message"] = kept if num else "no face was found"
    if choices.on_no_face == "refuse":
        raise ValueError(f"{record['message']}; --on-no-face copy or skip allows it")
    return choices.on_no_face == "skip"


def _shows_face(anonymizer: Anonymizer, alpha: np.ndarray) -> bool:
    tools = anonymizer.tools
    grey = np.repeat(alpha[..., None], 3, axis=-1)
    return bool(tools.detector(grey, tools.settings.det_threshold))
