"""Pictures to encoded results, batch by batch, whatever they hold.

Owns what happens to each picture: it is read, anonymized with others, checked, and
encoded, or refused with a reason, and the next one goes on. Memory is bounded by one
batch. Writes nothing: `runner` does, and `archives`.
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

from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.io.images import Photo
from id2face_jax.anonymize.pipeline import stages
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer, Result
from id2face_jax.anonymize.pipeline.parallel import over_cores
from id2face_jax.anonymize.report import preview, schema
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.atomic import hash_of

# What a file can make the libraries below raise; anything else is our own fault.
ERRORS = (
    *(ValueError, OSError, MemoryError, RuntimeError, cv2.error),
    *(av.error.FFmpegError, ort_errors.Fail, ort_errors.RuntimeException),
)
# A batch ends at this many pixels, however few pictures that is: 300 MB in work.
_MAX_BATCH_PIXELS = 40_000_000


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


def results(
    anonymizer: Anonymizer, items: Iterable[Item], options: FileOptions, people: People
) -> Iterator[tuple[FileRecord, bytes | None]]:
    """For each item, in order, its record and the encoded result, if it has one."""
    for batch in _batches(items, options.batch_size):
        start = time.perf_counter()
        found = _anonymized(anonymizer, batch, options, people)
        seconds = (time.perf_counter() - start) / len(batch)
        finish = functools.partial(_record, anonymizer, options, round(seconds, 3))
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


def _anonymized(anonymizer, batch, options, people) -> list[Result | Exception]:
    """A result for each picture that was read; what it raised for each other."""
    found: list[Result | Exception] = [photo for _, photo in batch]
    good = [i for i, photo in enumerate(found) if isinstance(photo, Photo)]

    def anonymize(rows: Sequence[int]) -> list[Result]:
        return anonymizer.anonymize_all(
            [batch[i][1].pixels for i in rows],
            aligned=options.aligned,
            namers=[people.namer(batch[i][0].source) for i in rows],
            choosers=[people.chooser] * len(rows),
            on_no_face="copy" if options.on_no_face == "copy" else "refuse",
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


def _record(anonymizer, options, seconds, work) -> tuple[FileRecord, bytes | None]:
    """Record and encoded result of one picture; work: ((item, photo), result)."""
    (item, photo), result = work
    record = FileRecord(seconds=seconds)
    if isinstance(result, Exception):
        return record.refused(result), None
    parts = {name: tuple(result.report[name]) for name in ("faces", "covered")}
    record = record.replace(state=result.state, **parts)
    try:
        return _finish(anonymizer, item, photo, result, record, options)
    except ERRORS as error:
        return record.refused(error), None


def _finish(
    anonymizer, item, photo, result, record: FileRecord, options
) -> tuple[FileRecord, bytes | None]:
    """Record and result, if there is to be one; raises ValueError if it is refused."""
    if result.state == "refused":
        failed = [face for face in result.faces if face.state == "refused"]
        told = "; ".join(map(schema.describe_failure, failed))
        num = f"{len(failed)} of {len(result.faces)}"
        raise ValueError(f"{num} faces could not be hidden: {told}")
    if result.state == "no_face":
        record = without_face(record, options)
        if options.on_no_face == "skip":
            return record, None
    if result.covered:
        told = "; ".join(map(schema.describe_place, result.covered))
        message = f"blurred {len(result.covered)} places that may be faces: {told}"
        record = record.replace(message=message)
    if photo.num_views:
        told = f"{photo.num_views} further views in the file are dropped"
        record = record.replace(message="; ".join(filter(None, (record.message, told))))
    if photo.alpha is not None and _shows_face(anonymizer, photo.alpha):
        raise ValueError("its transparency shows a face; flatten the picture first")
    pixels = preview.draw(result) if options.dry_run else result.image
    content = images.encode(photo, pixels, item.suffix, options.metadata)
    return record.replace(output_sha256=hash_of(content)), content


def without_face(record: FileRecord, options: FileOptions) -> FileRecord:
    """The record of what has no face to change; raises ValueError if refused."""
    num = len(record.faces)
    message = f"all faces, {num}, are to be kept" if num else "no face was found"
    if options.on_no_face == "refuse":
        raise ValueError(f"{message}; --on-no-face copy or skip allows it")
    return record.replace(message="; ".join(filter(None, (message, record.message))))


def _shows_face(anonymizer: Anonymizer, alpha: np.ndarray) -> bool:
    tools = anonymizer.tools
    gray = np.repeat(alpha[..., None], 3, axis=-1)
    return bool(tools.detector(gray, tools.settings.det_threshold))
