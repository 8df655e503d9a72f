"""A run over files: read, anonymize in batches, write, record.

Owns what happens to each file, whatever it holds: its result is written whole, and
recorded, or it is refused with a reason, and the run goes on. Memory is bounded by one
batch. Leaves which files there are to `inputs`, the record to `ledger`, and the faces
to `anonymizer`.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import av
import cv2
import numpy as np
import tqdm
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from id2face_jax.anonymize import (
    images,
    metadata,
    preview,
    report,
    video,
    video_files,
)
from id2face_jax.anonymize.anonymizer import Anonymizer, Chooser, Namer, Result
from id2face_jax.anonymize.images import Photo
from id2face_jax.anonymize.inputs import Job
from id2face_jax.anonymize.ledger import (
    Ledger,
    hash_of,
    hash_of_file,
    part_of,
    write_atomically,
)
from id2face_jax.anonymize.video import Wishes

ON_NO_FACE = ("copy", "refuse", "skip")
# A batch ends at this many pixels, however few pictures that is: 300 MB in work.
_MAX_BATCH_PIXELS = 40_000_000
# What a file can make the libraries below raise; anything else is our own fault.
_PICTURE_ERRORS = (
    *(ValueError, OSError, MemoryError, RuntimeError, cv2.error),
    *(av.error.FFmpegError, ort_errors.Fail, ort_errors.RuntimeException),
)


@dataclasses.dataclass(frozen=True)
class Choices:
    """What a user chooses about files.

    Attributes:
      on_no_face: "copy" writes a picture without faces, re-encoded; "refuse" counts it
        as refused; "skip" writes nothing.
      metadata: see the module `metadata`.
      overwrite: redo results that are there.
      aligned: pictures are aligned crops.
      dry_run: draw the faces found, each blurred, instead of anonymizing.
      batch_size: pictures in work at once.
      video: what is chosen about videos.
    """

    on_no_face: str = "refuse"
    metadata: str = "strip"
    overwrite: bool = False
    aligned: bool = False
    dry_run: bool = False
    batch_size: int = 16
    video: Wishes = Wishes()

    def __post_init__(self):
        metadata.check_policy(self.metadata)
        if self.on_no_face not in ON_NO_FACE:
            raise ValueError(
                f"on_no_face is {self.on_no_face!r}; use one of {', '.join(ON_NO_FACE)}"
            )
        if self.batch_size < 1:
            raise ValueError(f"batch size is {self.batch_size}; use 1 or more")


@dataclasses.dataclass(frozen=True)
class People:
    """Whose faces, and which: a namer for each file, and one chooser."""

    namer: Callable[[pathlib.Path], Namer | None] = lambda source: None
    chooser: Chooser | None = None


def run(
    anonymizer: Anonymizer,
    jobs: Sequence[Job],
    book: Ledger,
    choices: Choices,
    people: People,
    quiet: bool = False,
) -> list[dict]:
    """Works through all jobs and returns their records, those done before first.

    quiet: no progress bar on stderr.
    """
    record = report.run_record(anonymizer.tools, **dataclasses.asdict(choices))
    run_id = hash_of(json.dumps(record, sort_keys=True).encode())[:12]
    book.add_run(run_id, record)
    done = {job for job in jobs if _is_done(job, book, choices)}
    todo = [job for job in jobs if job not in done]
    records = [book.records[book.relative(job.output)] for job in jobs if job in done]
    with tqdm.tqdm(
        total=len(jobs), initial=len(done), unit="file", disable=quiet
    ) as bar:
        for batch in _batches([j for j in todo if not is_video(j)], book, choices):
            records += _work(anonymizer, batch, book, choices, people, run_id)
            bar.update(len(batch))
        for job in filter(is_video, todo):
            records.append(_work_video(anonymizer, job, book, choices, people, run_id))
            bar.update()
    return records


def is_video(job: Job) -> bool:
    """Whether the input is a video, by its suffix."""
    return job.source.suffix.lower() in video_files.SUFFIXES


def _is_done(job: Job, book: Ledger, choices: Choices) -> bool:
    if choices.overwrite or job.error or not job.source.is_file():
        return False
    return book.is_done(job.source, job.output)


def _batches(
    jobs: Iterable[Job], book: Ledger, choices: Choices
) -> Iterator[list[tuple[Job, Photo | Exception]]]:
    """Jobs with their pictures, or with what went wrong as they were read."""
    batch, num_pixels = [], 0
    for job in jobs:
        try:
            _check(job, book, choices)
            images.output_format(job.output.suffix)
            photo = images.read(job.source)
            num_pixels += photo.pixels.size // 3
        except _PICTURE_ERRORS as error:
            photo = error
        batch.append((job, photo))
        if len(batch) == choices.batch_size or num_pixels > _MAX_BATCH_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch


def _check(job: Job, book: Ledger, choices: Choices) -> None:
    """Raises ValueError if the job cannot be begun."""
    if job.error:
        raise ValueError(f"{job.source.name} {job.error}")
    exists = job.output.exists() and not book.owns(job.output)
    if exists and not choices.overwrite:
        raise ValueError(
            f"{job.output} exists and is no result of id2face; --overwrite would "
            "replace it"
        )


def _record(job: Job, book: Ledger, run_id: str) -> dict:
    """A file's record before anything is known."""
    return {
        "input": str(job.source),
        "output": None if job.error else book.relative(job.output),
        "state": "refused",
        "message": "",
        "faces": [],
        "output_sha256": None,
        "seconds": 0.0,
        "run": run_id,
    }


def _refuse(job: Job, record: dict, error: Exception, book: Ledger) -> None:
    """Records why a file has no result."""
    record |= {"state": "refused", "output_sha256": None}
    record["message"] = " ".join(str(error).split()) or type(error).__name__
    if not job.error:
        _remove_own(job, book)
    book.add(record)


def _work(anonymizer, batch, book, choices, people, run_id) -> list[dict]:
    """The records of one batch, after its results have been written."""
    start = time.perf_counter()
    results = _results(anonymizer, batch, choices, people)
    seconds = (time.perf_counter() - start) / len(batch)
    records = []
    for (job, photo), result in zip(batch, results, strict=True):
        record = _record(job, book, run_id)
        record["seconds"] = round(seconds, 3)
        try:
            if isinstance(result, Exception):
                raise result
            _finish(anonymizer, job, photo, result, record, book, choices)
        except _PICTURE_ERRORS as error:
            _refuse(job, record, error, book)
        records.append(record)
    return records


def _work_video(anonymizer, job, book, choices, people, run_id) -> dict:
    """The record of a video, after its result has been written."""
    start, record = time.perf_counter(), _record(job, book, run_id)
    try:
        _check(job, book, choices)
        if choices.dry_run or job.output.suffix.lower() not in video_files.SUFFIXES:
            raise ValueError(
                f"a video becomes a video, {' '.join(video_files.SUFFIXES)}, and a dry "
                "run shows photos alone"
            )
        with part_of(job.output) as part:
            tally, flicker, remark = video.anonymize(
                anonymizer.tools,
                job.source,
                part,
                job.output.suffix.lower(),
                choices.video,
                namer=people.namer(job.source),
                chooser=people.chooser,
            )
            record |= {"state": tally.state, "faces": tally.records()}
            record |= {"flicker": flicker, "frames": tally.num_frames}
            record["message"] = remark
            if _is_without_result(record, choices):
                raise _NoResult
            record["output_sha256"] = hash_of_file(part)
            record["seconds"] = round(time.perf_counter() - start, 3)
            book.add(record)
    except _NoResult:
        _remove_own(job, book)
        book.add(record)
    except _PICTURE_ERRORS as error:
        _refuse(job, record, error, book)
    return record


def _results(anonymizer, batch, choices, people) -> list[Result | Exception]:
    """A result for each picture that was read; what it raised for each other."""
    results: list[Result | Exception] = [photo for _, photo in batch]
    good = [i for i, photo in enumerate(results) if isinstance(photo, Photo)]

    def anonymize(rows: Sequence[int]) -> list[Result]:
        return anonymizer.anonymize_all(
            [batch[i][1].pixels for i in rows],
            aligned=choices.aligned,
            namers=[people.namer(batch[i][0].source) for i in rows],
            choosers=[people.chooser] * len(rows),
        )

    try:
        new = anonymize(good)
    except _PICTURE_ERRORS:
        # One of them did it; alone, it stops no other.
        new = []
        for row in good:
            try:
                new += anonymize([row])
            except _PICTURE_ERRORS as error:
                new.append(error)
    for row, result in zip(good, new, strict=True):
        results[row] = result
    return results


def _finish(anonymizer, job, photo, result, record, book, choices) -> None:
    """Records and writes a result; raises ValueError if it is refused."""
    record |= result.report
    faces = result.faces
    if result.state == "refused":
        refused = sum(face.state == "refused" for face in faces)
        raise ValueError(f"{refused} of {len(faces)} faces could not be hidden")
    if _is_without_result(record, choices):
        _remove_own(job, book)
        book.add(record)
        return
    if photo.alpha is not None and _shows_face(anonymizer, photo.alpha):
        raise ValueError("its transparency shows a face; flatten the picture first")
    pixels = preview.draw(result) if choices.dry_run else result.image
    content = images.encode(photo, pixels, job.output.suffix, choices.metadata)
    record["output_sha256"] = hash_of(content)
    book.add(record)
    write_atomically(job.output, content)


class _NoResult(Exception):
    """A video without faces, under `skip`."""


def _is_without_result(record: dict, choices: Choices) -> bool:
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


def _remove_own(job: Job, book: Ledger) -> None:
    """Takes away a result of an earlier run that this one does not stand by."""
    if book.owns(job.output):
        job.output.unlink()
