"""WebDataset archives: tar files of samples, streamed through.

A sample is a run of members whose names differ after the first dot only. Its pictures
are anonymized; its texts pass byte for byte, except links to the originals in JSON; any
other member may hold the face, so it refuses the sample unless the user let its suffix
pass. A refused sample is left out as a whole: labels without their picture would stand
for nothing. Order, names and headers stay. Memory is bounded by a group of samples.
"""

import copy
import dataclasses
import io
import itertools
import json
import os
import pathlib
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence

from id2face_jax.anonymize.batch import pictures
from id2face_jax.anonymize.batch.pictures import Choices, Item, People
from id2face_jax.anonymize.io import images
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.labels import checks

SUFFIXES = (".tar",)
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.[^/]*")
_MAX_GROUP_BYTES = 200_000_000


@dataclasses.dataclass
class _Member:
    info: tarfile.TarInfo
    content: bytes

    @property
    def suffix(self) -> str:
        return pathlib.PurePath(self.info.name).suffix.lower()

    @property
    def is_picture(self) -> bool:
        return self.info.isreg() and self.suffix in images.FORMATS


@dataclasses.dataclass
class _Sample:
    key: str
    members: list[_Member]

    @property
    def pictures(self) -> list[_Member]:
        return [member for member in self.members if member.is_picture]


def anonymize(
    anonymizer: Anonymizer,
    source: pathlib.Path,
    part: pathlib.Path,
    choices: Choices,
    people: People,
) -> tuple[list[dict], list[str], int]:
    """Writes the archive `source` anew to `part`.

    Returns the records of its pictures, each with the member's name as its output; the
    keys of the samples that were left out; and how many were written.

    Raises ValueError if the archive is damaged.
    """
    records, dropped, num_written = [], [], 0
    with open(part, "wb") as file, tarfile.open(fileobj=file, mode="w") as result:
        for group in _groups(_samples(source), choices.batch_size):
            for sample, found in _done(anonymizer, source, group, choices, people):
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


def _samples(source: pathlib.Path) -> Iterator[_Sample]:
    with open(source, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                members = (_read(archive, info) for info in archive)
                for key, group in itertools.groupby(members, _key):
                    yield _Sample(key, list(group))
                end = archive.offset
        except tarfile.TarError as error:
            raise ValueError(
                f"{source.name} is damaged or no plain tar file: {error}"
            ) from None
        # To tarfile, a damaged header is the end; the real end is empty.
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise ValueError(f"{source.name} is damaged at byte {end}")


def _key(member: _Member) -> str:
    match = _KEY.fullmatch(member.info.name)
    return match[1] if match else member.info.name


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    content = archive.extractfile(info).read() if info.isreg() else b""
    return _Member(info, content)


def _groups(samples: Iterable[_Sample], size: int) -> Iterator[list[_Sample]]:
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
    anonymizer, source, group: Sequence[_Sample], choices, people
) -> Iterator[tuple[_Sample, list[dict]]]:
    """The samples as they are to be written, empty if not at all, with records."""
    problems = [_problem(sample, choices) for sample in group]
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
    results = pictures.results(anonymizer, items, choices, people)
    for sample, problem in zip(group, problems, strict=True):
        if problem is not None:
            yield _Sample(sample.key, []), _refused_records(sample, problem)
            continue
        found = list(itertools.islice(results, len(sample.pictures)))
        yield _rewritten(sample, found, choices), _records(sample, found)


def _problem(sample: _Sample, choices: Choices) -> ValueError | None:
    """Why a sample cannot be written, whatever becomes of its pictures."""
    for member in sample.members:
        name = member.info.name
        if member.info.isdir() or member.is_picture:
            continue
        if not member.info.isreg():
            return ValueError(f"{name} is a link or a device, no file")
        if member.suffix.lstrip(".") in choices.members:
            continue
        try:
            checks.check(name, member.content)
        except ValueError as error:
            suffix = member.suffix.lstrip(".") or "none"
            return ValueError(f"{error}; --allow-members {suffix} lets such pass")
    return None


def _refused_records(sample: _Sample, problem: ValueError) -> list[dict]:
    names = [member.info.name for member in sample.pictures] or [sample.key]
    refusal = pictures.refused(problem)
    return [pictures.blank_record() | refusal | {"output": name} for name in names]


def _records(sample: _Sample, found: Sequence[tuple[dict, bytes | None]]) -> list[dict]:
    is_whole = all(content is not None for _, content in found)
    records = []
    for member, (record, content) in zip(sample.pictures, found, strict=True):
        if content is not None and not is_whole:
            record |= pictures.refused(
                ValueError("another picture of its sample has no result")
            )
        records.append(record | {"output": member.info.name})
    return records


def _rewritten(sample: _Sample, found, choices: Choices) -> _Sample:
    contents = [content for _, content in found]
    if None in contents:
        return _Sample(sample.key, [])
    remaining, members = iter(contents), []
    for member in sample.members:
        content = next(remaining) if member.is_picture else member.content
        if member.suffix == ".json" and choices.metadata != "all":
            content = _without_links(content)
        members.append(_Member(member.info, content))
    return _Sample(sample.key, members)


def _without_links(content: bytes) -> bytes:
    try:
        entry = json.loads(content)
    except ValueError:
        return content
    if not isinstance(entry, dict) or checks.without_links(entry) == entry:
        return content
    return json.dumps(checks.without_links(entry)).encode()
