"""WebDataset archives: tar files whose members make samples.

A sample is a run of members whose names differ after the first dot only. Owns what a
sample is and which of its members may leave beside its pictures: texts, without links
to the originals and what tells them again; any other member may hold the face.
Leaves pictures, and the archive that is written, to the callers.
"""

import dataclasses
import itertools
import json
import pathlib
import re
import tarfile
from collections.abc import Collection, Iterator

from id2face_jax.labels import checks

SUFFIXES = (".tar",)
_JSON_LINES = (".jsonl", ".ndjson")
_JSON = (".json", *_JSON_LINES)
_MARKUP = (".xml", ".yaml", ".yml", ".html", ".svg")
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.[^/]*")


@dataclasses.dataclass
class Member:
    """A member of an archive, with its content in memory.

    is_picture: whether it is a file with a picture's suffix.
    """

    info: tarfile.TarInfo
    content: bytes
    is_picture: bool

    @property
    def suffix(self) -> str:
        """In lower case, with its dot."""
        return pathlib.PurePath(self.info.name).suffix.lower()


@dataclasses.dataclass
class Sample:
    """Members that belong together; without any, what is left of a refused sample.

    dropped: names of fields, lines and members that it has lost, since they tell the
      original again.
    """

    key: str
    members: list[Member]
    dropped: set[str] = dataclasses.field(default_factory=set)

    @property
    def pictures(self) -> list[Member]:
        """The members that are pictures."""
        return [member for member in self.members if member.is_picture]


def samples(source: pathlib.Path, suffixes: Collection[str]) -> Iterator[Sample]:
    """The samples of an archive, one after the other.

    suffixes: of pictures, in lower case.

    Raises ValueError if the archive is damaged.
    """
    with open(source, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                members = (_read(archive, info, suffixes) for info in archive)
                for key, group in itertools.groupby(members, _key):
                    yield Sample(key, list(group))
                end = archive.offset
        except tarfile.TarError as error:
            raise ValueError(
                f"{source.name} is damaged or no plain tar file: {error}"
            ) from None
        # To tarfile, a damaged header is the end; the real end is empty.
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise ValueError(f"{source.name} is damaged at byte {end}")


def _key(member: Member) -> str:
    match = _KEY.fullmatch(member.info.name)
    return match[1] if match else member.info.name


def _read(archive: tarfile.TarFile, info: tarfile.TarInfo, suffixes) -> Member:
    if info.issparse():
        # A few bytes that stand for gigabytes.
        raise tarfile.ReadError(f"{info.name} is sparse")
    content = archive.extractfile(info).read() if info.isreg() else b""
    suffix = pathlib.PurePath(info.name).suffix.lower()
    return Member(info, content, info.isreg() and suffix in suffixes)


def problem(sample: Sample, allowed: Collection[str]) -> ValueError | None:
    """Why a sample cannot be written, whatever becomes of its pictures.

    allowed: suffixes, without their dot, of members that pass though they are no text.
    """
    for member in sample.members:
        name = member.info.name
        if member.info.isdir() or member.is_picture:
            continue
        if not member.info.isreg():
            return ValueError(f"{name} is a link or a device, no file")
        if member.suffix.lstrip(".") in allowed:
            continue
        try:
            checks.check(name, member.content)
        except ValueError as error:
            suffix = member.suffix.lstrip(".") or "none"
            return ValueError(f"{error}; --allow-members {suffix} lets such pass")
    return None


def rewritten(
    sample: Sample, contents: list[bytes], keep_links: bool, allowed: Collection[str]
) -> Sample:
    """The sample with new pictures and nothing that leads to the originals.

    allowed: as for `problem`; those pass as they are.
    """
    remaining, members, dropped = iter(contents), [], set()
    for member in sample.members:
        content: bytes | None = member.content
        if member.is_picture:
            content = next(remaining)
        elif member.suffix.lstrip(".") not in allowed:
            content, lost = _cleaned(member, keep_links)
            dropped |= lost
        if content is not None:
            members.append(dataclasses.replace(member, content=content))
    return Sample(sample.key, members, dropped)


def _cleaned(member: Member, keep_links: bool) -> tuple[bytes | None, set[str]]:
    """A member's new content, None if it goes as a whole, and names of what is lost."""
    kind = member.info.name.removeprefix(_key(member)).lstrip(".")
    if checks.tells_original(kind, ""):
        return None, {checks.shown(f".{kind}")}
    rows = [member.content]
    if member.suffix in _JSON_LINES:
        rows = member.content.splitlines(keepends=True)
    clean = _clean_text if member.suffix not in _JSON else _clean_entry
    pairs = [clean(row, kind, keep_links) for row in rows]
    dropped = set().union(*(names for _, names in pairs))
    new = b"".join(row for row, _ in pairs)
    # Markup without one of its lines is damaged.
    if dropped and (member.suffix in _MARKUP or not new.strip()):
        return None, {checks.shown(f".{kind}")}
    return new, dropped


def _clean_text(content: bytes, kind: str, keep_links: bool) -> tuple[bytes, set[str]]:
    # Any bytes come back from Latin-1 as they were.
    text = content.decode("latin-1")
    new, num = checks.text_without_originals(text, keep_links)
    return (
        (new.encode("latin-1"), {checks.shown(f"lines of .{kind}")})
        if num
        else (content, set())
    )


def _clean_entry(content: bytes, kind: str, keep_links: bool) -> tuple[bytes, set[str]]:
    try:
        entry = json.loads(content)
    except ValueError:
        return _clean_text(content, kind, keep_links)
    is_shape = kind.split(".")[0].lower() in checks.SHAPES
    if not is_shape and checks.tells_original(kind, entry):
        return b"", {checks.shown(f".{kind}")}
    new, dropped = checks.without_originals(entry)
    if isinstance(new, dict) and not keep_links:
        new = checks.without_links(new)
    if new == entry:
        return content, dropped
    end = content[len(content.rstrip()) :]
    return json.dumps(new).encode() + end, dropped
