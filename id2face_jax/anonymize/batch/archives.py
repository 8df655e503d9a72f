"""WebDataset archives, streamed through: pictures anonymized, samples kept or refused.

A sample that holds what may not leave is refused unless the user let its suffix pass. A
refused sample is left out as a whole: labels without their picture would stand for
nothing. Order, names and headers stay. Memory is bounded by a group of samples. Leaves
what a sample is to `labels.webdataset`.
"""

import copy
import io
import itertools
import os
import pathlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence

from id2face_jax.anonymize.batch import pictures
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.batch.pictures import Item
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.report.record import FileRecord
from id2face_jax.labels import webdataset
from id2face_jax.labels.webdataset import Sample

_MAX_GROUP_BYTES = 200_000_000


def anonymize(
    anonymizer: Anonymizer,
    source: pathlib.Path,
    part: pathlib.Path,
    options: FileOptions,
    people: People,
) -> tuple[list[FileRecord], list[str], int]:
    """Writes the archive `source` anew to `part`.

    Returns the records of its pictures, each with the member's name as its output; the
    keys of the samples that were left out; and how many were written.

    Raises ValueError if the archive is damaged.
    """
    records, dropped, num_written = [], [], 0
    with open(part, "wb") as file, tarfile.open(fileobj=file, mode="w") as result:
        samples = webdataset.samples(source, images.FORMATS)
        for group in _groups(samples, options.batch_size):
            for sample, found in _done(anonymizer, source, group, options, people):
                records += found
                if sample.members:
                    num_written += 1
                else:
                    dropped.append(sample.key)
                for member in sample.members:
                    info = copy.copy(member.info)
                    info.size = len(member.content)
                    result.addfile(info, io.BytesIO(member.content))
    return records, dropped, num_written


def _groups(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    group, num_pictures, num_bytes = [], 0, 0
    for sample in samples:
        group.append(sample)
        num_pictures += len(sample.pictures)
        num_bytes += sum(len(member.content) for member in sample.members)
        if num_pictures >= size or num_bytes > _MAX_GROUP_BYTES:
            yield group
            group, num_pictures, num_bytes = [], 0, 0
    if group:
        yield group


def _done(
    anonymizer, source, group: Sequence[Sample], options, people
) -> Iterator[tuple[Sample, list[FileRecord]]]:
    """The samples as they are to be written, empty if not at all, with records."""
    problems = [webdataset.problem(sample, options.members) for sample in group]
    good = [s for s, problem in zip(group, problems, strict=True) if problem is None]
    items = [
        Item(
            source / os.path.basename(member.info.name),
            member.suffix,
            lambda member=member: images.read_stream(
                io.BytesIO(member.content), member.info.name
            ),
        )
        for sample in good
        for member in sample.pictures
    ]
    results = pictures.results(anonymizer, items, options, people)
    for sample, problem in zip(group, problems, strict=True):
        if problem is not None:
            yield Sample(sample.key, []), _refused_records(sample, problem)
            continue
        found = list(itertools.islice(results, len(sample.pictures)))
        new = _rewritten(sample, found, options)
        yield new, _records(sample, found, new.dropped)


def _refused_records(sample: Sample, problem: ValueError) -> list[FileRecord]:
    names = [member.info.name for member in sample.pictures] or [sample.key]
    return [FileRecord(output=name).refused(problem) for name in names]


def _records(
    sample: Sample,
    found: Sequence[tuple[FileRecord, bytes | None]],
    dropped: set[str],
) -> list[FileRecord]:
    is_whole = all(content is not None for _, content in found)
    records = []
    for member, (record, content) in zip(sample.pictures, found, strict=True):
        if content is not None and not is_whole:
            lost = ValueError("another picture of its sample has no result")
            record = record.refused(lost)
        if dropped:
            lost = f"its labels lost {', '.join(sorted(dropped))}"
            record = record.replace(
                message="; ".join(filter(None, (record.message, lost)))
            )
        records.append(record.replace(output=member.info.name))
    return records


def _rewritten(sample: Sample, found, options: FileOptions) -> Sample:
    contents = [content for _, content in found]
    if None in contents:
        return Sample(sample.key, [])
    keep_links = options.metadata == "all"
    return webdataset.rewritten(sample, contents, keep_links, options.members)
